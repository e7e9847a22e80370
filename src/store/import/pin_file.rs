//! The `cid` file beside a blob: how far version 0.1 had it on its content network, as JSON.

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use crate::fault::Fault;
use crate::store::pin::{Pin, State};

/// The file's name.
pub const NAME: &str = "cid";
/// The UnixFS parameters that 0.1 computed every CID with, as the tools of its time did: leaves of
/// 1 MiB without a wrapper, 174 links in a node.
pub const PROFILE: &str = "estuary-174";
/// Ours have under 1 KiB.
const SIZE_MAX: u64 = 16 << 10;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PinFile {
    cid: Option<String>,
    /// The blob's length in bytes.
    pub size: u64,
    state: Word,
    /// Estuary's number for the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    sought: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_manifest: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Local,
    Uploading,
    Stored,
    Pinned,
    Failed,
}

impl PinFile {
    /// The file in a blob's folder; None if there is none, or nobody can read it.
    pub(super) fn read(blob: &Folder) -> Result<Option<PinFile>, Fault> {
        let found = blob.read(NAME, SIZE_MAX)?;
        Ok(found.and_then(|(_, bytes)| serde_json::from_slice(&bytes).ok()))
    }

    /// Whether the network keeps the blob, so that it can be read from there.
    pub fn is_pinned(&self) -> bool {
        self.state == Word::Pinned && self.cid.is_some()
    }

    /// As a pin that is due now, unless the network keeps it. A network that the caller can't name
    /// is Estuary where the content has its number, and Kubo where it is pinned without one; of
    /// others nothing is there yet, and nothing is lost.
    pub fn to_pin(&self, network: Option<&str>, now: i64) -> Option<Pin> {
        let guess = match self.content {
            Some(_) => Some("estuary"),
            None => self.is_pinned().then_some("kubo"),
        };
        let network = network.or(guess)?;
        Some(Pin {
            network: network.to_owned(),
            state: match self.state {
                Word::Local => State::Queued,
                Word::Uploading => State::Uploading,
                Word::Stored => State::Stored,
                Word::Pinned => State::Pinned,
                Word::Failed => State::Failed,
            },
            cid: self.cid.clone(),
            profile: self.cid.as_ref().map(|_| PROFILE.to_owned()),
            remote: self.content.map(|number| number.to_string()),
            attempts: self.sought,
            cause: self.cause.clone(),
            due_at: (!self.is_pinned()).then_some(now),
            confirmed_at: None,
            lost_at: None,
        })
    }

    /// Of a pin; None of one on its way whose CID has other UnixFS parameters than 0.1 knows.
    pub fn of(pin: &Pin, size: u64, is_manifest: bool) -> Option<PinFile> {
        let is_known = pin.profile.as_deref().is_none_or(|used| used == PROFILE);
        if pin.state != State::Pinned && !is_known {
            return None;
        }
        Some(PinFile {
            cid: pin.cid.clone(),
            size,
            state: match pin.state {
                State::Queued => Word::Local,
                State::Uploading => Word::Uploading,
                State::Stored => Word::Stored,
                State::Pinned => Word::Pinned,
                State::Failed => Word::Failed,
            },
            content: pin.remote.as_ref().and_then(|remote| remote.parse().ok()),
            cause: pin.cause.clone(),
            sought: if pin.state == State::Uploading {
                pin.attempts
            } else {
                0
            },
            is_manifest,
        })
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
