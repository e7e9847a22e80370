//! The clients: accept connections, vet the head of each request, read bodies, write answers.
//!
//! tiny_http reads requests; what it leaves open to a hostile network is closed around it. The
//! accept loop is ours ([`listener`]), since the library's own goes deaf on an accept error and
//! leaves connections of a burst unserved. Each connection has a thread of its own with a small
//! stack, which looks at the head of a request before the library reads it ([`connection`]), so
//! that its length is bounded, and handles one request at a time ([`exchange`]), so that a client
//! that pipelines can't flood anything. Answers are written to the socket itself ([`socket`]):
//! the library would drain an unread body first, for as long as the client likes.

pub mod connection;
pub mod exchange;
mod hello;
pub mod listener;
mod socket;
pub mod tally;

pub use connection::{Common, Connection};
pub use exchange::Exchange;
pub use listener::Listener;
pub use tally::Tally;

use std::io::Read;

/// The body of a request, as it arrives. A body that ends before its declared length, or in the
/// middle of a chunk, is an error and not an end.
pub trait Body: Read {
    /// Bytes of the whole body, if the client declared them; 0 if there is none.
    fn length(&self) -> Option<u64>;

    /// Whether more has arrived, so that to read on is not to wait for the client.
    fn has_arrived(&self) -> bool;
}
