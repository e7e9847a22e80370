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
pub use exchange::{Body, Exchange};
pub use listener::Listener;
pub use tally::Tally;
