//! Background work over a store: what becomes of blobs that are to be pinned, dropped and fetched.
//! Estuary is the double, a program of its own on real sockets.
#![forbid(unsafe_code)]

// Not all of it is needed here.
#[allow(dead_code)]
#[path = "../double/start.rs"]
mod double;
// Shared with other journeys; not each of them needs all of it.
#[allow(dead_code, unused_imports)]
#[path = "../world/mod.rs"]
mod world;

mod caching;
mod deciding;
mod fetching;
mod fixture;
mod kubo;
mod pinning;
mod transitions;
