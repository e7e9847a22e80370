//! `registry migrate`: copy images from another registry.

pub use lighthouse::migrate::{Options, run};
