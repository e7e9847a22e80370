//! Voyages: how far each blob has come on its way to the content network.
//!
//! A voyage is a small file, `cid`, beside the blob's `data`, so it lives and dies with it and
//! registry:2 does not see it. It names the CID that we computed, and what the network said.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::{self, Root, Settling};
use crate::fault::Fault;

/// How far a blob has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On this machine's disk only.
    Local,
    /// On its way; or an upload ended and nobody knows whether it got through.
    Uploading,
    /// The network has the bytes and has not pinned them yet.
    Stored,
    /// The network keeps it: the CID it gave is ours.
    Pinned,
    /// The network refuses it, or gave another CID; it is tried again all the same.
    Failed,
}

/// What is known of a blob's way to the network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Voyage {
    /// The CID, as text, once it is computed.
    pub cid: Option<String>,
    /// The blob's length in bytes.
    pub size: u64,
    /// How far it has come.
    pub state: State,
    /// Estuary's number for the content, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<u64>,
    /// Why it went no further, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// How often it was looked for in vain since an upload whose end is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sought: u32,
    /// Whether it is a manifest, which stays on this disk whatever the network keeps.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_manifest: bool,
}

impl Voyage {
    /// A voyage that has not begun.
    pub fn of(size: u64) -> Voyage {
        let (state, is_manifest) = (State::Local, false);
        Voyage {
            cid: None,
            size,
            state,
            content: None,
            cause: None,
            sought: 0,
            is_manifest,
        }
    }

    /// The voyage of the blob whose `data` is at that path; None if none was written down, or
    /// what was written can't be read.
    pub fn read(blob: &Path) -> Result<Option<Voyage>, Fault> {
        let bytes = disk::read(&blob.with_file_name(FILE))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Writes it down, with whatever else is settling.
    pub fn settle(&self, settling: &mut Settling, blob: &Path) -> Result<(), Fault> {
        // A struct of texts and numbers always has its JSON.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        settling.write(&blob.with_file_name(FILE), &bytes)
    }

    /// Writes it down durably.
    pub fn write(&self, root: &Root, blob: &Path) -> Result<(), Fault> {
        let mut settling = Settling::new(root);
        self.settle(&mut settling, blob)?;
        settling.finish()
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

const FILE: &str = "cid";
