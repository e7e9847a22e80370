//! Trees drawn by hand, as distribution would have left them.

use std::fs;
use std::path::{Path, PathBuf};

use lighthouse::oci::Digest;
use tempfile::TempDir;

use super::world::{Blob, Image};

/// A root directory with distribution's tree.
pub struct Tree {
    pub dir: TempDir,
}

impl Tree {
    pub fn new() -> Tree {
        let dir = TempDir::new().expect("a folder");
        fs::create_dir_all(super::folder(dir.path())).expect("made");
        Tree { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A place in a repository.
    pub fn repository(&self, name: &str) -> PathBuf {
        super::folder(self.path()).join(name)
    }

    pub fn write(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    /// Where a blob's bytes are.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        let (algorithm, hex) = (digest.algorithm().name(), digest.hex());
        let blobs = self.path().join("docker/registry/v2/blobs");
        blobs
            .join(algorithm)
            .join(&hex[..2])
            .join(&hex)
            .join("data")
    }

    pub fn layer(&self, name: &str, digest: &Digest) -> PathBuf {
        link(&self.repository(name).join("_layers"), digest)
    }

    pub fn revision(&self, name: &str, digest: &Digest) -> PathBuf {
        link(&self.repository(name).join("_manifests/revisions"), digest)
    }

    pub fn tag(&self, name: &str, tag: &str) -> PathBuf {
        let tags = self.repository(name).join("_manifests/tags");
        tags.join(tag).join("current/link")
    }

    fn keep(&self, blob: &Blob) {
        self.write(self.blob(&blob.digest), &blob.bytes);
    }

    /// An image under tags.
    pub fn push(&self, name: &str, tags: &[&str], image: &Image) {
        for blob in &image.blobs {
            self.keep(blob);
            self.write(self.layer(name, &blob.digest), blob.digest.to_string());
        }
        let digest = image.manifest.digest;
        self.keep(&image.manifest);
        self.write(self.revision(name, &digest), digest.to_string());
        for tag in tags {
            let current = self.tag(name, tag);
            let index = current.with_file_name("").join("../index");
            self.write(&current, digest.to_string());
            self.write(link(&index, &digest), digest.to_string());
        }
    }
}

fn link(folder: &Path, digest: &Digest) -> PathBuf {
    let folder = folder.join(digest.algorithm().name());
    folder.join(digest.hex()).join("link")
}
