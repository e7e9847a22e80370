//! Journeys to a real Kubo node, and what a node says with what becomes of it.
//!
//! The journeys need a node: `tests/ipfs/node run 5101 8180 cargo test --test kubo -- --ignored`
//! builds one, and runs them with `IPFS_API` and `IPFS_GATEWAY`.
#![forbid(unsafe_code)]

// Shared with other journeys; not each of them needs all of it.
#[allow(dead_code, unused_imports)]
#[path = "../world/mod.rs"]
mod world;

mod calls;
mod home;
mod losses;
mod words;

use lighthouse::cid::{Cid, Import, Unixfs};
use lighthouse::fault::{Fault, Trouble};
use std::env;

const MIB: usize = 1 << 20;

/// Where the node is that these journeys were started with: `IPFS_API` or `IPFS_GATEWAY`.
fn address(name: &str) -> String {
    env::var(name).expect("a node runs, and IPFS_API and IPFS_GATEWAY say where")
}

/// Content that no other `seed` gives, and its CID.
fn content(size: usize, seed: u64) -> (Vec<u8>, Cid) {
    let mut state = seed;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(size)
    .collect();
    let cid = cid_of(&bytes);
    (bytes, cid)
}

/// The CID of these bytes.
fn cid_of(bytes: &[u8]) -> Cid {
    let mut unixfs = Unixfs::new(Import::KUBO);
    unixfs.write(bytes);
    unixfs.finish().cid
}

fn trouble<T: std::fmt::Debug>(result: Result<T, Fault>) -> Trouble {
    match result {
        Err(Fault::Neighbour { trouble, .. }) => trouble,
        other => panic!("not a neighbour's fault: {other:?}"),
    }
}
