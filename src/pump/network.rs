//! To the content network and back: one leg of a blob's voyage at a time, each of which may end
//! in the middle and be taken again. What was reached is written down before it is told.

mod object;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::pace::{Pace, let_others_first};
use super::transfer::raw_cid;
use super::{Pump, guarded};
use crate::catalog::voyage::{State, Voyage};
use crate::cid::{Cid, Import, Unixfs};
use crate::config::{self, Storage, Store};
use crate::disk;
use crate::estuary::{Estuary, PinState, Upload};
use crate::fault::{Fault, Neighbour, Trouble};
use crate::gateway::{Gateway, Gateways};
use crate::kubo::Kubo;
use crate::oci::Digest;
use crate::outward::Incoming;
use crate::registry::{Event, Finding, Setback};

/// How long an upload may take to become a content after its last byte was sent.
const ARRIVAL_SECS: u64 = 5;
const ARRIVAL_SIZE_PER_SEC: u64 = 10_000_000;
/// How long a node may take to pin what it has.
const PIN_TIME_MAX: Duration = Duration::from_secs(30);

/// A content network: who takes blobs, and where they are read again.
#[derive(Debug)]
pub struct Network {
    carrier: Carrier,
    gateways: Gateways,
    /// The pattern of Estuary's gateway, the first of them, where the configuration names no
    /// shuttle that it may redirect to.
    own_gateway: Option<String>,
}

#[derive(Debug)]
enum Carrier {
    Estuary(Estuary),
    Kubo(Kubo),
}

impl Network {
    /// The network that a store names; None for a store that is only on disk.
    pub fn new(storage: &Storage) -> Result<Option<Network>, Fault> {
        let carrier = match &storage.store {
            Store::Estuary(estuary) => {
                let shuttles: Vec<String> = estuary.shuttle_url.iter().cloned().collect();
                let token = estuary.auth_token.expose();
                Carrier::Estuary(Estuary::new(&estuary.url, &shuttles, token)?)
            }
            Store::Kubo(kubo) => {
                let authorization = kubo.authorization.as_ref().map(|secret| secret.expose());
                Carrier::Kubo(Kubo::new(&kubo.api, authorization)?)
            }
            Store::Filesystem { .. } | Store::Inmemory => return Ok(None),
        };
        let own_gateway = match &storage.store {
            Store::Estuary(estuary) if estuary.shuttle_url.is_none() => Some(own_gateway(estuary)),
            _ => None,
        };
        Ok(Some(Network {
            carrier,
            gateways: Gateways(gateways(storage)),
            own_gateway,
        }))
    }

    /// Whether the network answers.
    pub fn check(&self) -> Result<(), Fault> {
        match &self.carrier {
            Carrier::Estuary(estuary) => estuary.health(),
            Carrier::Kubo(kubo) => kubo.version().map(drop),
        }
    }

    /// Whether a gateway, by its place in the list, answers, and whether clients can go there.
    pub fn check_gateway(&self, place: usize) -> Result<Finding, Fault> {
        let gateway = self.gateways.0.get(place);
        let reason = gateway.map_or(Ok(None), Gateway::check)?;
        Ok(reason.map_or(Finding::Well, Finding::NotForClients))
    }

    /// A reader of content from `offset` on, at one of the places where it can be read: each
    /// gateway in turn, then the node itself. None if there are no more places.
    pub fn read(
        &self,
        place: usize,
        cid: &Cid,
        size: u64,
        offset: u64,
    ) -> Option<Result<Incoming, Fault>> {
        let read = |gateway: &Gateway| gateway.read(cid, size, offset..size);
        self.ask(place, read, |kubo| kubo.cat(cid, offset..size))
    }

    /// What a gateway, or the node, says for itself at one of the places to read from.
    fn ask<T>(
        &self,
        place: usize,
        gateway: impl Fn(&Gateway) -> Result<T, Fault>,
        node: impl FnOnce(&Kubo) -> Result<T, Fault>,
    ) -> Option<Result<T, Fault>> {
        let Some(asked) = self.gateways.0.get(place) else {
            let Carrier::Kubo(kubo) = &self.carrier else {
                return None;
            };
            return (place == self.gateways.0.len()).then(|| node(kubo));
        };
        let answer = gateway(asked);
        let is_elsewhere = answer.as_ref().is_err_and(Fault::is_missing);
        match (&self.carrier, &self.own_gateway) {
            (Carrier::Estuary(estuary), Some(own)) if place == 0 && is_elsewhere => {
                // It may be on one of the shuttles, whose hosts only Estuary knows.
                let shuttles = estuary.viewer().map(|viewer| viewer.upload_endpoints);
                Some(shuttles.and_then(|shuttles| gateway(&Gateway::new(own, &shuttles))))
            }
            _ => Some(answer),
        }
    }

    /// Whether the network still keeps what a voyage brought there.
    fn keeps(&self, voyage: &Voyage, cid: &Cid) -> Result<bool, Fault> {
        match (&self.carrier, voyage.content) {
            (Carrier::Kubo(kubo), _) => kubo.is_pinned(cid),
            (Carrier::Estuary(_), None) => Ok(false),
            // What was offloaded can't be read until it is taken back from Filecoin.
            (Carrier::Estuary(estuary), Some(id)) => {
                Ok(state_of(estuary, id, cid)? == Some(PinState::Pinned))
            }
        }
    }

    /// Sends a blob, unless the network has it from an earlier try.
    fn send(&self, voyage: &mut Voyage, cid: Cid, name: &str, open: Opener) -> Result<(), Fault> {
        let size = voyage.size;
        let is_first = voyage.state == State::Local && voyage.cause.is_none();
        match &self.carrier {
            Carrier::Kubo(kubo) => kubo.add(name, &cid, size, open()?)?,
            Carrier::Estuary(estuary) => {
                // A try that did not end well may have got through all the same.
                let earlier = match is_first {
                    true => None,
                    false => seek(estuary, voyage, name, &cid)?,
                };
                let upload = Upload {
                    name,
                    size,
                    cid,
                    open,
                };
                let id = earlier.map_or_else(|| estuary.add(&upload), Ok)?;
                voyage.content = Some(id);
            }
        }
        voyage.state = State::Stored;
        Ok(())
    }

    /// Asks how far a blob is that the network has.
    fn follow(&self, voyage: &mut Voyage, cid: &Cid, name: &str) -> Result<(), Fault> {
        match &self.carrier {
            Carrier::Kubo(kubo) => {
                if !kubo.is_pinned(cid)? {
                    let pinned = kubo.pin(cid, name, PIN_TIME_MAX);
                    if pinned.as_ref().is_err_and(Fault::is_missing) {
                        // The node does not have it any more, and is sent it again.
                        voyage.state = State::Failed;
                    }
                    pinned?;
                }
                voyage.state = State::Pinned;
            }
            Carrier::Estuary(estuary) => {
                let id = voyage.content.unwrap_or_default();
                let lost = match state_of(estuary, id, cid)? {
                    Some(PinState::Pinned | PinState::Offloaded) => {
                        voyage.state = State::Pinned;
                        return Ok(());
                    }
                    Some(PinState::Queued | PinState::Pinning | PinState::Unknown) => {
                        return Ok(());
                    }
                    Some(PinState::Failed) => "it could not be pinned",
                    None => "it is gone",
                };
                voyage.state = State::Failed;
                voyage.content = None;
                let trouble = Trouble::Missing(lost.into());
                let content = format!("content {id}");
                return Err(Fault::neighbour(Neighbour::Estuary, &content, trouble));
            }
        }
        Ok(())
    }
}

type Opener<'o> = &'o dyn Fn() -> Result<Box<dyn Read>, Fault>;

/// How far a content of that CID is; None if there is none. A key for uploads only can't ask, but
/// sees, as everybody does, what is pinned.
fn state_of(estuary: &Estuary, id: u64, cid: &Cid) -> Result<Option<PinState>, Fault> {
    match estuary.content(id) {
        Ok(content) => {
            let content = content.filter(|content| content.cid.same_content(cid));
            Ok(content.map(|content| content.state))
        }
        Err(fault) if is_forbidden(&fault) => Ok(Some(match estuary.is_pinned(id, cid)? {
            true => PinState::Pinned,
            false => PinState::Unknown,
        })),
        Err(fault) => Err(fault),
    }
}

/// Looks for what an earlier try may have brought. One whose end is not known may still be on its
/// way: until it must have arrived, not to find it is a fault.
fn seek(
    estuary: &Estuary,
    voyage: &mut Voyage,
    name: &str,
    cid: &Cid,
) -> Result<Option<u64>, Fault> {
    let found = find(estuary, name, cid)?;
    let secs = ARRIVAL_SECS + voyage.size / ARRIVAL_SIZE_PER_SEC;
    // Each search waits twice as long as the one before, beginning with a second.
    let is_over = voyage.sought >= u64::BITS - secs.leading_zeros();
    if found.is_some() || voyage.state != State::Uploading || is_over {
        voyage.sought = 0;
        return Ok(found);
    }
    voyage.sought += 1;
    let trouble = Trouble::Missing("an upload may still arrive, and is looked for again".into());
    Err(Fault::neighbour(Neighbour::Estuary, name, trouble))
}

/// A content of that name and CID that is alive. A key for uploads only can't look: then there is
/// none that we know of.
fn find(estuary: &Estuary, name: &str, cid: &Cid) -> Result<Option<u64>, Fault> {
    match estuary.find(name) {
        Ok(contents) => {
            let same = contents
                .iter()
                .find(|content| content.cid.same_content(cid) && content.state.is_alive());
            Ok(same.map(|content| content.id))
        }
        Err(fault) if is_forbidden(&fault) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The gateways that a configuration names, in the order they are asked.
pub fn gateways(storage: &Storage) -> Vec<Gateway> {
    let (own, also) = match &storage.store {
        Store::Estuary(estuary) => {
            let also = estuary.shuttle_url.iter().cloned().collect();
            (Some(own_gateway(estuary)), also)
        }
        Store::Kubo(kubo) => (kubo.gateway.clone(), Vec::new()),
        Store::Filesystem { .. } | Store::Inmemory => (None, Vec::new()),
    };
    let patterns = own.iter().chain(&storage.gateways);
    patterns
        .map(|pattern| Gateway::new(pattern, &also))
        .collect()
}

fn own_gateway(estuary: &config::Estuary) -> String {
    let pattern = estuary.gateway_pattern.clone();
    pattern.unwrap_or_else(|| format!("{}/gw/ipfs/{{cid}}", estuary.url))
}

fn is_forbidden(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Neighbour {
            trouble: Trouble::Forbidden(_),
            ..
        }
    )
}

/// Whether a fault at the end of an upload leaves it open who has it.
fn may_be_taken(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Neighbour {
            trouble: Trouble::Unreachable(_) | Trouble::Overloaded { .. } | Trouble::Cut { .. },
            ..
        }
    )
}

/// A blob that is read as it is sent.
struct Sending {
    file: File,
    pace: Pace,
    /// Bytes that were not read yet; None before it was opened.
    unsent: Rc<Cell<Option<u64>>>,
}

impl Read for Sending {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pace.stand_back();
        let size = self.file.read(buffer)?;
        let unsent = self.unsent.get().unwrap_or(0);
        self.unsent.set(Some(unsent.saturating_sub(size as u64)));
        Ok(size)
    }
}

impl Pump {
    /// Brings a blob further on its way.
    pub(super) fn travel(&self, digest: Digest, mut voyage: Voyage) -> Event {
        let_others_first();
        let path = self.blobs.path(&digest);
        let went = guarded(|| {
            self.remember(&path, &mut voyage)?;
            Ok(self.take_leg(&digest, &mut voyage)?)
        });
        let fault = match went {
            Ok(()) => None,
            Err(Setback::Broke(fault)) => Some(fault),
            Err(Setback::Refused(refusal)) => Some(Fault::panicked(refusal.to_string())),
        };
        voyage.cause = fault.as_ref().map(Fault::to_string);
        let written = self.write_down(&path, &voyage);
        Event::Travelled(digest, voyage, fault.map_or(written, Err))
    }

    /// Goes by what is written of a voyage that is said not to have begun: a manifest that is
    /// pushed again may be on the network already.
    fn remember(&self, path: &Path, voyage: &mut Voyage) -> Result<(), Fault> {
        if voyage.state == State::Local
            && let Some(written) = Voyage::read(path)?
        {
            let is_manifest = voyage.is_manifest || written.is_manifest;
            *voyage = Voyage {
                is_manifest,
                ..written
            };
        }
        Ok(())
    }

    /// Writes a voyage down durably, if that is any news.
    fn write_down(&self, path: &Path, voyage: &Voyage) -> Result<(), Fault> {
        match Voyage::read(path)? {
            Some(written) if written == *voyage => Ok(()),
            _ => voyage.write(&self.root, path),
        }
    }

    fn take_leg(&self, digest: &Digest, voyage: &mut Voyage) -> Result<(), Fault> {
        let Some(network) = &self.network else {
            return Ok(());
        };
        let path = self.blobs.path(digest);
        let known = voyage.cid.as_deref().and_then(|text| text.parse().ok());
        let cid = match known {
            Some(cid) => cid,
            None => self.name(digest, voyage.size)?,
        };
        voyage.cid = Some(cid.to_string());
        let name = digest.hex();
        if !matches!(voyage.state, State::Stored | State::Pinned) {
            self.upload(network, &path, voyage, cid, &name)?;
        }
        match voyage.state {
            State::Stored => network.follow(voyage, &cid, &name),
            _ => Ok(()),
        }
    }

    /// Sends a blob, and notes before and after it how far it is.
    fn upload(
        &self,
        network: &Network,
        path: &Path,
        voyage: &mut Voyage,
        cid: Cid,
        name: &str,
    ) -> Result<(), Fault> {
        let mut noted = voyage.clone();
        noted.state = State::Uploading;
        noted.write(&self.root, path)?;
        let size = voyage.size;
        let unsent = Rc::new(Cell::new(None));
        let open = || {
            let file = File::open(path).map_err(|err| Fault::disk("open", path, err))?;
            unsent.set(Some(size));
            let (pace, unsent) = (Pace::begin(&self.traffic), Rc::clone(&unsent));
            Ok(Box::new(Sending { file, pace, unsent }) as Box<dyn Read>)
        };
        let sent = network.send(voyage, cid, name, &open);
        let Err(fault) = &sent else {
            return voyage.write(&self.root, path);
        };
        voyage.state = match (unsent.get(), voyage.state) {
            // What was in doubt before is so still.
            (None, State::Uploading) => State::Uploading,
            (Some(0), _) if may_be_taken(fault) => State::Uploading,
            _ if fault.retry_after().is_some() => State::Local,
            _ => State::Failed,
        };
        sent
    }

    /// Computes the CID of a blob that came without one.
    fn name(&self, digest: &Digest, size: u64) -> Result<Cid, Fault> {
        if let Some(cid) = raw_cid(digest, size) {
            return Ok(cid);
        }
        let path = self.blobs.path(digest);
        let mut unixfs = Unixfs::new(Import::ESTUARY);
        let mut read = || {
            let mut file = File::open(&path)?;
            let mut buffer = vec![0; 256 << 10];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(()),
                    size => unixfs.write(&buffer[..size]),
                }
            }
        };
        read().map_err(|err| Fault::disk("read", &path, err))?;
        Ok(unixfs.finish().cid)
    }

    /// Drops the local copy of a blob, if the network says again that it keeps it.
    pub(super) fn drop_copy(&self, digest: Digest, mut voyage: Voyage) -> Event {
        let drop_copy = || {
            let Some(network) = &self.network else {
                return Ok(true);
            };
            let cid = voyage
                .cid
                .as_deref()
                .and_then(|text| text.parse::<Cid>().ok());
            let path = self.blobs.path(&digest);
            match cid {
                Some(cid) if network.keeps(&voyage, &cid)? => {
                    disk::discard(&path)?;
                    Ok(true)
                }
                // What the network lost is looked up before it is sent again, as after a fault.
                _ => {
                    voyage.state = State::Failed;
                    voyage.content = None;
                    voyage.cause = Some("the network does not keep it any more".into());
                    voyage.write(&self.root, &path)?;
                    Ok(false)
                }
            }
        };
        let dropped = guarded(drop_copy).map_err(|setback| match setback {
            Setback::Broke(fault) => fault,
            Setback::Refused(refusal) => Fault::panicked(refusal.to_string()),
        });
        Event::Dropped(digest, dropped)
    }
}
