//! Lighthouse, a Docker registry whose images travel to IPFS and Filecoin.
#![forbid(unsafe_code)]

pub mod migrate;
pub mod oci;
