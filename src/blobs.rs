//! Bytes at rest: content-addressed files, at `blobs/ALGORITHM/AA/HEX/data` under the tree, as
//! registry:2 keeps them. Manifests rest here too.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::disk::{self, Root, Settling};
use crate::fault::Fault;
use crate::oci::{Algorithm, Digest};

/// The blobs of a root directory.
#[derive(Clone, Debug)]
pub struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// The blobs under that root.
    pub fn new(root: &Root) -> Blobs {
        Blobs {
            folder: root.tree().join("blobs"),
        }
    }

    /// Where the blob of that digest rests.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.folder
            .join(digest.algorithm().name())
            .join(&hex[..2])
            .join(&hex)
            .join("data")
    }

    /// Opens a blob: the file and its size in bytes. None if it is not here.
    pub fn open(&self, digest: &Digest) -> Result<Option<(File, u64)>, Fault> {
        let path = self.path(digest);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((size, file)) => Ok(Some((file, size))),
            Err(err) if disk::is_missing(&err) => Ok(None),
            Err(err) => Err(Fault::disk("open", &path, err)),
        }
    }

    /// The size of a blob in bytes; None if it is not here.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, Fault> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(err) if disk::is_missing(&err) => Ok(None),
            Err(err) => Err(Fault::disk("open", &path, err)),
        }
    }

    /// The bytes of a small blob, such as a manifest; None if it is not here. Bytes that do not
    /// hash to their name are a fault, not an answer.
    pub fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Fault> {
        let path = self.path(digest);
        let Some(bytes) = disk::read(&path)? else {
            return Ok(None);
        };
        if Digest::of(digest.algorithm(), &bytes) == *digest {
            Ok(Some(bytes))
        } else {
            let cause = std::io::Error::other("the bytes do not hash to their name");
            Err(Fault::disk("verify", path, cause))
        }
    }

    /// Moves a file, whose bytes hash to `digest` and are small or synced, to that name, with
    /// whatever else is settling.
    pub fn place(
        &self,
        settling: &mut Settling,
        from: &Path,
        digest: &Digest,
    ) -> Result<(), Fault> {
        settling.place(from, &self.path(digest))
    }

    /// Writes a small blob, with whatever else is settling.
    pub fn write(
        &self,
        settling: &mut Settling,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        settling.write(&self.path(digest), bytes)
    }

    /// Every digest that has a folder here.
    pub fn list(&self) -> Result<Vec<Digest>, Fault> {
        let mut digests = Vec::new();
        for algorithm in Algorithm::ALL {
            let folder = self.folder.join(algorithm.name());
            for prefix in disk::list(&folder)? {
                let names = disk::list(&folder.join(prefix))?;
                let named = |hex: String| Digest::from_parts(algorithm.name(), &hex);
                digests.extend(names.into_iter().filter_map(named));
            }
        }
        Ok(digests)
    }
}
