//! Objects that are no blobs of a registry: put on the network whole, found by their name, and
//! read whole again. And what else is asked of a network beside travel.

use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{ARRIVAL_SECS, ARRIVAL_SIZE_PER_SEC, Carrier, Network, is_forbidden, may_be_taken};
use crate::catalog::voyage::{State, Voyage};
use crate::cid::{Cid, Import, Unixfs};
use crate::estuary::{Content, Deal};
use crate::fault::{Fault, Neighbour, Trouble};
use crate::outward::{Incoming, fault_within};

/// How long until the network is asked again, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

impl Network {
    /// The contents under a name, the newest first, in whatever state; `None` if the network does
    /// not keep names.
    pub fn named(&self, name: &str) -> Result<Option<Vec<Content>>, Fault> {
        match &self.carrier {
            Carrier::Estuary(estuary) => estuary.find(name).map(Some),
            Carrier::Kubo(_) => Ok(None),
        }
    }

    /// Whether the network has content dealt to Filecoin miners.
    pub fn makes_deals(&self) -> bool {
        matches!(self.carrier, Carrier::Estuary(_))
    }

    /// The Filecoin deals that hold this content; none where no deals are made.
    pub fn deals(&self, cid: &Cid) -> Result<Vec<Deal>, Fault> {
        match &self.carrier {
            Carrier::Estuary(estuary) => estuary.deals(cid),
            Carrier::Kubo(_) => Ok(Vec::new()),
        }
    }

    /// Puts an object on the network under a name, unless it is the newest of that name already,
    /// and waits for at most `patience` until it is pinned, telling how it stands from time to
    /// time. What it gives is how far it came: pinned, or stored, with the cause if that is more
    /// than time. A fault is one that kept it from getting there.
    pub fn keep(
        &self,
        name: &str,
        object: Arc<[u8]>,
        patience: Duration,
        tell: impl Fn(State, Duration),
    ) -> Result<Voyage, Fault> {
        let cid = cid_of(&object);
        let mut voyage = Voyage {
            cid: Some(cid.to_string()),
            ..Voyage::of(object.len() as u64)
        };
        let began = Instant::now();
        let (mut pause, mut lost) = (PAUSE_MIN, None);
        loop {
            tell(voyage.state, began.elapsed());
            let went = self.bring_on(&mut voyage, &mut lost, &cid, name, &object);
            let goes_on = match &went {
                Ok(()) => voyage.state == State::Stored,
                Err(fault) => voyage.state != State::Failed && fault.retry_after().is_some(),
            };
            if !goes_on || patience < began.elapsed() + pause {
                return match went {
                    Err(fault) if voyage.state == State::Stored => {
                        voyage.cause = Some(fault.to_string());
                        Ok(voyage)
                    }
                    went => went.map(|()| voyage),
                };
            }
            // Nobody tells when something is pinned, so one has to ask again.
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Adds an object if that was not done yet, and asks how far it is. `lost` is when an upload
    /// ended of which nobody knows whether it got through.
    fn bring_on(
        &self,
        voyage: &mut Voyage,
        lost: &mut Option<Instant>,
        cid: &Cid,
        name: &str,
        object: &Arc<[u8]>,
    ) -> Result<(), Fault> {
        if voyage.state != State::Stored {
            let newest = self.newest(name)?;
            if let Some(same) = newest.filter(|newest| newest.cid.same_content(cid)) {
                voyage.content = Some(same.id);
                voyage.state = State::Stored;
            } else if lost.is_some_and(|lost| lost.elapsed() < arrival_time(voyage.size)) {
                let trouble = Trouble::Missing("the upload may still arrive".into());
                return Err(Fault::neighbour(Neighbour::Estuary, name, trouble));
            } else {
                let open = || Ok(Box::new(Cursor::new(Arc::clone(object))) as Box<dyn Read>);
                let sent = self.send(voyage, *cid, name, &open);
                let is_lost = sent.as_ref().is_err_and(may_be_taken);
                *lost = is_lost.then(Instant::now);
                sent?;
            }
        }
        self.follow(voyage, cid, name)
    }

    /// The newest content of a name that is alive. A key for uploads only can't look: then there
    /// is none that we know of.
    fn newest(&self, name: &str) -> Result<Option<Content>, Fault> {
        match self.named(name) {
            Ok(contents) => {
                let mut contents = contents.into_iter().flatten();
                Ok(contents.find(|content| content.state.is_alive()))
            }
            Err(fault) if is_forbidden(&fault) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

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
        Err(last.unwrap_or_else(no_source))
    }

    /// None if there is no such place to read from.
    fn fetch_from(
        &self,
        place: usize,
        cid: Cid,
        size: Option<u64>,
        size_max: u64,
    ) -> Option<Result<Vec<u8>, Fault>> {
        let size = match size.map(Ok).or_else(|| self.size_at(place, &cid))? {
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

    /// The length of content, as one of the places where it can be read tells it.
    fn size_at(&self, place: usize, cid: &Cid) -> Option<Result<u64, Fault>> {
        self.ask(place, |gateway| gateway.size(cid), |kubo| kubo.size(cid))
    }
}

/// How long an upload of that size may take to show after it ended in silence.
fn arrival_time(size: u64) -> Duration {
    Duration::from_secs(ARRIVAL_SECS + size / ARRIVAL_SIZE_PER_SEC)
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

/// Never met: Estuary is its own gateway, and a node gives what it has.
fn no_source() -> Fault {
    Fault::panicked("there is no gateway to read from")
}

/// The CID that every network gives these bytes, for each is asked to import them in this way.
fn cid_of(bytes: &[u8]) -> Cid {
    let mut unixfs = Unixfs::new(Import::ESTUARY);
    unixfs.write(bytes);
    unixfs.finish().cid
}
