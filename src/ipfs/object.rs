//! Objects that are no blobs of a registry: put on a network whole, found by their name, and read
//! whole again. And what else is asked of a network beside pinning.

use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Api, Content, Network, Sources, Standing, is_forbidden, may_be_taken};
use crate::cid::{Cid, Import, Unixfs};
use crate::estuary::{self, Deal};
use crate::fault::{Fault, Neighbour, Trouble};
use crate::outward::{Incoming, fault_within};

/// How long until the network is asked again, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How far an object came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It is not there yet.
    Nothing,
    /// The network has it, and has not pinned it yet.
    Stored,
    /// The network keeps it.
    Pinned,
    /// The network had it, and could not keep it.
    Lost,
}

/// An object on a network.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Names its bytes.
    pub cid: Cid,
    /// How far it came.
    pub reached: Reached,
    /// Why it is not pinned, where that is more than time.
    pub cause: Option<String>,
    /// What the network calls it, if it does.
    remote: Option<String>,
}

impl Network {
    /// The contents under a name, the newest first, in whatever state; `None` if the network does
    /// not keep names.
    pub fn named(&self, name: &str) -> Result<Option<Vec<estuary::Content>>, Fault> {
        match &self.api {
            Api::Estuary(estuary) => estuary.find(name).map(Some),
            Api::Kubo(_) => Ok(None),
        }
    }

    /// Whether the network has content dealt to Filecoin miners.
    pub fn makes_deals(&self) -> bool {
        matches!(self.api, Api::Estuary(_))
    }

    /// The Filecoin deals that hold this content; none where no deals are made.
    pub fn deals(&self, cid: &Cid) -> Result<Vec<Deal>, Fault> {
        match &self.api {
            Api::Estuary(estuary) => estuary.deals(cid),
            Api::Kubo(_) => Ok(Vec::new()),
        }
    }

    /// Puts an object on the network under a name, unless it is the newest of that name already,
    /// and waits for at most `time_max` until it is pinned, telling how it stands from time to
    /// time. A fault is one that kept it from getting there.
    pub fn keep(
        &self,
        name: &str,
        object: Arc<[u8]>,
        time_max: Duration,
        tell: impl Fn(Reached, Duration),
    ) -> Result<Kept, Fault> {
        let mut kept = Kept {
            cid: cid_of(&object),
            reached: Reached::Nothing,
            cause: None,
            remote: None,
        };
        let began = Instant::now();
        let (mut pause, mut lost_at) = (PAUSE_MIN, None);
        loop {
            tell(kept.reached, began.elapsed());
            let went = self.bring_on(&mut kept, &mut lost_at, name, &object);
            let goes_on = match &went {
                Ok(()) => kept.reached == Reached::Stored,
                Err(fault) => kept.reached != Reached::Lost && fault.retry_after().is_some(),
            };
            if !goes_on || time_max < began.elapsed() + pause {
                return match went {
                    Err(fault) if kept.reached == Reached::Stored => {
                        kept.cause = Some(fault.to_string());
                        Ok(kept)
                    }
                    went => went.map(|()| kept),
                };
            }
            // Nobody tells when something is pinned, so one has to ask again.
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Adds an object if that was not done yet, and asks how far it is. `lost_at` is when an upload
    /// ended of which nobody knows whether it got through.
    fn bring_on(
        &self,
        kept: &mut Kept,
        lost_at: &mut Option<Instant>,
        name: &str,
        object: &Arc<[u8]>,
    ) -> Result<(), Fault> {
        let content = Content {
            name,
            size: object.len() as u64,
            cid: kept.cid,
        };
        if kept.reached == Reached::Nothing {
            kept.remote = self.find_or_upload(&content, lost_at, object)?;
            kept.reached = Reached::Stored;
        }
        match self.follow(kept.remote.as_deref(), &content)? {
            Standing::Waiting => Ok(()),
            Standing::Pinned => {
                kept.reached = Reached::Pinned;
                Ok(())
            }
            Standing::Lost(fault) => {
                kept.reached = Reached::Lost;
                Err(fault)
            }
        }
    }

    fn find_or_upload(
        &self,
        content: &Content,
        lost_at: &mut Option<Instant>,
        object: &Arc<[u8]>,
    ) -> Result<Option<String>, Fault> {
        let newest = self.newest(content.name)?;
        if let Some(same) = newest.filter(|newest| newest.cid.same_content(&content.cid)) {
            return Ok(Some(same.id.to_string()));
        }
        let arrival_time = self.arrival_time(content.size);
        if lost_at.is_some_and(|lost_at| lost_at.elapsed() < arrival_time) {
            let trouble = Trouble::Missing("the upload may still arrive".into());
            return Err(self.fault(content.name, trouble));
        }
        let open = || Ok(Box::new(Cursor::new(Arc::clone(object))) as Box<dyn Read>);
        let uploaded = self.upload(content, &open);
        let is_lost = uploaded.as_ref().is_err_and(may_be_taken);
        *lost_at = is_lost.then(Instant::now);
        uploaded
    }

    /// The newest content of a name that is alive. A key for uploads only can't look: then there
    /// is none that we know of.
    fn newest(&self, name: &str) -> Result<Option<estuary::Content>, Fault> {
        match self.named(name) {
            Ok(contents) => {
                let mut contents = contents.into_iter().flatten();
                Ok(contents.find(|content| content.state.is_alive()))
            }
            Err(fault) if is_forbidden(&fault) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

impl Sources {
    /// Content of at most `size_max` bytes, whole, from the first source that gives what its CID
    /// says. `size` is its length, where that is known.
    pub fn fetch(&self, cid: Cid, size: Option<u64>, size_max: u64) -> Result<Vec<u8>, Fault> {
        let mut last = None;
        let mut place = 0;
        while let Some(fetched) = self.fetch_from(place, cid, size, size_max) {
            match fetched {
                Ok(bytes) => return Ok(bytes),
                Err(fault) => {
                    log::warn!("{cid} is not to be had there: {fault}");
                    last = Some(fault);
                }
            }
            place += 1;
        }
        Err(last.unwrap_or_else(|| no_source(&cid)))
    }

    /// None if there is no such source.
    fn fetch_from(
        &self,
        place: usize,
        cid: Cid,
        size: Option<u64>,
        size_max: u64,
    ) -> Option<Result<Vec<u8>, Fault>> {
        let size = match size.map(Ok).or_else(|| self.size(place, &cid))? {
            Ok(size) => size,
            Err(fault) => return Some(Err(fault)),
        };
        if size_max < size {
            let much = format!("{size} bytes, where at most {size_max} are read");
            let (who, url) = (Neighbour::Gateway, format!("ipfs://{cid}"));
            return Some(Err(Fault::neighbour(who, &url, Trouble::Protocol(much))));
        }
        let incoming = self.read(place, &cid, size, 0)?;
        Some(incoming.and_then(|incoming| whole(incoming, &cid)))
    }
}

/// All the bytes that come in, if they are those that the CID names.
fn whole(mut incoming: Incoming, cid: &Cid) -> Result<Vec<u8>, Fault> {
    let url = incoming.url().to_owned();
    let mut bytes = Vec::with_capacity(incoming.size() as usize);
    let read = incoming.read_to_end(&mut bytes);
    read.map_err(|err| fault_within(err, |err: io::Error| Fault::disk("read", &url, err)))?;
    let found = cid_of(&bytes);
    if found.same_content(cid) {
        Ok(bytes)
    } else {
        let (expected, received) = (cid.to_string(), found.to_string());
        let lied = Trouble::Lied { expected, received };
        Err(Fault::neighbour(Neighbour::Gateway, &url, lied))
    }
}

/// Nobody is configured who could give it.
pub(crate) fn no_source(cid: &Cid) -> Fault {
    let none = Trouble::Missing("no gateway and no node is configured to read from".into());
    Fault::neighbour(Neighbour::Gateway, &format!("ipfs://{cid}"), none)
}

/// The CID that every network gives these bytes, for each is asked to import them in this way.
fn cid_of(bytes: &[u8]) -> Cid {
    let mut unixfs = Unixfs::new(Import::ESTUARY);
    unixfs.write(bytes);
    unixfs.finish().cid
}
