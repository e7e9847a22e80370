//! Images to serve: small and made up, but whole, so that docker can pull and run them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lighthouse::oci::manifest::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use lighthouse::oci::{Algorithm, Digest};
use serde_json::{Value, json};

/// What a registry holds in one repository.
#[derive(Clone, Default)]
pub struct Seed {
    pub blobs: HashMap<Digest, Arc<[u8]>>,
    pub manifests: HashMap<Digest, (String, Arc<[u8]>)>,
    pub tags: BTreeMap<String, Digest>,
    /// The descriptors of what refers to a manifest.
    pub referrers: HashMap<Digest, Vec<Value>>,
}

/// The platforms of the official alpine.
pub const PLATFORMS: [(&str, Option<&str>); 8] = [
    ("amd64", None),
    ("386", None),
    ("arm", Some("v6")),
    ("arm", Some("v7")),
    ("arm64", Some("v8")),
    ("ppc64le", None),
    ("riscv64", None),
    ("s390x", None),
];

impl Seed {
    /// An `alpine`: so many releases with four patches each in eight architectures, each release
    /// with one layer for each architecture, and aliases as on Docker Hub: fourteen tags a release.
    /// Every other release has Docker's media types. The `program` is a static one, such as
    /// busybox, to be `/bin/sh` in all of them.
    pub fn alpine(releases: usize, program: Option<&[u8]>) -> Seed {
        let mut seed = Seed::default();
        for release in 0..releases {
            let layers = PLATFORMS.map(|(architecture, _)| {
                let name = format!("etc/alpine-release-{architecture}");
                let text = format!("3.{release} {architecture}\n").repeat(64);
                let mut files = vec![(name, text.into_bytes())];
                files.extend(program.map(|program| ("bin/sh".to_owned(), program.to_vec())));
                seed.blob(tar(&files))
            });
            for patch in 0..4 {
                let index = seed.index(&layers, &format!("3.{release}.{patch}"), release % 2 == 0);
                seed.tag(&format!("3.{release}.{patch}"), index);
                seed.tag(&format!("3.{release}"), index);
                seed.tag(&format!("3.{release}.{patch}-r0"), index);
                seed.tag(&format!("3.{release}.{patch}-r1"), index);
                seed.tag(&format!("2024{release:02}01"), index);
                for alias in ["3", "latest", "edge"] {
                    seed.tag(alias, index);
                }
            }
        }
        seed
    }

    /// Keeps a blob, and returns its descriptor.
    pub fn blob(&mut self, bytes: Vec<u8>) -> Value {
        let (digest, size) = (Digest::of(Algorithm::Sha256, &bytes), bytes.len());
        self.blobs.insert(digest, bytes.into());
        json!({ "digest": digest.to_string(), "size": size })
    }

    /// Keeps a manifest, and returns its descriptor.
    pub fn manifest(&mut self, media_type: &str, document: &Value) -> Value {
        // Spaces and order as no encoder of ours would have them: only the very bytes will do.
        let text = serde_json::to_string_pretty(document).expect("JSON") + "\n \n";
        let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
        let size = text.len();
        self.manifests
            .insert(digest, (media_type.to_owned(), text.into_bytes().into()));
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size })
    }

    /// Lets a tag point to a manifest.
    pub fn tag(&mut self, tag: &str, digest: Digest) {
        self.tags.insert(tag.to_owned(), digest);
    }

    /// An image of one platform with these layers; `layers` are descriptors without a type.
    pub fn image(
        &mut self,
        layers: &[Value],
        platform: (&str, Option<&str>),
        version: &str,
        docker: bool,
    ) -> Value {
        let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let config = json!({
            "architecture": platform.0, "os": "linux", "variant": platform.1,
            "created": "2024-01-01T00:00:00Z",
            "config": { "Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "Labels": { "v": version } },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let mut config = self.blob(config.to_string().into_bytes());
        let (manifest_type, config_type, layer_type) = if docker {
            let layer_type = "application/vnd.docker.image.rootfs.diff.tar.gzip";
            (
                DOCKER_MANIFEST,
                "application/vnd.docker.container.image.v1+json",
                layer_type,
            )
        } else {
            let layer_type = "application/vnd.oci.image.layer.v1.tar";
            (
                OCI_MANIFEST,
                "application/vnd.oci.image.config.v1+json",
                layer_type,
            )
        };
        config["mediaType"] = json!(config_type);
        let typed = layers.iter().map(|layer| {
            let mut layer = layer.clone();
            layer["mediaType"] = json!(layer_type);
            layer
        });
        let document = json!({
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": config, "layers": typed.collect::<Vec<_>>(),
        });
        self.manifest(manifest_type, &document)
    }

    /// An index of one image for each platform, with one layer each.
    pub fn index(&mut self, layers: &[Value; 8], version: &str, docker: bool) -> Digest {
        let images = PLATFORMS.iter().zip(layers).map(|(platform, layer)| {
            let mut image = self.image(std::slice::from_ref(layer), *platform, version, docker);
            image["platform"] = json!({ "os": "linux", "architecture": platform.0 });
            if let Some(variant) = platform.1 {
                image["platform"]["variant"] = json!(variant);
            }
            image
        });
        let images: Vec<Value> = images.collect();
        let media_type = if docker { DOCKER_LIST } else { OCI_INDEX };
        let document = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": images });
        digest_of(&self.manifest(media_type, &document))
    }

    /// A signature, or the like, that refers to a manifest; returns its descriptor.
    pub fn artifact(&mut self, kind: &str, subject: &Value, text: &str) -> Value {
        let mut layer = self.blob(text.as_bytes().to_vec());
        layer["mediaType"] = json!("application/octet-stream");
        let mut config = self.blob(b"{}".to_vec());
        config["mediaType"] = json!("application/vnd.oci.empty.v1+json");
        let document = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind,
            "config": config, "layers": [layer], "subject": subject,
            "annotations": { "note": text },
        });
        let mut descriptor = self.manifest(OCI_MANIFEST, &document);
        descriptor["artifactType"] = json!(kind);
        descriptor["annotations"] = json!({ "note": text });
        self.referrers
            .entry(digest_of(subject))
            .or_default()
            .push(descriptor.clone());
        descriptor
    }
}

/// The digest in a descriptor.
pub fn digest_of(descriptor: &Value) -> Digest {
    let digest = descriptor["digest"]
        .as_str()
        .and_then(|digest| digest.parse().ok());
    digest.expect("a descriptor has a digest")
}

/// A tar archive of these files, all of them executable (POSIX, "ustar").
fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        let mut head = [0; 512];
        let fields = [
            (0, name.clone()),
            (100, "0000755\0".into()),
            (108, "0000000\0".into()),
            (116, "0000000\0".into()),
            (124, format!("{:011o}\0", bytes.len())),
            (136, "14543740000\0".into()),
            (148, "        ".into()),
            (156, "0".into()),
            (257, "ustar\x0000".into()),
        ];
        for (offset, text) in fields {
            head[offset..offset + text.len()].copy_from_slice(text.as_bytes());
        }
        let sum: u32 = head.iter().map(|&byte| u32::from(byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(head);
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}
