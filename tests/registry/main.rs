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
mod damage;
mod deletion;
mod disks;
mod failing;
mod faults;
mod full_disk;
mod heads;
mod limits;
mod lists;
mod manifests;
mod manners;
mod model;
mod order;
mod power;
mod pulling;
mod pushing;
mod races;
mod referrers;
mod restart;
mod rude;
mod seeded;
mod settings;
mod startup;
mod told;
mod tree;
mod types;
