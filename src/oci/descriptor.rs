//! Descriptors: how a document names content (image-spec, descriptor.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::digest::Digest;
use super::json::{self, objects};
use super::manifest::KNOWN;

/// A piece of content: its type, digest and size (image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default, deserialize_with = "json::value")]
    pub media_type: String,
    /// What the content hashes to.
    #[serde(with = "json::digest")]
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Where else it can be fetched.
    #[serde(
        default,
        deserialize_with = "json::list",
        skip_serializing_if = "Option::is_none"
    )]
    pub urls: Option<Vec<String>>,
    /// Remarks of whoever made it.
    #[serde(
        default,
        deserialize_with = "json::map",
        skip_serializing_if = "Option::is_none"
    )]
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
        let media_type = self.media_type.to_ascii_lowercase();
        media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
            || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
    }

    /// Whether the content is a manifest of one of the four kinds whose form the registry knows.
    pub fn is_manifest(&self) -> bool {
        KNOWN.contains(&&*self.media_type.to_ascii_lowercase())
    }
}

/// What an image runs on (image-spec, image-index.md, `platform`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(remote = "Self")]
pub struct Platform {
    /// The operating system, in Go's word for it; empty if nobody said.
    #[serde(default, deserialize_with = "json::value")]
    pub os: String,
    /// The processor, in Go's word for it; empty if nobody said.
    #[serde(default, deserialize_with = "json::value")]
    pub architecture: String,
    /// The kind of that processor. What else a platform says is skipped unread: it may be large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

objects!(Descriptor, Platform);

impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Descriptor::serialize(self, to)
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Platform::serialize(self, to)
    }
}
