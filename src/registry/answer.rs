//! What goes in with a request, and what comes out of it.

use std::fs::File;
use std::io::Read;

use log::Level;

use crate::fault::Fault;
use crate::oci::{Refusal, Response};
use crate::store::Failure;

/// Whoever asks.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's address.
    pub address: String,
}

/// The answer to a request.
pub enum Answer {
    /// One that is whole.
    Whole(Response),
    /// One whose body is a part of a file.
    File {
        /// All but the body.
        head: Response,
        /// The file.
        file: File,
        /// Where the part begins, in bytes.
        offset: u64,
        /// The length of the part, in bytes.
        length: u64,
    },
    /// One whose body comes from elsewhere. If it ends early or fails, the connection is cut, and
    /// the client sees that it is not whole.
    Stream {
        /// All but the body.
        head: Response,
        /// The body.
        body: Box<dyn Read>,
        /// Its length in bytes.
        length: u64,
    },
}

impl From<Response> for Answer {
    fn from(response: Response) -> Answer {
        Answer::Whole(response)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }
}

/// What the client is told of a failure; the log is told more.
pub(super) fn failed(failure: &Failure) -> Response {
    match failure {
        Failure::Refused(refusal) => {
            let level = match refusal.is_routine() {
                true => Level::Debug,
                false => Level::Warn,
            };
            log::log!(level, "{refusal}");
            Response::refusal(refusal)
        }
        Failure::Fault(fault @ Fault::Client(_)) => {
            log::info!("{fault}");
            Response::refusal(&Refusal::SizeInvalid(fault.summary().into()))
        }
        Failure::Fault(fault) => {
            log::error!("{fault}");
            Response::fault(fault.status(), fault.summary(), fault.retry_after())
        }
    }
}
