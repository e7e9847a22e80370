//! The words of the OCI specifications as types: parsing and printing, no I/O.
//!
//! Whatever a client says is parsed once, here, into a type that cannot be wrong; a [`Refusal`]
//! says why it could not be. In reading order: [`name`] and [`digest`] name things, [`manifest`]
//! describes an image, [`request`] is what clients ask, [`response`] what they are told, and
//! [`refusal`] each way in which the answer can be no.

pub mod descriptor;
pub mod digest;
mod json;
pub mod manifest;
pub mod name;
pub mod range;
pub mod refusal;
pub mod request;
pub mod response;

pub use descriptor::{Descriptor, Platform};
pub use digest::{Algorithm, Digest};
pub use manifest::Manifest;
pub use name::{Reference, Repository, Tag};
pub use range::ByteRange;
pub use refusal::Refusal;
pub use request::Request;
pub use response::Response;
