//! To the content network and back: one leg of a blob's voyage at a time, each of which may end
//! in the middle and be taken again. What was reached is written down before it is told.

mod object;

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use super::transfer::raw_cid;
use super::{Pump, guarded};
use crate::catalog::voyage::{State, Voyage};
use crate::cid::{Cid, Import, Unixfs};
use crate::config::{Storage, Store};
use crate::disk;
use crate::estuary::{Estuary, PinState, Upload};
use crate::fault::{Fault, Trouble};
use crate::gateway::{Gateway, Gateways};
use crate::kubo::Kubo;
use crate::oci::Digest;
use crate::outward::Incoming;
use crate::registry::{Event, Setback};

/// How long a node may take to pin what it has.
const PIN_TIME_MAX: Duration = Duration::from_secs(30);

/// A content network: who takes blobs, and where they are read again.
#[derive(Debug)]
pub struct Network {
    carrier: Carrier,
    gateways: Gateways,
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
        Ok(Some(Network {
            carrier,
            gateways: Gateways(gateways(storage)),
        }))
    }

    /// Whether the network answers.
    pub fn check(&self) -> Result<(), Fault> {
        match &self.carrier {
            Carrier::Estuary(estuary) => estuary.health(),
            Carrier::Kubo(kubo) => kubo.version().map(drop),
        }
    }

    /// Whether a gateway, by its place in the list, answers.
    pub fn check_gateway(&self, place: usize) -> Result<(), Fault> {
        self.gateways.0.get(place).map_or(Ok(()), Gateway::check)
    }

    /// Readers of content from `offset` on: each gateway in turn, then the node itself.
    pub fn read(
        &self,
        cid: Cid,
        size: u64,
        offset: u64,
    ) -> impl Iterator<Item = Result<Incoming, Fault>> {
        let node = match &self.carrier {
            Carrier::Kubo(kubo) => Some(kubo),
            Carrier::Estuary(_) => None,
        };
        let gateways = self.gateways.read(cid, size, offset..size);
        gateways.chain(
            node.into_iter()
                .map(move |kubo| kubo.cat(&cid, offset..size)),
        )
    }

    /// How many places there are to read from.
    pub fn sources(&self) -> usize {
        self.gateways.0.len() + usize::from(matches!(self.carrier, Carrier::Kubo(_)))
    }

    /// Whether the network still keeps what a voyage brought there.
    fn keeps(&self, voyage: &Voyage, cid: &Cid) -> Result<bool, Fault> {
        match (&self.carrier, voyage.content) {
            (Carrier::Kubo(kubo), _) => kubo.is_pinned(cid),
            (Carrier::Estuary(_), None) => Ok(false),
            (Carrier::Estuary(estuary), Some(id)) => {
                let content = estuary.content(id)?;
                Ok(content.is_some_and(|content| {
                    content.cid.same_content(cid)
                        && matches!(content.state, PinState::Pinned | PinState::Offloaded)
                }))
            }
        }
    }

    /// Sends a blob, unless the network has it from an earlier try.
    fn send(&self, voyage: &mut Voyage, cid: Cid, name: &str, blob: Opener) -> Result<(), Fault> {
        match &self.carrier {
            Carrier::Kubo(kubo) => {
                kubo.add(name, &cid, voyage.size, blob()?)?;
                voyage.state = State::Stored;
            }
            Carrier::Estuary(estuary) => {
                // A try that did not end well may have got through all the same.
                let earlier = match voyage.cause {
                    Some(_) => find(estuary, name, &cid)?,
                    None => None,
                };
                let id = match earlier {
                    Some(id) => id,
                    None => {
                        let upload = Upload {
                            name,
                            size: voyage.size,
                            cid,
                            open: blob,
                        };
                        estuary.add(&upload)?
                    }
                };
                voyage.content = Some(id);
                voyage.state = State::Stored;
            }
        }
        Ok(())
    }

    /// Asks how far a blob is that the network has.
    fn follow(&self, voyage: &mut Voyage, cid: &Cid, name: &str) -> Result<(), Fault> {
        match &self.carrier {
            Carrier::Kubo(kubo) => {
                if !kubo.is_pinned(cid)? {
                    kubo.pin(cid, name, PIN_TIME_MAX)?;
                }
                voyage.state = State::Pinned;
            }
            Carrier::Estuary(estuary) => {
                let content = voyage
                    .content
                    .map(|id| estuary.content(id))
                    .transpose()?
                    .flatten();
                let content = content.filter(|content| content.cid.same_content(cid));
                match content.map(|content| content.state) {
                    Some(PinState::Pinned | PinState::Offloaded) => voyage.state = State::Pinned,
                    Some(PinState::Queued | PinState::Pinning | PinState::Unknown) => {}
                    Some(PinState::Failed) | None => {
                        voyage.state = State::Local;
                        voyage.content = None;
                        voyage.cause = Some("Estuary could not keep it".into());
                    }
                }
            }
        }
        Ok(())
    }
}

type Opener<'o> = &'o dyn Fn() -> Result<Box<dyn Read>, Fault>;

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
        Err(Fault::Neighbour {
            trouble: Trouble::Forbidden(_),
            ..
        }) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The gateways that a configuration names, in the order they are asked.
pub fn gateways(storage: &Storage) -> Vec<Gateway> {
    let (own, also) = match &storage.store {
        Store::Estuary(estuary) => {
            let own = estuary.gateway_pattern.clone();
            let own = own.unwrap_or_else(|| format!("{}/gw/ipfs/{{cid}}", estuary.url));
            (Some(own), estuary.shuttle_url.iter().cloned().collect())
        }
        Store::Kubo(kubo) => (kubo.gateway.clone(), Vec::new()),
        Store::Filesystem { .. } | Store::Inmemory => (None, Vec::new()),
    };
    let patterns = own.iter().chain(&storage.gateways);
    patterns
        .map(|pattern| Gateway::new(pattern, &also))
        .collect()
}

impl Pump {
    /// Brings a blob further on its way.
    pub(super) fn travel(&self, digest: Digest, mut voyage: Voyage) -> Event {
        let went = guarded(|| self.take_leg(&digest, &mut voyage).map_err(Setback::from));
        let fault = match went {
            Ok(()) => None,
            Err(Setback::Broke(fault)) => Some(fault),
            Err(Setback::Refused(refusal)) => Some(Fault::panicked(refusal.to_string())),
        };
        voyage.cause = match &fault {
            Some(fault) => Some(fault.to_string()),
            None if voyage.state == State::Local => voyage.cause,
            None => None,
        };
        if fault
            .as_ref()
            .is_some_and(|fault| fault.retry_after().is_none())
        {
            voyage.state = State::Failed;
        } else if voyage.state == State::Uploading {
            voyage.state = State::Local;
        }
        let written = voyage.write(&self.root, &self.blobs.path(&digest));
        Event::Travelled(digest, voyage, fault.map_or(written, Err))
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
        if voyage.state != State::Stored {
            voyage.state = State::Uploading;
            voyage.write(&self.root, &path)?;
            let open = || {
                let file = File::open(&path).map_err(|err| Fault::disk("open", &path, err))?;
                Ok(Box::new(file) as Box<dyn Read>)
            };
            network.send(voyage, cid, &name, &open)?;
            voyage.write(&self.root, &path)?;
        }
        network.follow(voyage, &cid, &name)
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
        let mut drop_copy = || {
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
                _ => {
                    voyage.state = State::Local;
                    voyage.content = None;
                    voyage.write(&self.root, &path)?;
                    Ok(false)
                }
            }
        };
        let dropped = drop_copy();
        Event::Dropped(digest, dropped)
    }
}
