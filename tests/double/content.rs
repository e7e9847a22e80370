//! Bytes in and bytes out: adding content, and the gateway.

use crate::Double;
use crate::form::{self, Sink};
use crate::rows::Row;
use crate::settings::Fault;
use crate::wire::Exchange;
use lighthouse::cid::{Cid, Import, Unixfs};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// `POST /content/add`.
pub fn add(
    double: &Double,
    server: usize,
    exchange: &mut Exchange,
    fault: Option<Fault>,
) -> io::Result<()> {
    let content_type = exchange
        .header("content-type")
        .unwrap_or_default()
        .to_string();
    let Some((_, boundary)) = content_type.split_once("boundary=") else {
        return exchange.error(415, "ERR_UNSUPPORTED_CONTENT_TYPE", "not a multipart form");
    };
    let size_max = double.state().settings.size_max;
    let mut spool = Spool::new(double, fault.clone())?;
    let boundary = boundary.trim_matches('"');
    let Ok(form) = form::read(&mut *exchange, boundary, "data", &mut spool) else {
        return exchange.cut();
    };
    let Some(filename) = form.filename else {
        return exchange.error(500, "Internal Server Error", "http: no such file");
    };
    if spool.length > size_max {
        return exchange.error(
            400,
            "ERR_CONTENT_SIZE_OVER_LIMIT",
            "content size over limit",
        );
    }
    let is_name = |field: &&(String, String)| field.0 == "filename" && !field.1.is_empty();
    let name = match form.fields.iter().find(is_name) {
        // A shuttle goes by the name of the part alone.
        _ if server > 0 => filename,
        Some((_, name)) => name.clone(),
        None => exchange.query("filename").unwrap_or(&filename).to_string(),
    };
    let length = spool.length;
    let (cid, size) = spool.keep(double)?;
    let id = double
        .state()
        .rows
        .insert(cid.to_string(), name, size, length, server);
    match fault {
        Some(Fault::StatusLate(status)) => exchange.text(status, "<html>request timeout</html>"),
        Some(Fault::Cid(lie)) => exchange.json(200, &added(id, &lie)),
        _ => exchange.json(200, &added(id, &cid.to_string())),
    }
}

/// What Estuary says of an upload; its hosts are fixed in its source.
fn added(id: u64, cid: &str) -> Value {
    json!({
        "cid": cid,
        "retrieval_url": format!("https://dweb.link/ipfs/{cid}"),
        "estuary_retrieval_url": format!("https://api.estuary.tech/gw/ipfs/{cid}"),
        "estuaryId": id,
        "providers": ["/ip4/127.0.0.1/tcp/6745/p2p/12D3KooWDouble"],
    })
}

/// An upload on its way to its CID.
struct Spool {
    path: PathBuf,
    file: File,
    length: u64,
    unixfs: Unixfs,
    /// The leaf that is being written, and the digests of those before.
    leaf: Sha256,
    leaf_size: usize,
    leaves: HashSet<[u8; 32]>,
    leaves_size: u64,
    fault: Option<Fault>,
}

impl Spool {
    fn new(double: &Double, fault: Option<Fault>) -> io::Result<Spool> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = double
            .dir
            .join(format!("upload-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        Ok(Spool {
            file: File::create(&path)?,
            path,
            length: 0,
            unixfs: Unixfs::new(Import::ESTUARY),
            leaf: Sha256::new(),
            leaf_size: 0,
            leaves: HashSet::new(),
            leaves_size: 0,
            fault,
        })
    }

    fn close_leaf(&mut self) {
        if self.leaves.insert(self.leaf.finalize_reset().into()) {
            self.leaves_size += self.leaf_size as u64;
        }
        self.leaf_size = 0;
    }

    /// Ends the upload: its CID, and the size of its distinct blocks.
    fn keep(mut self, double: &Double) -> io::Result<(Cid, u64)> {
        self.close_leaf();
        let root = self.unixfs.finish();
        fs::rename(&self.path, double.dir.join(root.cid.to_string()))?;
        Ok((root.cid, self.leaves_size + root.dag_size - root.size))
    }
}

impl Sink for Spool {
    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        match &self.fault {
            Some(Fault::CutAfter(len)) if self.length + bytes.len() as u64 > *len => {
                return Err(io::Error::other("cut off on command"));
            }
            Some(Fault::SlowMs(ms)) => thread::sleep(Duration::from_millis(*ms)),
            _ => {}
        }
        self.length += bytes.len() as u64;
        self.file.write_all(bytes)?;
        self.unixfs.write(bytes);
        while !bytes.is_empty() {
            if self.leaf_size == Import::ESTUARY.chunk_size {
                self.close_leaf();
            }
            let room = Import::ESTUARY.chunk_size - self.leaf_size;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.leaf.update(now);
            self.leaf_size += now.len();
            bytes = later;
        }
        Ok(())
    }
}

/// `GET /gw/ipfs/{cid}` and `GET /get/{cid}`. The main node never says 404: it sends those who ask
/// for what it does not have somewhere else.
pub fn gateway(
    double: &Double,
    server: usize,
    exchange: &mut Exchange,
    cid: &str,
    fault: Option<Fault>,
) -> io::Result<()> {
    if exchange.path.starts_with("/get/") {
        return exchange.redirect(307, &format!("/gw/ipfs/{cid}"));
    }
    let state = double.state();
    let elsewhere = format!("{}/ipfs/{cid}/", state.settings.elsewhere);
    let Ok(cid) = cid.parse::<Cid>() else {
        drop(state);
        // One that is its content is a CID as others, and in no row.
        return match cid {
            "bafkqaaa" if server == 0 => exchange.redirect(307, &elsewhere),
            _ => exchange.text(500, "error: invalid cid"),
        };
    };
    let is_here = |row: &&Row| match server {
        0 => row.is_active(&state.settings),
        shuttle => row.server == shuttle,
    };
    let row = state
        .rows
        .all()
        .filter(is_here)
        .find(|row| row.cid == cid.to_string());
    let at = row.map(|row| row.server);
    drop(state);
    match at {
        Some(at) if at == server => serve(double, exchange, &cid, fault),
        _ if server > 0 => exchange.text(500, "error: block was not found locally"),
        Some(at) => exchange.redirect(307, &format!("{}/gw/ipfs/{cid}/", double.url(at))),
        None => exchange.redirect(307, &elsewhere),
    }
}

/// Sends a file, or one range of it, as Go's `ServeContent` does.
fn serve(
    double: &Double,
    exchange: &mut Exchange,
    cid: &Cid,
    fault: Option<Fault>,
) -> io::Result<()> {
    let mut file = File::open(double.dir.join(cid.to_string()))?;
    let size = file.metadata()?.len() - u64::from(matches!(fault, Some(Fault::Shorten)));
    let asked = exchange
        .header("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let asked = asked.filter(|_| !matches!(fault, Some(Fault::NoRange)));
    let range = asked
        .and_then(|range| range.split_once('-'))
        .map(|(first, last)| {
            let last = last.parse::<u64>().map_or(size, |last| last + 1).min(size);
            (first.parse::<u64>().unwrap_or(size), last)
        });
    let (start, end) = range.unwrap_or((0, size));
    if start >= end && range.is_some() {
        let range = format!("bytes */{size}");
        return exchange
            .begin(416, &[("Content-Range", &range)], 0)
            .map(|_| ());
    }
    let content_range = format!("bytes {start}-{}/{size}", end.saturating_sub(1));
    let mut headers = vec![
        ("Accept-Ranges", "bytes"),
        ("Content-Type", "application/gzip"),
    ];
    if range.is_some() {
        headers.push(("Content-Range", &content_range));
    }
    let stream = exchange.begin(
        if range.is_some() { 206 } else { 200 },
        &headers,
        end - start,
    )?;
    file.seek(SeekFrom::Start(start))?;
    let mut file = file.take(end - start);
    let (mut buffer, mut sent) = (vec![0; 64 << 10], 0);
    loop {
        let mut len = file.read(&mut buffer)?;
        match &fault {
            Some(Fault::Flip) if sent == 0 && len > 0 => buffer[len / 2] ^= 1,
            Some(Fault::SlowMs(ms)) => thread::sleep(Duration::from_millis(*ms)),
            Some(Fault::CutAfter(most)) => len = len.min((most - sent) as usize),
            _ => {}
        }
        if len == 0 {
            break;
        }
        stream.write_all(&buffer[..len])?;
        sent += len as u64;
    }
    if sent < end - start {
        exchange.cut()
    } else {
        Ok(())
    }
}
