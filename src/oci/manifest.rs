//! Manifests: what an image is made of (image-spec, manifest.md and image-index.md; Docker's
//! schema 2 alike). The bytes stay as they came; this is what the registry needs to know of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::descriptor::Descriptor;
use super::digest::{Digest, clip};
use super::json::{self, objects};
use super::refusal::Refusal;

/// The media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of Docker's image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The media type of Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The media types of manifests whose form the registry knows.
pub(super) const KNOWN: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// The media type of Docker's first manifests, which only old registries still keep.
const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// The same with its signatures.
const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// The largest manifest, in bytes. The spec asks for no less than 4 MiB.
pub const SIZE_MAX: u64 = 4 << 20;
/// The most descriptors in one manifest.
const DESCRIPTORS_MAX: usize = 10_000;
/// The most strings in one manifest: each takes far more memory than its bytes. Ten for each
/// descriptor are left.
const STRINGS_MAX: usize = 20 * DESCRIPTORS_MAX;
/// The longest name of a media type beneath `application/` (RFC 6838, section 4.2).
const SUBTYPE_LEN_MAX: usize = 127;

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
#[serde(rename_all = "camelCase", remote = "Self")]
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
    #[serde(default, deserialize_with = "json::map")]
    annotations: Option<BTreeMap<String, String>>,
    fs_layers: Option<serde::de::IgnoredAny>,
    signatures: Option<serde::de::IgnoredAny>,
}

objects!(Document);

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
        if bytes.iter().filter(|byte| **byte == b'"').count() > 2 * STRINGS_MAX {
            return Err(invalid(format!("it has more than {STRINGS_MAX} strings")));
        }
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|err| invalid(format!("the manifest can't be read: {err}")))?;
        let said = content_type.map(essence).filter(|said| !said.is_empty());
        let own = document.own_type();
        let media_type = match (said, own) {
            (Some(said), Some(own)) if said != own => {
                return Err(invalid(format!(
                    "Content-Type is {:?}, but the manifest says it is {:?}",
                    clip(&said),
                    clip(&own)
                )));
            }
            (Some(said), _) => said,
            (None, Some(own)) => own,
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
        let looks_like = match &document {
            Document {
                fs_layers: Some(_),
                signatures: Some(_),
                ..
            } => DOCKER_SCHEMA1_SIGNED,
            Document {
                fs_layers: Some(_), ..
            } => DOCKER_SCHEMA1,
            _ if document.is_index() => OCI_INDEX,
            _ => OCI_MANIFEST,
        };
        let own = document.own_type().filter(|own| is_media_type(own));
        own.unwrap_or_else(|| looks_like.into())
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
    /// What it says that it is, in lower case: types are the same in any (RFC 6838, section 4.2).
    fn own_type(&self) -> Option<String> {
        let own = self.media_type.as_ref().filter(|own| !own.is_empty());
        own.map(|own| own.to_ascii_lowercase())
    }

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
        let known = KNOWN.contains(&media_type);
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

    /// serde's own structs can be read from arrays as well.
    #[test]
    fn only_objects_are_documents_descriptors_and_platforms() {
        let described = r#"["c","DIGEST",0,null,null,null,null]"#;
        let object = r#"{"mediaType":"m","digest":"DIGEST","size":0,"platform":PLATFORM}"#;
        let image = |config: &str, layer: &str| {
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#)
        };
        let index = |platform: &str| {
            let child = object.replace("PLATFORM", platform);
            format!(r#"{{"schemaVersion":2,"manifests":[{child}]}}"#)
        };
        let fine = object.replace("PLATFORM", "null");
        let subject = format!(r#"{{"subject":{described}}}"#);
        let all = format!(r#"[2,null,null,{fine},[{fine}],null,null,null,null,null,null]"#);
        for (document, content_type) in [
            (&*all, OCI_MANIFEST),
            (
                &all.replace("[2,null", "[2,\"application/x\""),
                "application/x",
            ),
            (&image(described, &fine), OCI_MANIFEST),
            (&image(&fine, described), OCI_MANIFEST),
            (&subject, "application/x"),
            (&index(r#"["linux","amd64",null]"#), OCI_INDEX),
        ] {
            let refused = parse(document, Some(content_type));
            assert!(
                matches!(refused, Err(Refusal::ManifestInvalid(_))),
                "{document}"
            );
        }
        assert!(parse(&image(&fine, &fine), Some(OCI_MANIFEST)).is_ok());
        assert!(parse(&index("{}"), Some(OCI_INDEX)).is_ok());
    }

    #[test]
    fn null_is_the_empty_text() {
        for fields in [
            r#""mediaType":null"#,
            r#""artifactType":null"#,
            r#""annotations":{"a":null}"#,
            r#""urls":[null]"#,
            r#""platform":{}"#,
            r#""platform":{"os":null,"architecture":null,"variant":null}"#,
        ] {
            let document = format!(
                r#"{{"schemaVersion":2,"annotations":{{"a":null}},
                "manifests":[{{"digest":"DIGEST","size":0,{fields}}}]}}"#
            );
            let index = parse(&document, Some(OCI_INDEX)).expect(fields);
            let empty = Some([("a".to_string(), String::new())].into());
            assert_eq!(index.annotations, empty, "{fields}");
            assert_eq!(index.manifests[0].media_type, "", "{fields}");
        }
    }

    #[test]
    fn a_type_within_is_the_same_in_any_case() {
        let shouted = OCI_INDEX.replace("oci", "OCI");
        let own = |rest: &str| format!(r#"{{"mediaType":"{shouted}"{rest}}}"#);
        let index = own(r#","schemaVersion":2,"manifests":[]"#);
        for said in [None, Some(OCI_INDEX), Some(&*shouted)] {
            let taken = parse(&index, said).expect("an index");
            assert_eq!(taken.media_type, OCI_INDEX, "{said:?}");
            assert!(parse(&own(""), said).is_err(), "{said:?}: it is none");
        }
        assert_eq!(Manifest::media_type_of(index.as_bytes()), OCI_INDEX);
        let layer = "application/vnd.OCI.image.layer.nondistributable.v1.tar";
        let layers = IMAGE.replace("\"l\"", &format!("\"{layer}\""));
        let image = parse(&layers, Some(OCI_MANIFEST)).expect("an image");
        assert!(image.blobs[1].is_nondistributable());
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
        let old = br#"{"schemaVersion":1,"fsLayers":[],"signatures":[]}"#;
        assert_eq!(Manifest::media_type_of(old), DOCKER_SCHEMA1_SIGNED);
        let old = br#"{"schemaVersion":1,"fsLayers":[]}"#;
        assert_eq!(Manifest::media_type_of(old), DOCKER_SCHEMA1);
    }
}
