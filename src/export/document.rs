//! The document that an export is: the catalog as one JSON object.
//!
//! ```json
//! {
//!   "format": "lighthouse-catalog",
//!   "version": 1,
//!   "repositories": {
//!     "helloworld": {
//!       "tags": { "v1": "sha256:aa…" },
//!       "manifests": { "sha256:aa…": "application/vnd.oci.image.manifest.v1+json" },
//!       "blobs": ["sha256:bb…", "sha256:cc…"]
//!     }
//!   },
//!   "contents": {
//!     "sha256:aa…": { "size": 581, "cid": "bafkrei…", "state": "pinned", "content": 7 }
//!   }
//! }
//! ```
//!
//! `manifests` gives the media type that each was pushed with; `contents` has every manifest and
//! blob of every repository once, with how far it had come and `content`, Estuary's number.
//! Everything is in order, and nothing tells the time, so the same catalog makes the same bytes
//! and has the same CID.
//!
//! Nothing that is read is believed: every name, digest and CID is parsed before it is used.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::cid::Cid;
use crate::oci::{Digest, Repository, Tag, manifest};
use crate::store::pin;

/// The most bytes of a document: some 300,000 manifests and blobs.
pub const SIZE_MAX: u64 = 64 << 20;

const FORMAT: &str = "lighthouse-catalog";
const VERSION: u64 = 1;
/// Longest media type that is believed (RFC 6838, section 4.2: 127 characters on either side).
const MEDIA_TYPE_LEN_MAX: usize = 255;

/// The catalog, as it can be rebuilt elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// What each repository holds.
    pub repositories: BTreeMap<Repository, Holdings>,
    /// Every manifest and blob of any repository.
    pub contents: BTreeMap<Digest, Content>,
}

/// What a repository holds. All of it is in [`Document::contents`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Where each tag points, always at one of the manifests.
    pub tags: BTreeMap<Tag, Digest>,
    /// The media type of each manifest.
    pub manifests: BTreeMap<Digest, String>,
    /// Configurations and layers.
    pub blobs: BTreeSet<Digest>,
}

/// A manifest or blob, and where it is on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its length in bytes.
    pub size: u64,
    /// Its CID, if it was computed.
    pub cid: Option<Cid>,
    /// How far it had come.
    pub state: State,
    /// Estuary's number for it.
    pub content: Option<u64>,
}

/// How far content had come on its way to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was on a disk only.
    Local,
    /// It was on its way.
    Uploading,
    /// The network had it and had not pinned it yet.
    Stored,
    /// The network kept it.
    Pinned,
    /// The network refused it.
    Failed,
}

impl From<pin::State> for State {
    fn from(state: pin::State) -> State {
        match state {
            pin::State::Queued => State::Local,
            pin::State::Uploading => State::Uploading,
            pin::State::Stored => State::Stored,
            pin::State::Pinned => State::Pinned,
            pin::State::Failed => State::Failed,
        }
    }
}

impl Content {
    /// Its CID, if the network kept it when the document was made.
    pub fn pinned(&self) -> Option<Cid> {
        self.cid.filter(|_| self.state == State::Pinned)
    }
}

#[derive(Deserialize, Serialize)]
struct Written {
    format: String,
    version: u64,
    repositories: BTreeMap<String, WrittenHoldings>,
    contents: BTreeMap<String, WrittenContent>,
}

#[derive(Deserialize, Serialize)]
struct WrittenHoldings {
    tags: BTreeMap<String, String>,
    manifests: BTreeMap<String, String>,
    blobs: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct WrittenContent {
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cid: Option<String>,
    state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<u64>,
}

/// What is read first, to say the right thing of a document from another time.
#[derive(Deserialize)]
struct Heading {
    format: String,
    version: u64,
}

impl Document {
    /// The document's bytes.
    pub fn print(&self) -> Vec<u8> {
        let holdings = |holdings: &Holdings| WrittenHoldings {
            tags: texts(&holdings.tags),
            manifests: texts(&holdings.manifests),
            blobs: holdings.blobs.iter().map(Digest::to_string).collect(),
        };
        let content = |content: &Content| WrittenContent {
            size: content.size,
            cid: content.cid.map(|cid| cid.to_string()),
            state: content.state,
            content: content.content,
        };
        let repositories = self.repositories.iter();
        let contents = self.contents.iter();
        let written = Written {
            format: FORMAT.into(),
            version: VERSION,
            repositories: repositories
                .map(|(name, held)| (name.to_string(), holdings(held)))
                .collect(),
            contents: contents
                .map(|(digest, it)| (digest.to_string(), content(it)))
                .collect(),
        };
        // Texts and numbers always have their JSON.
        let mut bytes = serde_json::to_vec_pretty(&written).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads a document; what is wrong with it, if anything is.
    pub fn parse(bytes: &[u8]) -> Result<Document, String> {
        let not = |err: serde_json::Error| format!("it is no export of a catalog: {err}");
        let heading: Heading = serde_json::from_slice(bytes).map_err(not)?;
        if heading.format != FORMAT {
            return Err("it is no export of a catalog".into());
        }
        if heading.version != VERSION {
            let version = heading.version;
            return Err(format!(
                "it is an export of version {version}, and this program reads version {VERSION}"
            ));
        }
        let written: Written = serde_json::from_slice(bytes).map_err(not)?;
        let mut document = Document::default();
        for (digest, it) in written.contents {
            document.contents.insert(parsed(&digest)?, it.parse()?);
        }
        for (name, held) in written.repositories {
            let held = held
                .parse(&document.contents)
                .map_err(|cause| format!("{name:?}: {cause}"))?;
            document.repositories.insert(parsed(&name)?, held);
        }
        Ok(document)
    }
}

impl WrittenContent {
    fn parse(self) -> Result<Content, String> {
        let cid = self.cid.map(|text| text.parse::<Cid>());
        Ok(Content {
            size: self.size,
            cid: cid.transpose().map_err(|err| err.to_string())?,
            state: self.state,
            content: self.content,
        })
    }
}

impl WrittenHoldings {
    fn parse(self, contents: &BTreeMap<Digest, Content>) -> Result<Holdings, String> {
        let listed = |text: &str| {
            let digest: Digest = parsed(text)?;
            let content = contents.get(&digest);
            let content = content.ok_or_else(|| format!("{digest} is not among the contents"))?;
            Ok::<_, String>((digest, content))
        };
        let mut held = Holdings::default();
        for digest in &self.blobs {
            held.blobs.insert(listed(digest)?.0);
        }
        for (digest, media_type) in self.manifests {
            let (digest, content) = listed(&digest)?;
            if manifest::SIZE_MAX < content.size {
                return Err(format!("{digest} is too large for a manifest"));
            }
            // It will be a header.
            let is_plain = media_type.bytes().all(|c| c.is_ascii_graphic());
            if !is_plain || media_type.is_empty() || MEDIA_TYPE_LEN_MAX < media_type.len() {
                return Err(format!("{media_type:?} is not a media type"));
            }
            held.manifests.insert(digest, media_type);
        }
        for (tag, digest) in &self.tags {
            let (digest, _) = listed(digest)?;
            if !held.manifests.contains_key(&digest) {
                return Err(format!("{tag:?} points at no manifest"));
            }
            held.tags.insert(parsed(tag)?, digest);
        }
        Ok(held)
    }
}

fn texts(map: &BTreeMap<impl ToString, impl ToString>) -> BTreeMap<String, String> {
    let entries = map.iter();
    entries
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

fn parsed<T: std::str::FromStr<Err = crate::oci::Refusal>>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|refusal: crate::oci::Refusal| refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;
    use crate::oci::manifest::OCI_MANIFEST;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn document() -> Document {
        let content = |size, state| Content {
            size,
            cid: Some(Cid::raw([7; 32])),
            state,
            content: Some(3),
        };
        let held = Holdings {
            tags: [("v1".parse().expect("a tag"), digest("m"))].into(),
            manifests: [(digest("m"), OCI_MANIFEST.to_string())].into(),
            blobs: [digest("b")].into(),
        };
        let unknown = Content {
            cid: None,
            content: None,
            ..content(5, State::Local)
        };
        Document {
            repositories: [("a/b".parse().expect("a name"), held)].into(),
            contents: [
                (digest("m"), content(1, State::Pinned)),
                (digest("b"), unknown),
            ]
            .into(),
        }
    }

    #[test]
    fn a_document_is_read_as_it_was_printed() {
        let bytes = document().print();
        assert_eq!(Document::parse(&bytes), Ok(document()));
        assert_eq!(document().print(), bytes);
        let empty = Document::default();
        assert_eq!(Document::parse(&empty.print()), Ok(empty));
    }

    #[test]
    fn nothing_in_a_document_is_believed() {
        let good = String::from_utf8(document().print()).expect("JSON is UTF-8");
        let (m, b) = (digest("m").to_string(), digest("b").to_string());
        for (from, to, cause) in [
            ("{", "", "it is no export of a catalog"),
            ("lighthouse-catalog", "something", "it is no export"),
            ("\"version\": 1", "\"version\": 2", "of version 2"),
            ("\"a/b\"", "\"../b\"", "is not a repository name"),
            ("\"v1\"", "\"../v1\"", "is not a tag"),
            (&*b, "sha256:../../etc", "is not a digest"),
            (&*m, &*b, "points at no manifest"),
            (
                "bafkreia",
                "../bafkreia",
                "neither Qm… nor in base32 (b…) or base58btc (z…)",
            ),
            ("pinned", "unheard", "unknown variant"),
            ("\"size\": 1,", "\"size\": 4194305,", "too large"),
            (OCI_MANIFEST, "a/b\\r\\nSet-Cookie: c", "not a media type"),
            (OCI_MANIFEST, "", "not a media type"),
            (
                "\"size\": 5,",
                "\"size\": -5,",
                "it is no export of a catalog",
            ),
        ] {
            assert!(good.contains(from), "{from} is not there to be changed");
            let bad = good.replacen(from, to, 1);
            let found = Document::parse(bad.as_bytes()).expect_err(to);
            assert!(found.contains(cause), "{to}: {found}");
        }
        let unlisted = good.replace(&m, &digest("x").to_string());
        let unlisted = unlisted.replacen(&digest("x").to_string(), &m, 1);
        let found = Document::parse(unlisted.as_bytes()).expect_err("a dangling tag");
        assert!(found.contains("is not among the contents"), "{found}");
    }
}
