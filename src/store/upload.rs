//! Upload sessions: a row, and a file of the same name whose length is the offset.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use super::error::Error;
use super::transaction::{Transaction, sql, values};
use crate::oci::{Refusal, Repository};

/// The sessions that somebody writes to at this moment.
#[derive(Clone, Debug, Default)]
pub struct Leases(Arc<Mutex<HashSet<String>>>);

/// The right to write to a session, which nobody else has until this is dropped.
#[derive(Debug)]
pub struct Lease {
    all: Leases,
    session: String,
}

impl Leases {
    /// Takes the right to write to a session; None if somebody has it.
    pub fn take(&self, session: &str) -> Option<Lease> {
        let is_free = self.lock().insert(session.to_owned());
        is_free.then(|| Lease {
            all: self.clone(),
            session: session.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        // Whoever panicked with the lock had put one name in or out, and nothing else.
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.all.lock().remove(&self.session);
    }
}

/// How many upload sessions there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In all.
    pub total: u32,
    /// Of one client.
    pub of_client: u32,
}

/// After how many seconds a client that has too many sessions may try again.
const RETRY_SECS: u32 = 30;

/// Begins a session under a name that nobody else has. Refused with `TOOMANYREQUESTS` when there
/// are too many.
pub fn start(
    tx: &Transaction,
    id: &str,
    repository: &Repository,
    client: &str,
    limits: Limits,
) -> Result<(), Error> {
    let count = |row: &super::transaction::Row| row.int(0);
    let all = tx.ask(sql!("upload/count"), values![], count)?.unwrap_or(0);
    let own = tx
        .ask(sql!("upload/count_of_client"), values![client], count)?
        .unwrap_or(0);
    if all >= i64::from(limits.total) || own >= i64::from(limits.of_client) {
        return Err(Refusal::TooManyRequests(RETRY_SECS).into());
    }
    let values = values![id, repository.as_str(), client, tx.now(), tx.now()];
    tx.run(sql!("upload/start"), values).map(drop)
}

/// Whether there is such a session.
pub fn is_open(tx: &Transaction, repository: &Repository, id: &str) -> Result<bool, Error> {
    let found = tx.ask(
        sql!("upload/find"),
        values![id, repository.as_str()],
        |row| row.int(0),
    )?;
    Ok(found.is_some())
}

/// Notes that a session was written to.
pub fn written(tx: &Transaction, id: &str) -> Result<(), Error> {
    tx.run(sql!("upload/written"), values![tx.now(), id])
        .map(drop)
}

/// Ends a session; whether there was one.
pub fn end(tx: &Transaction, repository: &Repository, id: &str) -> Result<bool, Error> {
    let ended = tx.run(sql!("upload/end"), values![id, repository.as_str()])?;
    Ok(ended > 0)
}

/// A session that nobody has written to for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Its name.
    pub id: String,
    /// Where it was to end.
    pub repository: String,
    /// When it was written to last, in milliseconds since 1970.
    pub written_at: i64,
}

/// Sessions that were not written to since `before`, the oldest first, at most `count`.
pub fn list_stale(tx: &Transaction, before: i64, count: u32) -> Result<Vec<Stale>, Error> {
    tx.list(
        sql!("upload/list_old"),
        values![before, i64::from(count)],
        |row| {
            Ok(Stale {
                id: row.text(0)?,
                repository: row.text(1)?,
                written_at: row.int(2)?,
            })
        },
    )
}

/// Ends a session that was not written to since `before`; whether it did.
pub fn purge(tx: &Transaction, id: &str, before: i64) -> Result<bool, Error> {
    Ok(tx.run(sql!("upload/purge"), values![id, before])? > 0)
}
