//! The tally: what a run has done so far, and what is worth telling about it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::oci::{Digest, Reference};

use super::Failure;
use super::blob::Arrival;
use super::image::Host;
use super::quota::Quota;

/// What a run has done so far; of a dry run, what it would have done.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Images that are wanted, as far as they are known.
    pub wanted: u64,
    /// Images that arrived.
    pub copied: u64,
    /// Images that the destination had.
    pub present: u64,
    /// Images that have nothing for the wanted platforms.
    pub unmatched: u64,
    /// Images, or whole repositories, that did not arrive.
    pub failed: u64,
    /// Manifests that were kept.
    pub manifests: u64,
    /// Their bytes.
    pub manifest_bytes: u64,
    /// Blobs that were sent.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Blobs that the destination took from another repository of its own.
    pub mounted: u64,
    /// Blobs that the destination had.
    pub blobs_present: u64,
    /// Manifests that were got from a source, which may count them.
    pub pulls: u64,
    /// What the source last said is left to pull.
    pub quota: Option<Quota>,
    /// Of a dry run: images whose manifest was not read, to spare the quota.
    pub unread_roots: u64,
    /// Of a dry run: manifests of an index that were not read.
    pub unread_parts: u64,
    /// Indexes that were read from a source.
    pub indexes: u64,
}

/// How much there is to do, as far as a dry run could see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Manifests to pull.
    pub pulls: u64,
    /// Bytes to move; none if nothing could be read at all.
    pub bytes: Option<u64>,
    /// Whether all was read, so that this is no guess.
    pub is_exact: bool,
}

/// Something that people may want to know.
#[derive(Debug)]
pub enum Notice {
    /// A repository was listed.
    Found {
        /// Its name at the source.
        name: String,
        /// How many tags it has.
        tags: usize,
        /// How many of them are wanted.
        wanted: usize,
    },
    /// The source counts what is pulled.
    Counted {
        /// The source.
        host: Host,
        /// What it said first.
        quota: Quota,
    },
    /// A registry makes us wait.
    Waiting {
        /// What it was asked.
        url: String,
        /// For how long.
        wait: Duration,
    },
    /// An image is at the destination, with all that belongs to it.
    Arrived {
        /// The number of its repository.
        route: usize,
        /// Its name at the source.
        name: String,
        /// Its tag, or digest, at the destination.
        target: Reference,
        /// Its digest there.
        digest: Digest,
        /// Whether it was not there before.
        copied: bool,
    },
    /// An image, or a whole repository, did not arrive.
    Failed {
        /// Its name at the source.
        name: String,
        /// Why.
        failure: Arc<Failure>,
    },
}

impl Tally {
    /// Images of which it is known whether they arrived.
    pub fn settled(&self) -> u64 {
        self.copied + self.present + self.unmatched + self.failed
    }

    /// Takes in a blob of that size.
    pub fn brought(&mut self, how: Arrival, size: u64) {
        match how {
            Arrival::Present => self.blobs_present += 1,
            Arrival::Mounted => self.mounted += 1,
            Arrival::Copied => {
                self.blobs += 1;
                self.blob_bytes += size;
            }
        }
    }

    /// Takes in that a manifest was read from a source.
    pub fn read(&mut self, is_index: bool) {
        self.indexes += u64::from(is_index);
    }

    /// What a dry run has learnt. What it has not read is taken to be like what it has.
    pub fn estimate(&self) -> Estimate {
        let known = self.pulls + self.unread_parts;
        let images_read = self.pulls.saturating_sub(self.indexes);
        let roots_read = if self.indexes > 0 {
            self.indexes
        } else {
            self.pulls
        };
        let per_root = known.checked_div(roots_read).unwrap_or(1).max(1);
        let parts_per_root = if self.indexes > 0 { per_root - 1 } else { 1 };
        let images_unread = self.unread_parts + self.unread_roots * parts_per_root;
        let is_exact = self.unread_parts + self.unread_roots == 0;
        let read = self.blob_bytes + self.manifest_bytes;
        Estimate {
            pulls: known + self.unread_roots * per_root,
            bytes: match read.checked_div(images_read) {
                _ if is_exact => Some(read),
                Some(per_image) => Some(read + images_unread * per_image),
                None => None,
            },
            is_exact,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_is_estimated_from_what_was() {
        let exact = Tally {
            pulls: 9,
            indexes: 1,
            blob_bytes: 800,
            ..Tally::default()
        };
        let expected = Estimate {
            pulls: 9,
            bytes: Some(800),
            is_exact: true,
        };
        assert_eq!(exact.estimate(), expected);
        // Of an index of eight, four were read; then ten more like it were left.
        let about = Tally {
            pulls: 5,
            indexes: 1,
            unread_parts: 4,
            unread_roots: 10,
            blob_bytes: 400,
            ..Tally::default()
        };
        let expected = Estimate {
            pulls: 99,
            bytes: Some(400 + 84 * 100),
            is_exact: false,
        };
        assert_eq!(about.estimate(), expected);
        let blind = Tally {
            unread_roots: 3,
            ..Tally::default()
        };
        let expected = Estimate {
            pulls: 3,
            bytes: None,
            is_exact: false,
        };
        assert_eq!(blind.estimate(), expected);
        assert_eq!(Tally::default().estimate().pulls, 0);
    }
}
