//! Content to push.

use lighthouse::oci::manifest::{OCI_INDEX, OCI_MANIFEST};
use lighthouse::oci::{Algorithm, Digest};
use serde_json::{Value, json};

/// Bytes and what they hash to.
#[derive(Clone, Debug)]
pub struct Blob {
    pub bytes: Vec<u8>,
    pub digest: Digest,
}

impl Blob {
    pub fn of(bytes: impl Into<Vec<u8>>) -> Blob {
        Blob::named(Algorithm::Sha256, bytes)
    }

    /// Under the digest of another algorithm.
    pub fn named(algorithm: Algorithm, bytes: impl Into<Vec<u8>>) -> Blob {
        let bytes = bytes.into();
        let digest = Digest::of(algorithm, &bytes);
        Blob { bytes, digest }
    }

    /// So many bytes that look like no others.
    pub fn noise(size: usize, seed: u64) -> Blob {
        let mut noise = Noise::new(seed);
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend(noise.draw().to_le_bytes());
        }
        bytes.truncate(size);
        Blob::of(bytes)
    }

    pub fn descriptor(&self, media_type: &str) -> Value {
        json!({
            "mediaType": media_type,
            "digest": self.digest.to_string(),
            "size": self.bytes.len(),
        })
    }
}

/// An image or an index: a manifest and the blobs that it needs.
#[derive(Clone, Debug)]
pub struct Image {
    pub media_type: String,
    pub manifest: Blob,
    pub blobs: Vec<Blob>,
}

pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

impl Image {
    /// A small image of two layers, unlike that of any other name.
    pub fn named(name: &str) -> Image {
        let config = Blob::of(json!({ "author": name }).to_string());
        let layers = [1, 2].map(|n| Blob::of(format!("layer {n} of {name}")));
        Image::made_of(&[config, layers[0].clone(), layers[1].clone()])
    }

    /// The image of a configuration and layers.
    pub fn made_of(blobs: &[Blob]) -> Image {
        let (config, layers) = blobs.split_first().expect("a configuration");
        let layers: Vec<Value> = layers.iter().map(|layer| layer.descriptor(LAYER)).collect();
        let document = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.descriptor(CONFIG),
            "layers": layers,
        });
        Image {
            blobs: blobs.to_vec(),
            ..Image::document(OCI_MANIFEST, &document)
        }
    }

    /// Any document as a manifest of that type.
    pub fn document(media_type: &str, document: &Value) -> Image {
        // Spread out, so that nobody can print it again in the same way by chance.
        let bytes = serde_json::to_vec_pretty(document).expect("JSON");
        Image {
            media_type: media_type.into(),
            manifest: Blob::of(bytes),
            blobs: Vec::new(),
        }
    }

    /// An index of images.
    pub fn index(images: &[&Image]) -> Image {
        let of = |image: &&Image| image.manifest.descriptor(&image.media_type);
        let manifests: Vec<Value> = images.iter().map(of).collect();
        let document = json!({
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": manifests,
        });
        Image::document(OCI_INDEX, &document)
    }

    /// An artifact that refers to a subject.
    pub fn referring_to(subject: &Image, kind: &str) -> Image {
        let empty = Blob::of("{}");
        let document = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": empty.descriptor("application/vnd.oci.empty.v1+json"),
            "layers": [empty.descriptor("application/vnd.oci.empty.v1+json")],
            "subject": subject.manifest.descriptor(&subject.media_type),
            "annotations": { "kind": kind },
        });
        Image {
            blobs: vec![empty],
            ..Image::document(OCI_MANIFEST, &document)
        }
    }

    pub fn digest(&self) -> String {
        self.manifest.digest.to_string()
    }
}

/// Numbers that look random and come again from the same seed (splitmix64).
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Noise {
        Noise(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }
}
