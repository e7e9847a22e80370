//! The store by itself: what the catalog says after each kind of change, and what its statements
//! cost.

mod backup;
mod catalog;
#[path = "../registry/disks.rs"]
#[allow(dead_code)] // Nobody cuts the power here.
mod disks;
#[allow(dead_code)] // Commands are tried with more of it.
mod fixture;
mod pins;
mod statements;
mod view;
#[path = "../world/mod.rs"]
#[allow(dead_code, unused_imports)] // Only what it needs is used.
mod world;

use fixture::{Fixture, digest, manifest, repository, tag, tagged};
