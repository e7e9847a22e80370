//! Lighthouse, a Docker registry whose images travel to IPFS and Filecoin.
#![forbid(unsafe_code)]

pub mod config;
pub mod logbook;
pub mod oci;
