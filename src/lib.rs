//! Lighthouse, a Docker registry whose images travel to IPFS and Filecoin.
#![forbid(unsafe_code)]

pub mod cid;
pub mod config;
pub mod estuary;
pub mod fault;
pub mod gateway;
pub mod kubo;
pub mod logbook;
pub mod oci;
pub mod outward;
