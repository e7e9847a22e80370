//! The contents table: one row for each upload, in a file that survives a kill.

use crate::settings::Settings;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[derive(Clone, Serialize, Deserialize)]
pub struct Row {
    pub id: u64,
    pub cid: String,
    pub name: String,
    /// Bytes of the content's distinct blocks, which is what Estuary calls its size.
    pub size: u64,
    /// Bytes of the content itself.
    pub length: u64,
    /// The server that has it.
    pub server: usize,
    created_ms: u64,
    deleted: bool,
}

pub struct Rows {
    rows: Vec<Row>,
    file: PathBuf,
}

impl Rows {
    pub fn open(dir: &Path) -> Rows {
        let file = dir.join("rows.json");
        let rows = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).expect("rows.json is ours"),
            Err(_) => Vec::new(),
        };
        Rows { rows, file }
    }

    /// Makes a row, with an id that was never used; its file is there before the answer is.
    pub fn insert(
        &mut self,
        cid: String,
        name: String,
        size: u64,
        length: u64,
        server: usize,
    ) -> u64 {
        let id = self.rows.len() as u64 + 1;
        let (created_ms, deleted) = (now_ms(), false);
        self.rows.push(Row {
            id,
            cid,
            name,
            size,
            length,
            server,
            created_ms,
            deleted,
        });
        self.write();
        id
    }

    /// Hides a row; whether it was there.
    pub fn delete(&mut self, id: u64) -> bool {
        let row = self
            .rows
            .iter_mut()
            .find(|row| row.id == id && !row.deleted);
        let found = row.map(|row| row.deleted = true).is_some();
        self.write();
        found
    }

    /// All rows that are not deleted, oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.deleted)
    }

    fn write(&self) {
        let new = self.file.with_extension("new");
        let bytes = serde_json::to_vec(&self.rows).expect("rows are plain");
        fs::write(&new, bytes)
            .and_then(|()| fs::rename(&new, &self.file))
            .expect("DIR is ours");
    }
}

impl Row {
    /// Estuary's precedence: active, failed, pinning, else queued.
    pub fn status(&self, settings: &Settings) -> &'static str {
        let age_ms = now_ms().saturating_sub(self.created_ms);
        match age_ms.checked_sub(settings.queued_ms) {
            None => "queued",
            Some(pinning_ms) if pinning_ms < settings.pinning_ms => "pinning",
            Some(_) if settings.fails => "failed",
            Some(_) => "pinned",
        }
    }

    pub fn is_active(&self, settings: &Settings) -> bool {
        self.status(settings) == "pinned"
    }

    /// The row as Estuary's `Content`.
    pub fn json(&self, settings: &Settings) -> Value {
        let status = self.status(settings);
        let active = status == "pinned";
        json!({
            "id": self.id, "createdAt": CREATED, "updatedAt": CREATED, "cid": self.cid,
            "name": self.name, "userId": 1, "description": "",
            "size": if active { self.size } else { 0 }, "type": 1, "active": active,
            "offloaded": false, "replication": 6, "aggregatedIn": 0, "aggregate": false,
            "pinning": status == "pinning", "pinMeta": "", "replace": false, "origins": "",
            "failed": status == "failed", "dagSplit": false, "splitFrom": 0,
            "location": match self.server {
                0 => "local".to_string(),
                shuttle => format!("SHUTTLE{shuttle}HANDLE"),
            },
            "pinningStatus": "", "dealStatus": "",
        })
    }

    /// The row as a `PinStatus`.
    pub fn pin(&self, settings: &Settings) -> Value {
        json!({
            "requestid": self.id.to_string(), "status": self.status(settings), "created": CREATED,
            "delegates": ["/ip4/127.0.0.1/tcp/6745/p2p/12D3KooWDouble"], "info": {},
            "pin": {"cid": self.cid, "name": self.name, "origins": [], "meta": {}},
            "content": self.json(settings),
        })
    }

    /// The row's deals, as `ContentDeal`s; `null` as Go writes a list that was never made.
    pub fn deals(&self, settings: &Settings) -> Value {
        const UNSET: &str = "0001-01-01T00:00:00Z";
        if settings.deals == "none" {
            return Value::Null;
        }
        let sealed = if settings.deals == "published" {
            UNSET
        } else {
            CREATED
        };
        json!([{
            "ID": self.id, "CreatedAt": CREATED, "UpdatedAt": CREATED, "DeletedAt": null,
            "content": self.id, "user_id": 1, "propCid": "", "dealUuid": "", "miner": "f01234",
            "dealId": 5_000_000 + self.id, "failed": false, "verified": true,
            "slashed": settings.deals == "slashed", "failedAt": UNSET, "dtChan": "",
            "transferStarted": CREATED, "transferFinished": CREATED, "onChainAt": CREATED,
            "sealedAt": sealed, "deal_protocol_version": "/fil/storage/mk/1.2.0",
            "miner_version": "",
        }])
    }
}

/// When everything happened; nobody asks for it to be true.
const CREATED: &str = "2023-05-01T12:00:00Z";

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("it is after 1970").as_millis() as u64
}
