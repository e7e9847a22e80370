//! Journeys of images to Estuary and back. Estuary is the double, a program of its own on real
//! sockets; the registry runs in this process, or as the program where it is to be killed.
#![forbid(unsafe_code)]

#[path = "../double/start.rs"]
mod double;
// Shared with other journeys; not each of them needs all of it.
#[allow(dead_code, unused_imports)]
#[path = "../world/mod.rs"]
mod world;

mod acknowledging;
mod cache;
mod failing;
mod killing;
mod leaving;
mod queue;
mod returning;
mod station;
mod subdomains;
