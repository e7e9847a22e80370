//! One attempt to bring a pin further. It may end anywhere and be made again: each thing that the
//! network says is written down before the next is asked.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::rc::Rc;
use std::sync::Arc;

use super::pace::{Pace, let_others_first};
use super::pinning::Pinning;
use super::transition::{Heard, Step, has_arrived, step};
use super::work::{Core, fault};
use crate::cid::{Cid, Import, Unixfs};
use crate::fault::{Fault, Trouble};
use crate::ipfs::{Content, Standing};
use crate::oci::Digest;
use crate::store::blob::{self, Place};
use crate::store::pin::{Due, Pin};
use crate::store::sqlite;

/// What is read of a file at a time to compute its CID.
const BUFFER_SIZE: usize = 256 << 10;
/// What is said of content that is neither on this disk nor on the network.
const GONE: &str = "it is neither on this disk nor on the network";

/// An attempt, in its own thread.
pub struct Attempt<'p> {
    pinning: &'p Pinning,
    due: Due,
    /// Whether all that was heard is written down.
    is_written: bool,
}

impl Attempt<'_> {
    /// An attempt with what is due.
    pub fn new(pinning: &Pinning, due: Due) -> Attempt<'_> {
        let_others_first();
        Attempt {
            pinning,
            due,
            is_written: true,
        }
    }

    /// What is known of the pin by now.
    pub fn pin(&self) -> &Pin {
        &self.due.pin
    }

    /// Whether it is written down when it is to be made again.
    pub fn is_written(&self) -> bool {
        self.is_written
    }

    /// Makes it. A fault is written down with when it is tried again, unless that is what failed.
    pub fn run(&mut self) -> Result<(), Fault> {
        let is_here = matches!(self.due.place, Place::Row | Place::File);
        let cid = match self.cid() {
            Ok(cid) => cid,
            Err(fault) => return self.give_up(fault),
        };
        let name = self.due.digest.hex();
        let content = Content {
            name: &name,
            size: self.due.size,
            cid,
        };
        match step(&self.due.pin, is_here) {
            Step::Recheck => return self.recheck(&content, is_here),
            Step::Recover => return self.recover(&content),
            Step::Find => self.find_or_upload(&content)?,
            Step::Upload => self.upload(&content)?,
            Step::Follow => {}
        }
        self.follow(&content)
    }

    /// Writes down what was heard.
    fn hear(&mut self, heard: &Heard) -> Result<(), Fault> {
        let written = self.pinning.write(&self.due, heard);
        self.is_written = written.is_ok();
        self.due.pin = written?;
        Ok(())
    }

    /// Writes down that a fault kept it from going on.
    pub fn give_up<T>(&mut self, fault: Fault) -> Result<T, Fault> {
        if !self.pinning.core.is_stopped() {
            self.hear(&Heard::Unanswered(&fault))?;
        }
        Err(fault)
    }

    /// The CID that the network will give it, as it is noted, or computed now.
    fn cid(&mut self) -> Result<Cid, Fault> {
        let import = self.pinning.network.import();
        let pin = &self.due.pin;
        let is_of_network = pin
            .profile
            .as_deref()
            .is_none_or(|name| Import::named(name) == Some(import));
        let known = pin.cid.as_deref().filter(|_| is_of_network);
        if let Some(cid) = known.and_then(|text| text.parse().ok()) {
            return Ok(cid);
        }
        let cid = match self.due.digest {
            Digest::Sha256(hash) => import.raw_cid(&hash, self.due.size),
            Digest::Sha512(_) => None,
        };
        let cid = match cid {
            Some(cid) => cid,
            None => self.compute(import)?,
        };
        self.due.pin.cid = Some(cid.to_string());
        self.due.pin.profile = import.name().map(str::to_owned);
        Ok(cid)
    }

    fn compute(&self, import: Import) -> Result<Cid, Fault> {
        let opener = self.opener();
        let mut reader = opener.open()?;
        let mut unixfs = Unixfs::new(import);
        let mut buffer = vec![0; BUFFER_SIZE];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(unixfs.finish().cid),
                Ok(size) => unixfs.write(&buffer[..size]),
                Err(err) => return Err(Fault::disk("read", self.due.digest.to_string(), err)),
            }
        }
    }

    fn opener(&self) -> Opener {
        Opener {
            core: Arc::clone(&self.pinning.core),
            digest: self.due.digest,
            blob: self.due.blob,
            size: self.due.size,
            place: self.due.place,
            unsent: Rc::default(),
        }
    }

    fn find_or_upload(&mut self, content: &Content) -> Result<(), Fault> {
        let network = Arc::clone(&self.pinning.network);
        let found = match network.find(content) {
            Ok(found) => found,
            Err(fault) => return self.give_up(fault),
        };
        if let Some(remote) = found {
            return self.hear(&Heard::Stored(Some(remote)));
        }
        let arrival_time = network.arrival_time(content.size);
        if has_arrived(&self.due.pin, arrival_time, sqlite::now()) {
            return self.upload(content);
        }
        self.hear(&Heard::NotFound(arrival_time))?;
        let trouble = "an upload may still arrive, and is looked for again";
        Err(network.fault(content.name, Trouble::Missing(trouble.into())))
    }

    fn upload(&mut self, content: &Content) -> Result<(), Fault> {
        let opener = self.opener();
        let before = self.due.pin.clone();
        self.hear(&Heard::Begins)?;
        let open = || opener.open();
        match self.pinning.network.upload(content, &open) {
            Ok(remote) => self.hear(&Heard::Stored(remote)),
            // What is written says that it is under way, as after a kill.
            Err(fault) if self.pinning.core.is_stopped() => Err(fault),
            Err(fault) => {
                self.due.pin = before;
                let is_sent = opener.unsent.get().map(|unsent| unsent == 0);
                self.hear(&Heard::NotUploaded(&fault, is_sent))?;
                Err(fault)
            }
        }
    }

    fn follow(&mut self, content: &Content) -> Result<(), Fault> {
        let remote = self.due.pin.remote.clone();
        match self.pinning.network.follow(remote.as_deref(), content) {
            Ok(Standing::Pinned) => self.hear(&Heard::Pinned),
            Ok(Standing::Waiting) => self.hear(&Heard::Waiting),
            Ok(Standing::Lost(fault)) => {
                self.hear(&Heard::Lost(&fault.to_string()))?;
                Err(fault)
            }
            Err(fault) => self.give_up(fault),
        }
    }

    fn recheck(&mut self, content: &Content, is_here: bool) -> Result<(), Fault> {
        let remote = self.due.pin.remote.clone();
        match self.pinning.network.keeps(remote.as_deref(), &content.cid) {
            Ok(true) => self.hear(&Heard::Pinned),
            Ok(false) => {
                self.pinning.say_lost(&self.due.digest, is_here);
                self.hear(&Heard::Lost("the network does not keep it any more"))
            }
            Err(fault) => self.give_up(fault),
        }
    }

    /// Looks whether the network can keep what is not here: it may have it under its name, or find
    /// it elsewhere.
    fn recover(&mut self, content: &Content) -> Result<(), Fault> {
        let network = Arc::clone(&self.pinning.network);
        let found = match network.find(content) {
            Ok(found) => found,
            Err(fault) => return self.give_up(fault),
        };
        if found.is_none() && !network.finds_elsewhere() {
            return self.hear(&Heard::Gone(GONE));
        }
        match network.follow(found.as_deref(), content) {
            Ok(Standing::Lost(_)) => self.hear(&Heard::Gone(GONE)),
            Ok(standing) => {
                self.hear(&Heard::Stored(found))?;
                match standing {
                    Standing::Pinned => self.hear(&Heard::Pinned),
                    _ => Ok(()),
                }
            }
            Err(fault) if crate::ipfs::is_silence(&fault) => self.give_up(fault),
            Err(fault) => self.hear(&Heard::Gone(&format!("{GONE}: {fault}"))),
        }
    }
}

/// Opens content at its first byte, wherever it is on this machine.
struct Opener {
    core: Arc<Core>,
    digest: Digest,
    blob: i64,
    size: u64,
    place: Place,
    /// Bytes that were not read yet; None before it was opened.
    unsent: Rc<Cell<Option<u64>>>,
}

impl Opener {
    fn open(&self) -> Result<Box<dyn Read>, Fault> {
        let store = self.core.store()?;
        let missing = || {
            let path = store.files().blob_path(&self.digest);
            Fault::disk("open", path, io::ErrorKind::NotFound.into())
        };
        let content: Box<dyn Read> = match self.place {
            Place::Row => {
                let bytes = store.read(|tx| blob::bytes(tx, self.blob)).map_err(fault)?;
                Box::new(Cursor::new(bytes.ok_or_else(missing)?))
            }
            Place::File => {
                let file: Option<File> = store.open_blob(&self.digest, self.size).map_err(fault)?;
                Box::new(file.ok_or_else(missing)?)
            }
            Place::Nowhere | Place::Network | Place::Missing => return Err(missing()),
        };
        self.unsent.set(Some(self.size));
        Ok(Box::new(Sending {
            content,
            pace: Pace::begin(&self.core.load),
            core: Arc::clone(&self.core),
            unsent: Rc::clone(&self.unsent),
        }))
    }
}

/// Content that is read as it is sent.
struct Sending {
    content: Box<dyn Read>,
    pace: Pace,
    core: Arc<Core>,
    unsent: Rc<Cell<Option<u64>>>,
}

impl Read for Sending {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.core.is_stopped() {
            return Err(io::Error::other("background work has stopped"));
        }
        self.pace.stand_back();
        let size = self.content.read(buffer)?;
        let unsent = self.unsent.get().unwrap_or(0);
        self.unsent.set(Some(unsent.saturating_sub(size as u64)));
        Ok(size)
    }
}
