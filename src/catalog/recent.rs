//! The manifests that were asked for lately, so that a popular tag costs no disk.

use std::collections::HashMap;

use super::Stored;
use crate::oci::Digest;

/// Recently served manifests, bounded in bytes; the one unused for longest goes first.
#[derive(Debug)]
pub struct Recent {
    size_max: usize,
    size: usize,
    clock: u64,
    manifests: HashMap<Digest, (u64, Stored)>,
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
    pub fn get(&mut self, digest: &Digest) -> Option<&Stored> {
        self.clock += 1;
        let (used, stored) = self.manifests.get_mut(digest)?;
        *used = self.clock;
        Some(stored)
    }

    /// Remembers a manifest, unless it would take more than a quarter of the room.
    pub fn put(&mut self, digest: Digest, stored: Stored) {
        let size = stored.bytes.len();
        if size > self.size_max / 4 {
            return;
        }
        self.forget(&digest);
        while self.size + size > self.size_max {
            let oldest = self.manifests.iter().min_by_key(|(_, (used, _))| *used);
            let Some(oldest) = oldest.map(|(digest, _)| *digest) else {
                break;
            };
            self.forget(&oldest);
        }
        self.clock += 1;
        self.size += size;
        self.manifests.insert(digest, (self.clock, stored));
    }

    fn forget(&mut self, digest: &Digest) {
        if let Some((_, stored)) = self.manifests.remove(digest) {
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
        let mut recent = Recent::new(100);
        for n in 0..4 {
            recent.put(digest(n), stored(25));
        }
        assert!(recent.get(&digest(0)).is_some());
        recent.put(digest(4), stored(25));
        assert!(recent.get(&digest(1)).is_none() && recent.get(&digest(0)).is_some());
        recent.put(digest(5), stored(26));
        assert!(
            recent.get(&digest(5)).is_none(),
            "a quarter of the room is the most"
        );
    }
}
