//! The manifests that were asked for lately, so that a popular tag costs no disk.

use std::collections::HashMap;

use super::Stored;
use crate::oci::{Digest, Repository};

/// A manifest of a repository: in another, the same bytes may be of another type.
type Key = (Repository, Digest);

/// Recently served manifests, bounded in bytes; the one unused for longest goes first.
#[derive(Debug)]
pub struct Recent {
    size_max: usize,
    size: usize,
    clock: u64,
    manifests: HashMap<Key, (u64, Stored)>,
}

impl Recent {
    /// Room for so many bytes of manifests.
    pub fn new(size_max: usize) -> Recent {
        Recent {
            size_max,
            size: 0,
            clock: 0,
            manifests: HashMap::new(),
        }
    }

    /// A manifest, if it was seen lately.
    pub fn get(&mut self, repository: &Repository, digest: &Digest) -> Option<&Stored> {
        self.clock += 1;
        let (used, stored) = self.manifests.get_mut(&(repository.clone(), *digest))?;
        *used = self.clock;
        Some(stored)
    }

    /// Remembers a manifest, unless it would take more than a quarter of the room.
    pub fn put(&mut self, repository: &Repository, digest: Digest, stored: Stored) {
        let key = (repository.clone(), digest);
        let size = stored.bytes.len();
        if size > self.size_max / 4 {
            return;
        }
        self.forget(&key);
        while self.size + size > self.size_max {
            let oldest = self.manifests.iter().min_by_key(|(_, (used, _))| *used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            self.forget(&oldest);
        }
        self.clock += 1;
        self.size += size;
        self.manifests.insert(key, (self.clock, stored));
    }

    fn forget(&mut self, key: &Key) {
        if let Some((_, stored)) = self.manifests.remove(key) {
            self.size -= stored.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn the_one_unused_for_longest_goes_first() {
        let digest = |n: u8| Digest::of(Algorithm::Sha256, &[n]);
        let stored = |size: usize| Stored {
            media_type: String::new(),
            bytes: vec![0; size].into(),
        };
        let name: Repository = "a".parse().expect("a name");
        let mut recent = Recent::new(100);
        for n in 0..4 {
            recent.put(&name, digest(n), stored(25));
        }
        assert!(recent.get(&name, &digest(0)).is_some());
        recent.put(&name, digest(4), stored(25));
        assert!(recent.get(&name, &digest(1)).is_none());
        assert!(recent.get(&name, &digest(0)).is_some());
        recent.put(&name, digest(5), stored(26));
        assert!(
            recent.get(&name, &digest(5)).is_none(),
            "a quarter of the room is the most"
        );
    }
}
