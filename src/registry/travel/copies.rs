//! Local copies of what the network keeps: those that may leave this disk.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::oci::Digest;

/// The most drops under way at a time.
const DROPS_AT_A_TIME: usize = 8;

/// The copies, the one unused for longest first.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// The most bytes of them; None for all, and then none is listed.
    size_max: Option<u64>,
    size: u64,
    by_use: BTreeSet<Copy>,
    /// Drops under way.
    pub dropping: usize,
}

/// A copy: when it was last used, its place in the queue that breaks a tie, and its size.
pub(super) type Copy = (Duration, u64, Digest, u64);

impl Copies {
    pub fn new(size_max: Option<u64>) -> Copies {
        Copies {
            size_max,
            ..Copies::default()
        }
    }

    /// Lists a copy; whether that has any use.
    pub fn list(&mut self, copy: Copy) -> bool {
        let is_new = self.size_max.is_some() && self.by_use.insert(copy);
        self.size += if is_new { copy.3 } else { 0 };
        is_new
    }

    /// Takes a copy off the list.
    pub fn unlist(&mut self, copy: &Copy) {
        if self.by_use.remove(copy) {
            self.size -= copy.3;
        }
    }

    /// The next copy to drop, if they are too many and not enough are being dropped already.
    pub fn next(&self, at_a_time: usize) -> Option<Copy> {
        let is_over = self.size_max.is_some_and(|max| self.size > max);
        let may_drop = self.dropping < at_a_time.min(DROPS_AT_A_TIME);
        let first = self.by_use.first().copied();
        first.filter(|_| is_over && may_drop)
    }
}
