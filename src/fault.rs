//! What can break: our disk, a neighbour, the line to the client, a pump.
//!
//! A fault is never the client's mistake (that is a refusal). Its `Display` names what failed on
//! which path or URL and is logged in full once; the client is told [`Fault::status`],
//! [`Fault::summary`] and, where waiting helps, [`Fault::retry_after`]. Addresses are cleared of
//! user names, passwords and queries when a fault is made, so neither `Display` nor `Debug` can
//! leak a secret.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What broke on our side or on a neighbour's.
#[derive(Debug)]
pub enum Fault {
    /// A file or folder could not be read or written.
    Disk {
        /// What was tried, such as `write` or `sync`.
        op: &'static str,
        /// The file or folder it was tried on.
        path: PathBuf,
        /// What the system answered.
        cause: io::Error,
    },
    /// No space is left for a write, or a quota or a limit on the size of files ends it.
    DiskFull {
        /// What was tried, such as `write` or `sync`.
        op: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// What the system answered.
        cause: io::Error,
    },
    /// Nothing can be changed until this program is started anew.
    Stopped {
        /// What is not changed any more.
        path: PathBuf,
        /// What failed on it.
        cause: String,
    },
    /// A neighbour on the content network failed us.
    Neighbour {
        /// Which one.
        who: Neighbour,
        /// The address that was asked, as [`shown`].
        url: String,
        /// How it failed.
        trouble: Trouble,
    },
    /// The client's connection broke or stalled in the middle of a body.
    Client(io::Error),
    /// A job ended in a panic, which is a bug of ours; the text is the panic's message.
    Panicked(String),
}

/// The outer world that this registry speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Estuary's main node or one of its shuttles.
    Estuary,
    /// A node that speaks Kubo's RPC: Kubo, or an IPFS Cluster proxy.
    Kubo,
    /// An IPFS gateway.
    Gateway,
}

/// How a neighbour failed.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// No answer: the name is unknown, the connection refused or broken, or nothing came in time.
    Unreachable(String),
    /// It asks for other credentials (401).
    Unauthorized(String),
    /// The credentials are good but not for this (403), such as an upload-only key.
    Forbidden(String),
    /// It takes no content of this size (413, or Estuary's own code for it).
    TooLarge(String),
    /// Too many requests (429); the time it asked us to wait, if it named one.
    RateLimited(Option<Duration>),
    /// It failed or is overloaded (5xx).
    Overloaded {
        /// The status it answered.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// It answered that it does not have what was asked for, or not yet.
    Missing(String),
    /// It refused for a reason of its own (any other status).
    Refused {
        /// The status it answered.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// The body ended early.
    Cut {
        /// Bytes that were promised.
        expected: u64,
        /// Bytes that came.
        received: u64,
    },
    /// It vouched for other content than ours.
    Lied {
        /// The CID that it should have given.
        expected: String,
        /// What it gave instead.
        received: String,
    },
    /// It does not speak the protocol that we expect of it.
    Protocol(String),
}

/// The longest part of an address, and of a neighbour's words, that is passed on, in characters: a
/// gateway may redirect to one of 60,000.
const WORDS_LEN_MAX: usize = 300;

/// How long to wait before the same thing is worth trying again, when nobody named a time.
const RETRY: Duration = Duration::from_secs(30);

impl Fault {
    /// A failed operation on a path. An error that means "no space" becomes [`Fault::DiskFull`].
    pub fn disk(op: &'static str, path: impl AsRef<Path>, cause: io::Error) -> Fault {
        let path = path.as_ref().to_path_buf();
        match cause.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Fault::DiskFull { op, path, cause },
            _ => Fault::Disk { op, path, cause },
        }
    }

    /// A connection to a client that failed in the middle of a body.
    pub fn client(cause: io::Error) -> Fault {
        Fault::Client(cause)
    }

    /// A panic of ours, with its message.
    pub fn panicked(what: impl Into<String>) -> Fault {
        Fault::Panicked(what.into())
    }

    /// A failure of a neighbour at `url`, which is cleared of secrets, and clipped.
    pub fn neighbour(who: Neighbour, url: &str, trouble: Trouble) -> Fault {
        let url = shown(url);
        Fault::Neighbour { who, url, trouble }
    }

    /// The HTTP status that a client gets: 507 when the disk is full, 503 when waiting helps with a
    /// neighbour, 502 when it does not, else 500. Never 404: what failed is not what is missing.
    pub fn status(&self) -> u16 {
        match self {
            Fault::DiskFull { .. } => 507,
            Fault::Stopped { .. } => 503,
            Fault::Neighbour { .. } if self.retry_after().is_some() => 503,
            Fault::Neighbour { .. } => 502,
            Fault::Disk { .. } | Fault::Client(_) | Fault::Panicked(_) => 500,
        }
    }

    /// Whether a neighbour answered that it does not have what was asked for.
    pub fn is_missing(&self) -> bool {
        let missing = |trouble: &Trouble| matches!(trouble, Trouble::Missing(_));
        matches!(self, Fault::Neighbour { trouble, .. } if missing(trouble))
    }

    /// When trying the same thing again can succeed without a person's doing; `None` if it cannot.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Fault::DiskFull { .. } => Some(RETRY),
            Fault::Client(_) => Some(Duration::ZERO),
            Fault::Disk { .. } | Fault::Stopped { .. } | Fault::Panicked(_) => None,
            Fault::Neighbour { trouble, .. } => trouble.retry_after(),
        }
    }

    /// What a client is told: the kind of failure, without paths and addresses of ours.
    pub fn summary(&self) -> &'static str {
        match self {
            Fault::Disk { .. } => "the registry's disk failed",
            Fault::DiskFull { .. } => "the registry's disk is full",
            Fault::Stopped { .. } => "the registry's disk failed: it must be started anew",
            Fault::Client(_) => "the connection broke in the middle of the body",
            Fault::Panicked(_) => "the registry met a bug of its own",
            Fault::Neighbour { trouble, .. } => match trouble {
                Trouble::Unreachable(_) => "the content network does not answer",
                Trouble::Unauthorized(_) | Trouble::Forbidden(_) => {
                    "the content network refuses the registry's credentials"
                }
                Trouble::TooLarge(_) => "the content network takes no content of this size",
                Trouble::RateLimited(_) | Trouble::Overloaded { .. } => {
                    "the content network is overloaded"
                }
                Trouble::Missing(_) => "the content network does not have this content now",
                Trouble::Refused { .. } => "the content network refused the request",
                Trouble::Cut { .. } => "the content network broke off in the middle",
                Trouble::Lied { .. } => "the content network gave other content than asked for",
                Trouble::Protocol(_) => "the content network answered what cannot be understood",
            },
        }
    }
}

/// A fault that several wait for is told to each. The error of the system is then its kind and its
/// words.
impl Clone for Fault {
    fn clone(&self) -> Fault {
        let copy = |cause: &io::Error| io::Error::new(cause.kind(), cause.to_string());
        match self {
            Fault::Disk { op, path, cause } => Fault::Disk {
                op,
                path: path.clone(),
                cause: copy(cause),
            },
            Fault::DiskFull { op, path, cause } => Fault::DiskFull {
                op,
                path: path.clone(),
                cause: copy(cause),
            },
            Fault::Neighbour { who, url, trouble } => Fault::Neighbour {
                who: *who,
                url: url.clone(),
                trouble: trouble.clone(),
            },
            Fault::Stopped { path, cause } => Fault::Stopped {
                path: path.clone(),
                cause: cause.clone(),
            },
            Fault::Client(cause) => Fault::Client(copy(cause)),
            Fault::Panicked(what) => Fault::Panicked(what.clone()),
        }
    }
}

impl Trouble {
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Trouble::RateLimited(wait) => Some(wait.unwrap_or(RETRY)),
            Trouble::Unreachable(_)
            | Trouble::Overloaded { .. }
            | Trouble::Missing(_)
            | Trouble::Cut { .. } => Some(RETRY),
            Trouble::Unauthorized(_)
            | Trouble::Forbidden(_)
            | Trouble::TooLarge(_)
            | Trouble::Refused { .. }
            | Trouble::Lied { .. }
            | Trouble::Protocol(_) => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::Disk { op, path, cause } => write!(f, "{op} {}: {cause}", path.display()),
            Fault::DiskFull { op, path, cause } => {
                write!(f, "{op} {}: the disk is full: {cause}", path.display())
            }
            Fault::Stopped { path, cause } => {
                let path = path.display();
                write!(
                    f,
                    "write {path}: nothing is changed until a restart: {cause}"
                )
            }
            Fault::Neighbour { who, url, trouble } => write!(f, "{who} {url}: {trouble}"),
            Fault::Client(cause) => write!(f, "client: {cause}"),
            Fault::Panicked(what) => write!(f, "a job panicked: {what}"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fault::Disk { cause, .. } | Fault::DiskFull { cause, .. } => Some(cause),
            Fault::Client(cause) => Some(cause),
            Fault::Stopped { .. } | Fault::Neighbour { .. } | Fault::Panicked(_) => None,
        }
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Neighbour::Estuary => "Estuary",
            Neighbour::Kubo => "Kubo",
            Neighbour::Gateway => "gateway",
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Trouble::Unreachable(why) => write!(f, "no answer: {why:.WORDS_LEN_MAX$}"),
            Trouble::Unauthorized(why) => write!(f, "the token is refused (401): {why}"),
            Trouble::Forbidden(why) => write!(f, "the token is not enough for this (403): {why}"),
            Trouble::TooLarge(why) => write!(f, "too large for it: {why}"),
            Trouble::RateLimited(None) => write!(f, "too many requests (429)"),
            Trouble::RateLimited(Some(wait)) => {
                write!(f, "too many requests (429), wait {} s", wait.as_secs())
            }
            Trouble::Overloaded { status, reason } => write!(f, "failed ({status}): {reason}"),
            Trouble::Missing(why) => write!(f, "does not have it: {why}"),
            Trouble::Refused { status, reason } => write!(f, "refused ({status}): {reason}"),
            Trouble::Cut { expected, received } => {
                write!(f, "broke off after {received} of {expected} bytes")
            }
            Trouble::Lied { expected, received } => {
                write!(
                    f,
                    "gave {received:.WORDS_LEN_MAX$} where {expected:.WORDS_LEN_MAX$} was expected"
                )
            }
            Trouble::Protocol(what) => write!(f, "unexpected answer: {what:.WORDS_LEN_MAX$}"),
        }
    }
}

/// An address as it may be shown: without user name, password, query and fragment, and clipped.
pub fn shown(url: &str) -> String {
    let url = without_secrets(url);
    match url.char_indices().nth(WORDS_LEN_MAX) {
        Some((end, _)) => format!("{}…", &url[..end]),
        None => url,
    }
}

fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_string();
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_its_own_kind() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let fault = Fault::disk("write", "/srv/blob", io::Error::from(kind));
            assert!(matches!(fault, Fault::DiskFull { .. }));
            assert_eq!(fault.status(), 507);
            assert!(
                fault
                    .to_string()
                    .starts_with("write /srv/blob: the disk is full")
            );
        }
        let fault = Fault::disk("sync", "/srv/blob", io::Error::other("I/O error"));
        assert_eq!((fault.status(), fault.retry_after()), (500, None));
        assert_eq!(fault.to_string(), "sync /srv/blob: I/O error");
    }

    #[test]
    fn a_url_keeps_no_secret() {
        for (url, clean) in [
            (
                "https://bob:key@api.test/put?token=key#key",
                "https://api.test/put",
            ),
            ("https://key@[::1]:3004", "https://[::1]:3004"),
            ("http://api.test/a@b/c", "http://api.test/a@b/c"),
            ("api.test?key", "api.test"),
        ] {
            let fault = Fault::neighbour(Neighbour::Estuary, url, Trouble::RateLimited(None));
            let shown = format!("Estuary {clean}: too many requests (429)");
            assert_eq!(fault.to_string(), shown, "{url}");
        }
    }

    #[test]
    fn a_neighbour_that_may_recover_is_503_and_one_that_will_not_is_502() {
        let wait = Duration::from_secs(7);
        for (trouble, status, retry) in [
            (Trouble::Unreachable("refused".into()), 503, Some(RETRY)),
            (Trouble::RateLimited(Some(wait)), 503, Some(wait)),
            (
                Trouble::Overloaded {
                    status: 504,
                    reason: "late".into(),
                },
                503,
                Some(RETRY),
            ),
            (Trouble::Missing("not yet".into()), 503, Some(RETRY)),
            (
                Trouble::Cut {
                    expected: 5,
                    received: 3,
                },
                503,
                Some(RETRY),
            ),
            (Trouble::Unauthorized("unknown key".into()), 502, None),
            (Trouble::Forbidden("upload only".into()), 502, None),
            (Trouble::TooLarge("34 GB".into()), 502, None),
            (
                Trouble::Refused {
                    status: 400,
                    reason: "why".into(),
                },
                502,
                None,
            ),
            (
                Trouble::Lied {
                    expected: "a".into(),
                    received: "b".into(),
                },
                502,
                None,
            ),
            (Trouble::Protocol("HTML".into()), 502, None),
        ] {
            let fault = Fault::neighbour(Neighbour::Gateway, "http://gw.test/ipfs/x", trouble);
            assert_eq!(
                (fault.status(), fault.retry_after()),
                (status, retry),
                "{fault}"
            );
            assert!(
                fault
                    .to_string()
                    .starts_with("gateway http://gw.test/ipfs/x: "),
                "{fault}"
            );
            assert!(
                fault.summary().starts_with("the content network "),
                "{fault}"
            );
        }
    }
}
