//! Lighthouse, a Docker registry whose images travel to IPFS and Filecoin.
//!
//! **A request is a function call. What is known is a database. One thread writes it. Everything
//! else only carries bytes.** The loop of a connection, in [`server`], is the whole program:
//!
//! ```text
//! while let Some(exchange) = connection.next_exchange() {
//!     let answer = registry.answer(request, client, body);
//!     exchange.send(answer)
//! }
//! ```
//!
//! # The map
//!
//! Imports point down.
//!
//! | Floor | Room | What it does |
//! |---|---|---|
//! | 5 | `main`, `commands` | the command line, a file for each command |
//! | 4 | [`server`] | wires listener, registry and background work; start, drain, stop |
//! | 3 | [`registry`] | the distribution-spec: from a request to an answer |
//! | 3 | [`background`] | pinning, the cache, purging, health, fetching |
//! | 3 | [`migrate`] | copies images from another registry |
//! | 3 | [`status`], [`export`] | what there is, how far it is; the catalog as one document |
//! | 2 | [`store`] | what is kept: catalog, writer, blobs, uploads, old trees |
//! | 2 | [`http`] | connections: heads, bodies, answers, limits |
//! | 2 | [`ipfs`], [`estuary`], [`kubo`], [`gateway`] | the content networks |
//! | 1 | [`disk`], [`outward`] | a root directory; requests to others |
//! | 0 | [`oci`], [`cid`] | the specs' words as types |
//! | 0 | [`config`], [`fault`], [`logbook`] | settings, what can break, the log |
//! | 0 | [`nearest`], [`terminal`] | what a misspelt name may have meant; what commands print |
#![forbid(unsafe_code)]

pub mod background;
pub mod cid;
pub mod config;
pub mod disk;
pub mod estuary;
pub mod export;
pub mod fault;
pub mod gateway;
pub mod http;
pub mod ipfs;
pub mod kubo;
pub mod logbook;
pub mod migrate;
pub mod nearest;
pub mod oci;
pub mod outward;
pub mod registry;
pub mod server;
pub mod status;
pub mod store;
pub mod terminal;
