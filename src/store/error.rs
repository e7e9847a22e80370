//! How a change or a question of the catalog can fail.

use std::any::Any;
use std::fmt;

use rusqlite::ffi;

use crate::fault::Fault;
use crate::oci::Refusal;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Error {
    /// A rule that the change depends on does not hold: the client's.
    Refused(Refusal),
    /// The database failed.
    Database(rusqlite::Error),
    /// Something else of ours failed: a file, or the command itself.
    Fault(Fault),
}

impl Error {
    /// A row holds what no statement of ours writes.
    pub(super) fn corrupt(what: &str) -> Error {
        let code = ffi::Error::new(ffi::SQLITE_CORRUPT);
        Error::Database(rusqlite::Error::SqliteFailure(code, Some(what.to_owned())))
    }

    /// A panic of a command, with its message.
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Error {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Error::Fault(Fault::panicked(text.unwrap_or("no message")))
    }

    /// What kind of failure of the database it is.
    pub(super) fn kind(&self) -> Kind {
        let Error::Database(rusqlite::Error::SqliteFailure(code, _)) = self else {
            return Kind::Other;
        };
        match code.extended_code {
            ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC | ffi::SQLITE_IOERR_TRUNCATE => {
                Kind::Sync
            }
            ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE => Kind::Write,
            extended => match extended & 0xff {
                ffi::SQLITE_FULL => Kind::Full,
                ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => Kind::Corrupt,
                ffi::SQLITE_CANTOPEN | ffi::SQLITE_READONLY => Kind::Shut,
                _ => Kind::Other,
            },
        }
    }
}

/// What a failure of the database means for what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No room is left: nothing was changed, and later changes may succeed.
    Full,
    /// A write failed, for want of room, for a limit, or because the disk is bad: nothing was
    /// changed.
    Write,
    /// A sync failed: what the disk has is unknown, and what memory has proves nothing.
    Sync,
    /// The database itself is damaged.
    Corrupt,
    /// It, or a file beside it, can't be opened or made.
    Shut,
    /// Anything else.
    Other,
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        Error::Database(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::Fault(fault)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused(refusal)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(refusal) => write!(f, "{refusal}"),
            Error::Database(error) => write!(f, "{error}"),
            Error::Fault(fault) => write!(f, "{fault}"),
        }
    }
}

impl std::error::Error for Error {}
