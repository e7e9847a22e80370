//! Journeys of clients and owners through the registry, over real sockets and real files. Each
//! test is a story that begins with an empty registry.
#![forbid(unsafe_code)]

#[path = "../world/mod.rs"]
mod world;

/// Makes each journey a test on every store.
macro_rules! journeys {
    ($($journey:ident),* $(,)?) => {
        mod on_disk {
            use crate::world::{Place, Served};
            $(#[test] fn $journey() { super::$journey(&Served::on(Place::Disk)); })*
        }
        mod in_memory {
            use crate::world::{Place, Served};
            $(#[test] fn $journey() { super::$journey(&Served::on(Place::Memory)); })*
        }
    };
}

mod chunks;
mod crash;
mod deletion;
mod disks;
mod full_disk;
mod heads;
mod lists;
mod manifests;
mod manners;
mod order;
mod power;
mod pulling;
mod pushing;
mod referrers;
mod restart;
mod rude;
mod settings;
mod startup;
mod tree;
mod types;
