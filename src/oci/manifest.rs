//! Manifests: what an image is made of (image-spec, manifest.md and image-index.md; Docker's
//! schema 2 alike). The bytes stay as they came; this is what the registry needs to know of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::digest::{Digest, clip};
use super::refusal::Refusal;

/// The media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of Docker's image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The media type of Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The largest manifest, in bytes. The spec asks for no less than 4 MiB.
pub const SIZE_MAX: u64 = 4 << 20;
/// The most descriptors in one manifest.
const DESCRIPTORS_MAX: usize = 10_000;
/// The longest name of a media type beneath `application/` (RFC 6838, section 4.2).
const SUBTYPE_LEN_MAX: usize = 127;

/// A piece of content: its type, digest and size (image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default)]
    pub media_type: String,
    /// What the content hashes to.
    #[serde(with = "as_text")]
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Where else it can be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// Remarks of whoever made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The kind of artifact that a manifest describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What a manifest of an index runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Whether a registry may be without the bytes: layers that must not be distributed.
    pub fn is_nondistributable(&self) -> bool {
        self.media_type
            .starts_with("application/vnd.oci.image.layer.nondistributable.")
            || self
                .media_type
                .starts_with("application/vnd.docker.image.rootfs.foreign.")
    }
}

/// What an image runs on (image-spec, image-index.md, `platform`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Platform {
    /// The operating system, in Go's word for it.
    pub os: String,
    /// The processor, in Go's word for it.
    pub architecture: String,
    /// Whatever else the platform says, kept as it is.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

/// What the registry knows of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its media type, which is also the `Content-Type` it is served with.
    pub media_type: String,
    /// Configuration and layers: the blobs that it needs.
    pub blobs: Vec<Descriptor>,
    /// The manifests that it is an index of.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one refers to.
    pub subject: Option<Descriptor>,
    /// The kind of artifact: its own word, or else the configuration's media type.
    pub artifact_type: Option<String>,
    /// Remarks of whoever made it.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A manifest document of any kind, as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "present")]
    layers: List,
    #[serde(default, deserialize_with = "present")]
    blobs: List,
    #[serde(default, deserialize_with = "present")]
    manifests: List,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// A list of a document. Where its key is there with null, as Go prints a list that nobody made,
/// it is `Some(None)`: an empty one, of which nobody could say that it makes the document an
/// image or an index.
type List = Option<Option<Vec<Descriptor>>>;

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<List, D::Error> {
    Option::deserialize(from).map(Some)
}

impl Manifest {
    /// Reads a manifest that came with that `Content-Type`, or with none. The document must be
    /// JSON, be either an image or an index, and not say of itself that it is something else.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Manifest, Refusal> {
        let invalid = |cause: String| Refusal::ManifestInvalid(cause);
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|err| invalid(format!("the manifest can't be read: {err}")))?;
        let said = content_type.map(essence).filter(|said| !said.is_empty());
        let own = document.media_type.as_ref().filter(|own| !own.is_empty());
        let media_type = match (said, own) {
            (Some(said), Some(own)) if said != *own => {
                return Err(invalid(format!(
                    "Content-Type is {:?}, but the manifest says it is {:?}",
                    clip(&said),
                    clip(own)
                )));
            }
            (Some(said), _) => said,
            (None, Some(own)) => own.clone(),
            (None, None) => return Err(invalid("say what it is in Content-Type".into())),
        };
        if !is_media_type(&media_type) {
            return Err(invalid(format!(
                "{:?} is no media type of a manifest: that is application/ and at most {} \
                 letters, digits or any of !#$&-^_.+",
                clip(&media_type),
                SUBTYPE_LEN_MAX
            )));
        }
        document.check(&media_type)?;
        let artifact_type = document
            .artifact_type
            .filter(|kind| !kind.is_empty())
            .or_else(|| {
                document
                    .config
                    .as_ref()
                    .map(|config| config.media_type.clone())
            });
        let layers = document.layers.flatten().or(document.blobs.flatten());
        Ok(Manifest {
            media_type,
            blobs: document
                .config
                .into_iter()
                .chain(layers.unwrap_or_default())
                .collect(),
            manifests: document.manifests.flatten().unwrap_or_default(),
            subject: document.subject,
            artifact_type,
            annotations: document.annotations,
        })
    }

    /// The media type of stored bytes that nobody wrote down: what the document says, if that is
    /// one, else what it looks like.
    pub fn media_type_of(bytes: &[u8]) -> String {
        let Ok(document) = serde_json::from_slice::<Document>(bytes) else {
            return OCI_MANIFEST.into();
        };
        let is_index = document.is_index();
        let own = document.media_type.filter(|own| is_media_type(own));
        own.unwrap_or_else(|| if is_index { OCI_INDEX } else { OCI_MANIFEST }.into())
    }

    /// The descriptor under which this manifest, of that digest and size, is listed among the
    /// referrers of its subject (distribution-spec, "Listing Referrers").
    pub fn as_referrer(&self, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest,
            size,
            urls: None,
            annotations: self.annotations.clone(),
            artifact_type: self.artifact_type.clone(),
            platform: None,
        }
    }
}

impl Document {
    /// Whether it has what only images have.
    fn is_image(&self) -> bool {
        let has_list = |list: &List| list.as_ref().is_some_and(Option::is_some);
        self.config.is_some() || has_list(&self.layers) || has_list(&self.blobs)
    }

    /// Whether it has a list of manifests; one that is null counts where nothing else does.
    fn is_index(&self) -> bool {
        match &self.manifests {
            Some(Some(_)) => true,
            Some(None) => !self.is_image(),
            None => false,
        }
    }

    /// Refuses a document that two clients could take for two different things.
    fn check(&self, media_type: &str) -> Result<(), Refusal> {
        let (is_image, is_index) = (self.is_image(), self.is_index());
        let known = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].contains(&media_type);
        let count = [&self.layers, &self.blobs, &self.manifests]
            .into_iter()
            .flatten()
            .flatten()
            .map(Vec::len)
            .sum::<usize>();
        let cause = if media_type.starts_with("application/vnd.docker.distribution.manifest.v1")
            || self.fs_layers.is_some()
        {
            "Docker's schema 1 is not taken any more; push with a current client"
        } else if is_image && is_index {
            "it has both manifests and layers or a config; no client can tell what it is"
        } else if known && self.schema_version != Some(2) {
            "schemaVersion is not 2"
        } else if (media_type == OCI_INDEX || media_type == DOCKER_LIST) && !is_index {
            "an index has a list of manifests, and this has none"
        } else if (media_type == OCI_MANIFEST || media_type == DOCKER_MANIFEST)
            && (self.config.is_none() || self.layers.is_none())
        {
            "an image manifest has a config and a list of layers"
        } else if count > DESCRIPTORS_MAX {
            "it has more than 10,000 descriptors"
        } else {
            return Ok(());
        };
        Err(Refusal::ManifestInvalid(cause.into()))
    }
}

/// Whether a text is a media type that a manifest can have (RFC 6838, section 4.2): it is sent as
/// a header, and of no other type than `application` is there a manifest.
pub fn is_media_type(text: &str) -> bool {
    let Some(subtype) = text.strip_prefix("application/") else {
        return false;
    };
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&c);
    subtype.len() <= SUBTYPE_LEN_MAX
        && subtype.starts_with(|first: char| first.is_ascii_alphanumeric())
        && subtype.bytes().all(allowed)
}

/// A media type without its parameters, in lower case.
fn essence(content_type: &str) -> String {
    let end = content_type.find(';').unwrap_or(content_type.len());
    content_type[..end].trim().to_ascii_lowercase()
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Digest;

    pub fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(digest)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(|_| {
            D::Error::custom(format!(
                "{:?} is not a sha256 or sha512 digest",
                super::clip(&text)
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(document: &str, content_type: Option<&str>) -> Result<Manifest, Refusal> {
        Manifest::parse(document.replace("DIGEST", DIGEST).as_bytes(), content_type)
    }

    const IMAGE: &str = r#"{"schemaVersion":2,"config":{"mediaType":"c","digest":"DIGEST","size":0},
        "layers":[{"mediaType":"l","digest":"DIGEST","size":0}]}"#;

    #[test]
    fn an_image_and_an_index_are_told_apart() {
        let image = parse(IMAGE, Some(OCI_MANIFEST)).expect("an image");
        assert_eq!((image.blobs.len(), image.manifests.len()), (2, 0));
        assert_eq!(image.artifact_type.as_deref(), Some("c"));
        let index = r#"{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"DIGEST","size":1,
            "platform":{"os":"linux","architecture":"arm","variant":"v7"}}]}"#;
        let index = parse(
            index,
            Some("Application/vnd.oci.image.index.v1+json; charset=utf-8"),
        );
        assert_eq!(index.expect("an index").manifests.len(), 1);
        assert!(
            parse("{}", Some("application/vnd.example+json")).is_ok(),
            "any type of manifest"
        );
    }

    #[test]
    fn what_is_not_one_clear_thing_is_refused() {
        let bad = DIGEST.to_uppercase();
        for (document, content_type) in [
            ("", Some(OCI_MANIFEST)),
            ("[]", Some(OCI_MANIFEST)),
            ("{\"schemaVersion\":2", Some(OCI_MANIFEST)),
            ("{}", None),
            ("{}", Some(OCI_MANIFEST)),
            (IMAGE, Some(OCI_INDEX)),
            (
                &IMAGE.replace("\"config\"", "\"manifests\":[],\"config\""),
                Some(OCI_MANIFEST),
            ),
            (
                &IMAGE.replace("\"config\"", "\"mediaType\":\"x\",\"config\""),
                Some(OCI_MANIFEST),
            ),
            (&IMAGE.replace(":2", ":1"), Some(DOCKER_MANIFEST)),
            (&IMAGE.replace("DIGEST", &bad), Some(OCI_MANIFEST)),
            (
                &IMAGE.replace("\"size\":0", "\"size\":-1"),
                Some(OCI_MANIFEST),
            ),
            (
                "{\"schemaVersion\":1,\"fsLayers\":[]}",
                Some("application/json"),
            ),
            (&"[".repeat(100_000), Some(OCI_MANIFEST)),
        ] {
            let refused = parse(document, content_type);
            assert!(
                matches!(refused, Err(Refusal::ManifestInvalid(_))),
                "{content_type:?} {document:.80}"
            );
        }
    }

    #[test]
    fn null_is_an_empty_list_and_makes_nothing_of_a_document() {
        let config = r#""config":{"mediaType":"c","digest":"DIGEST","size":0}"#;
        let layer = r#""layers":[{"mediaType":"l","digest":"DIGEST","size":0}]"#;
        let (none, nulls) = ("\"config\":null", "\"layers\":null,\"manifests\":null");
        let (image, index) = (Some(OCI_MANIFEST), Some(OCI_INDEX));
        for (lists, only) in [
            (format!("{config},\"layers\":null"), image),
            (format!("{config},{nulls}"), image),
            (format!("{config},{layer},\"manifests\":null"), image),
            (format!("{nulls},\"blobs\":null"), index),
            (format!("{none},{nulls}"), index),
            (format!("{none},\"layers\":null,\"manifests\":[]"), index),
            ("\"manifests\":null".into(), index),
            (config.into(), None),
            (format!("{none},\"layers\":null"), None),
            (format!("{layer},\"manifests\":null"), None),
            (format!("{config},\"layers\":null,\"manifests\":[]"), None),
            (format!("{layer},\"manifests\":[]"), None),
        ] {
            let document = format!("{{\"schemaVersion\":2,{lists}}}");
            for media_type in [OCI_MANIFEST, OCI_INDEX] {
                let is_taken = parse(&document, Some(media_type)).is_ok();
                assert_eq!(is_taken, only == Some(media_type), "{media_type} {lists}");
            }
            if let Some(only) = only {
                let document = document.replace("DIGEST", DIGEST);
                assert_eq!(
                    Manifest::media_type_of(document.as_bytes()),
                    only,
                    "{lists}"
                );
            }
        }
    }

    #[test]
    fn a_type_of_a_manifest_is_short_and_plain() {
        let longest = format!("application/{}", "x".repeat(127));
        for good in [
            "application/json",
            "application/1!#$&-^_.+",
            OCI_INDEX,
            &longest,
        ] {
            assert!(is_media_type(good), "{good}");
        }
        for bad in [
            "",
            "application",
            "application/",
            "application/+json",
            "application/x;q=1",
            "application/x/y",
            "application/é",
            "application/x\n",
            "xapplication/x",
            "text/html",
            &format!("{longest}x"),
        ] {
            assert!(!is_media_type(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_type_that_nobody_wrote_down_is_found_in_the_bytes() {
        let with = IMAGE
            .replace("\"config\"", "\"mediaType\":\"application/own\",\"config\"")
            .replace("DIGEST", DIGEST);
        assert_eq!(Manifest::media_type_of(with.as_bytes()), "application/own");
        let page = with.replace("application/own", "text/html");
        assert_eq!(Manifest::media_type_of(page.as_bytes()), OCI_MANIFEST);
        assert_eq!(
            Manifest::media_type_of(IMAGE.replace("DIGEST", DIGEST).as_bytes()),
            OCI_MANIFEST
        );
        assert_eq!(Manifest::media_type_of(b"{\"manifests\":[]}"), OCI_INDEX);
    }
}
