//! Failures: what can keep an image from arriving.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::oci::Digest;

/// Why something did not arrive. URLs in it have neither user nor query.
#[derive(Clone, Debug)]
pub enum Failure {
    /// A name or an option that can't be understood.
    Name(String),
    /// No answer: the host is unknown, the connection is refused or broke off, or nothing came.
    Unreachable {
        /// What was asked.
        url: String,
        /// What the system said.
        cause: String,
    },
    /// The registry answered with an error.
    Refused {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The registry's own words.
        reason: String,
    },
    /// Too many requests (429); the wait that it asked for, if it named one.
    Throttled {
        /// What was asked.
        url: String,
        /// How long to wait.
        wait: Option<Duration>,
    },
    /// The registry does not have what was asked for.
    Missing(String),
    /// The bytes are not those that the digest names.
    Corrupt {
        /// Where they came from.
        url: String,
        /// The digest they should have.
        expected: Digest,
        /// What came instead.
        received: String,
    },
    /// A registry wants to know who asks, or does not believe it.
    Login(String),
    /// An answer that no registry should give.
    Protocol {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        cause: String,
    },
    /// An index has nothing for the platforms that are wanted; these.
    NoPlatform(String),
    /// A file of ours can't be read or written.
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// A bug of ours; the text is the panic's message.
    Panicked(String),
}

impl Failure {
    /// A file that can't be read or written.
    pub fn disk(path: impl AsRef<Path>, cause: impl fmt::Display) -> Failure {
        let path = path.as_ref().to_path_buf();
        Failure::Disk {
            path,
            cause: cause.to_string(),
        }
    }

    /// An answer that no registry should give.
    pub fn protocol(url: &str, cause: impl Into<String>) -> Failure {
        Failure::Protocol {
            url: without_secrets(url),
            cause: cause.into(),
        }
    }

    /// No answer, or not the whole of it.
    pub fn unreachable(url: &str, cause: impl fmt::Display) -> Failure {
        Failure::Unreachable {
            url: without_secrets(url),
            cause: cause.to_string(),
        }
    }

    /// Whether the same request can succeed a little later without a person's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            Failure::Unreachable { .. } => true,
            Failure::Refused { status, .. } => *status >= 500 || *status == 408,
            _ => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Name(cause) | Failure::Login(cause) => f.write_str(cause),
            Failure::Unreachable { url, cause } => write!(f, "{url}: {cause}"),
            Failure::Refused {
                url,
                status,
                reason,
            } => write!(f, "{url}: {status} {reason}"),
            Failure::Throttled {
                url,
                wait: Some(wait),
            } => {
                write!(f, "{url}: too many requests, wait {} s", wait.as_secs())
            }
            Failure::Throttled { url, wait: None } => write!(f, "{url}: too many requests"),
            Failure::Missing(what) => write!(f, "{what} is not there"),
            Failure::Corrupt {
                url,
                expected,
                received,
            } => write!(
                f,
                "{url}: the bytes are not those of {expected}, but {received}; \
                 nothing was kept of them"
            ),
            Failure::Protocol { url, cause } => {
                write!(
                    f,
                    "{url}: {cause}; is this a registry, or is a proxy in the way?"
                )
            }
            Failure::NoPlatform(platforms) => write!(f, "it has nothing for {platforms}"),
            Failure::Disk { path, cause } => write!(f, "{}: {cause}", path.display()),
            Failure::Panicked(cause) => write!(f, "this is a bug, please report it: {cause}"),
        }
    }
}

impl std::error::Error for Failure {}

/// The URL without user, password, query and fragment.
pub fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_no_secret() {
        for (url, clean) in [
            (
                "https://bob:key@api.test/put?token=key#key",
                "https://api.test/put",
            ),
            ("http://api.test/a@b/c", "http://api.test/a@b/c"),
            ("https://key@[::1]:3004", "https://[::1]:3004"),
            ("/v2/?key", "/v2/"),
        ] {
            assert_eq!(
                Failure::unreachable(url, "why").to_string(),
                format!("{clean}: why")
            );
        }
    }
}
