//! Journeys of images: the real program between real registries, and a hub that plays Docker's.

#[path = "../hub/mod.rs"]
#[allow(dead_code, reason = "shared with the program that serves it by hand")]
mod hub;

mod choice;
mod login;
mod quota;
mod trouble;
mod world;
