//! Pins: how far each blob is on each content network.

use super::blob::{self, Place};
use super::error::Error;
use super::transaction::{Row, Transaction, sql, values};
use crate::oci::Digest;

/// How far a blob is on a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not there yet.
    #[default]
    Queued = 0,
    /// Under way; or an upload ended, and nobody knows whether it got through.
    Uploading = 1,
    /// The network has the bytes and has not pinned them yet.
    Stored = 2,
    /// The network keeps it under the CID that we computed.
    Pinned = 3,
    /// The network refuses it, or gave another CID; it is tried again all the same.
    Failed = 4,
}

impl State {
    pub(super) fn of(number: i64) -> Result<State, Error> {
        use State::*;
        [Queued, Uploading, Stored, Pinned, Failed]
            .into_iter()
            .find(|state| *state as i64 == number)
            .ok_or_else(|| Error::corrupt("a pin is in an unknown state"))
    }
}

/// A pin that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPin {
    /// The network's name.
    pub network: String,
    /// The CID and the UnixFS parameters that it was computed with, if it was.
    pub cid: Option<(String, String)>,
}

/// What is known of a blob on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    /// The network's name.
    pub network: String,
    /// How far it is.
    pub state: State,
    /// The CID that we computed.
    pub cid: Option<String>,
    /// The UnixFS parameters that it was computed with.
    pub profile: Option<String>,
    /// What the network calls its content or its request.
    pub remote: Option<String>,
    /// How often it was tried since the last success.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub cause: Option<String>,
    /// When it is to be taken up again, in milliseconds since 1970; None if never.
    pub due_at: Option<i64>,
    /// When the network said last that it keeps it.
    pub confirmed_at: Option<i64>,
    /// Since when it is known that nobody knows whether an upload got through.
    pub lost_at: Option<i64>,
}

/// A pin that is due, with the blob that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The number of the blob's row.
    pub blob: i64,
    /// What it hashes to.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Where its bytes are.
    pub place: Place,
    /// What is known.
    pub pin: Pin,
}

/// Enqueues a blob for networks. Where it is known already and not pinned, it need not wait for
/// its next try.
pub(super) fn enqueue(tx: &Transaction, blob: i64, pins: &[NewPin]) -> Result<(), Error> {
    pins.iter().try_for_each(|pin| {
        let (cid, profile) = pin
            .cid
            .as_ref()
            .map(|(cid, profile)| (cid, profile))
            .unzip();
        let values = values![&pin.network, blob, cid, profile, tx.now()];
        tx.run(sql!("pin/enqueue"), values).map(drop)
    })
}

/// Takes in what was known of a blob on a network, unless something is known already.
pub(super) fn adopt(tx: &Transaction, blob: i64, pin: &Pin) -> Result<(), Error> {
    let values = values![
        &pin.network,
        blob,
        pin.state as i64,
        pin.cid.as_deref(),
        pin.profile.as_deref(),
        pin.remote.as_deref(),
        i64::from(pin.attempts),
        pin.cause.as_deref(),
        pin.due_at,
    ];
    tx.run(sql!("pin/adopt"), values)?;
    blob::settle(tx, blob)
}

/// What is due on a network at the transaction's time, the longest due first, at most `count`.
pub fn due(tx: &Transaction, network: &str, count: u32) -> Result<Vec<Due>, Error> {
    let values = values![network, tx.now(), i64::from(count)];
    tx.list(sql!("pin/due"), values, |row| {
        Ok(Due {
            blob: row.int(0)?,
            digest: row.digest(1)?,
            size: row.int_or_null(2)?.unwrap_or(0).unsigned_abs(),
            place: Place::of(row.int(3)?)?,
            pin: read(row, network.to_owned(), 4)?,
        })
    })
}

/// When the next pin of a network is due that is not due yet, in milliseconds since 1970.
pub fn next_due(tx: &Transaction, network: &str) -> Result<Option<i64>, Error> {
    let values = values![network, tx.now()];
    tx.ask(sql!("pin/next_due"), values, |row| row.int(0))
}

/// How many blobs are not pinned on a network, counted up to `count_max`.
pub fn count_waiting(tx: &Transaction, network: &str, count_max: u32) -> Result<u64, Error> {
    let values = values![network, i64::from(count_max)];
    let count = tx.ask(sql!("pin/waiting"), values, |row| row.size(0))?;
    Ok(count.unwrap_or(0))
}

/// A network that anything is pinned on, or was to be: the first by its name.
pub fn first_network(tx: &Transaction) -> Result<Option<String>, Error> {
    tx.ask(sql!("pin/first_network"), values![], |row| row.text(0))
}

/// Writes down what is known of a blob, by the number of its row, on a network; whether the pin
/// was still there. Where its bytes are is settled anew.
pub fn put(tx: &Transaction, blob: i64, pin: &Pin) -> Result<bool, Error> {
    let values = values![
        pin.state as i64,
        pin.cid.as_deref(),
        pin.profile.as_deref(),
        pin.remote.as_deref(),
        i64::from(pin.attempts),
        pin.cause.as_deref(),
        pin.due_at,
        pin.confirmed_at,
        pin.lost_at,
        &pin.network,
        blob,
    ];
    let is_there = tx.run(sql!("pin/put"), values)? > 0;
    blob::settle(tx, blob)?;
    Ok(is_there)
}

/// Has each network that keeps a blob asked now whether it still does.
pub(super) fn recheck(tx: &Transaction, blob: i64) -> Result<(), Error> {
    let values = values![tx.now(), blob, State::Pinned as i64];
    tx.run(sql!("pin/recheck"), values).map(drop)
}

/// No longer believes that a blob is kept, for nobody gave it: it is looked for, and uploaded
/// again.
pub(super) fn distrust(tx: &Transaction, blob: i64) -> Result<(), Error> {
    let (failed, pinned) = (State::Failed as i64, State::Pinned as i64);
    let cause = "no source gave it when it was asked for";
    let values = values![failed, cause, tx.now(), blob, pinned];
    tx.run(sql!("pin/distrust"), values).map(drop)
}

/// What is known of a digest on each network.
pub fn of_digest(tx: &Transaction, digest: &Digest) -> Result<Vec<Pin>, Error> {
    tx.list(sql!("pin/of_blob"), values![digest], |row| {
        read(row, row.text(0)?, 1)
    })
}

/// A pin, whose columns begin at `first`.
fn read(row: &Row, network: String, first: usize) -> Result<Pin, Error> {
    Ok(Pin {
        network,
        state: State::of(row.int(first)?)?,
        cid: row.text_or_null(first + 1)?,
        profile: row.text_or_null(first + 2)?,
        remote: row.text_or_null(first + 3)?,
        attempts: row.size(first + 4)? as u32,
        cause: row.text_or_null(first + 5)?,
        due_at: row.int_or_null(first + 6)?,
        confirmed_at: row.int_or_null(first + 7)?,
        lost_at: row.int_or_null(first + 8)?,
    })
}

/// What is not pinned on a network of a blob or manifest and all that it needs, at most `count`.
/// What is nowhere is nobody's to wait for.
pub fn missing(
    tx: &Transaction,
    network: &str,
    digest: &Digest,
    count: u32,
) -> Result<Vec<Digest>, Error> {
    let values = values![digest, network, i64::from(count)];
    tx.list(sql!("pin/missing"), values, |row| row.digest(0))
}

/// A name of an image that is pinned with all that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    /// `repository:tag`.
    pub name: String,
    /// The CID of its manifest.
    pub cid: Option<String>,
}

/// The images, by their names, that a blob or manifest belongs to and that are pinned on a network
/// with all that they need. Where they are very many, only some of them.
pub fn complete_of(tx: &Transaction, network: &str, blob: i64) -> Result<Vec<Complete>, Error> {
    let mut above = vec![blob];
    let mut complete = Vec::new();
    let mut at = 0;
    while let Some(blob) = above.get(at).copied() {
        at += 1;
        let values = values![network, blob, COMPLETE_MAX as i64];
        let names = tx.list(sql!("pin/names"), values, |row| {
            let name = format!("{}:{}", row.text(0)?, row.text(1)?);
            let cid = row.text_or_null(3)?;
            Ok((row.digest(2)?, Complete { name, cid }))
        })?;
        if let Some((digest, _)) = names.first()
            && missing(tx, network, digest, 1)?.is_empty()
        {
            complete.extend(names.into_iter().map(|(_, name)| name));
        }
        let values = values![blob, COMPLETE_MAX as i64];
        for manifest in tx.list(sql!("pin/needing"), values, |row| row.int(0))? {
            if above.len() < COMPLETE_MAX && !above.contains(&manifest) {
                above.push(manifest);
            }
        }
    }
    Ok(complete)
}

/// The most manifests above a blob that are looked at, so that the writer is not held up.
const COMPLETE_MAX: usize = 32;

/// Enqueues what a network has never been told of, as after it was configured: the next blobs, at
/// most `count`; whether there may be more.
pub fn enqueue_next(tx: &Transaction, network: &str, count: u32) -> Result<bool, Error> {
    let known = tx.ask(sql!("network/find"), values![network], |row| row.int(0))?;
    let values = values![known.unwrap_or(0), i64::from(count)];
    let blobs = tx.list(sql!("network/next_blobs"), values, |row| {
        Ok((row.int(0)?, row.int(1)? == 1))
    })?;
    let Some((last, _)) = blobs.last().copied() else {
        return Ok(false);
    };
    let pin = NewPin {
        network: network.to_owned(),
        cid: None,
    };
    for (blob, _) in blobs.iter().filter(|(_, is_wanted)| *is_wanted) {
        enqueue(tx, *blob, std::slice::from_ref(&pin))?;
    }
    tx.run(sql!("network/put"), values![network, last])?;
    Ok(blobs.len() as u32 == count)
}

/// Has every network be told anew of all that is here, after an import: what it found may have
/// been known before, and nowhere.
pub(super) fn enqueue_anew(tx: &Transaction) -> Result<(), Error> {
    tx.run(sql!("network/enqueue_anew"), values![]).map(drop)
}

/// Whether any network keeps a blob.
pub(super) fn is_anywhere(tx: &Transaction, blob: i64) -> Result<bool, Error> {
    let values = values![blob, State::Pinned as i64];
    let found = tx.ask(sql!("pin/anywhere"), values, |row| row.int(0))?;
    Ok(found.is_some())
}
