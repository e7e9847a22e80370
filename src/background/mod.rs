//! Background work: one loop for each kind, each "take what is due from the store, do it, write
//! what came of it". What is due is an indexed query, so that a start costs the same with ten blobs
//! and with ten million, and a kill forgets nothing. Whoever uploads stands back behind clients.
//!
//! | file | its loop |
//! |---|---|
//! | `pinning` | uploads what is due on a network, follows it, asks for it again later |
//! | `cache` | drops local copies beyond `cache.size` |
//! | `backup` | copies the catalog once a day |
//! | `purge` | ends upload sessions that nobody writes to |
//! | `health` | checks what the configuration says |
//! | `fetch` | none: brings back what only networks have, for whoever asks |

mod attempt;
mod backup;
mod bell;
mod cache;
mod fetch;
mod health;
pub mod outage;
mod pace;
mod pinning;
mod purge;
mod transfer;
pub mod transition;
mod waiters;
mod work;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use fetch::Fetched;
pub use health::Health;
pub use pace::{Load, Underway};

use bell::Bell;
use cache::Cache;
use fetch::{Fetches, Room};
use outage::Outage;
use pinning::Pinning;
use waiters::Waiters;
use work::{Core, fault, lock};

use crate::cid::{Cid, Import};
use crate::config::{self, Config};
use crate::fault::{Fault, Trouble};
use crate::ipfs::Ipfs;
use crate::oci::Digest;
use crate::store::Store;
use crate::store::pin::{self, Complete, NewPin};

/// How long a push waits for a network: while it works, and in an outage.
const PINNED_TIME_MAX: Duration = Duration::from_secs(600);
const OUTAGE_TIME_MAX: Duration = Duration::from_secs(10);
/// How often whoever waits looks whether that is over.
const LOOK: Duration = Duration::from_secs(1);
/// More than a manifest and all below it have, but for what is made to be too much.
const MISSING_MAX: u32 = 100_000;
/// How long a stop waits for whoever is in the middle of something.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);

/// All background work. It is stopped when this is dropped.
pub struct Background {
    core: Arc<Core>,
    ipfs: Arc<Ipfs>,
    networks: Vec<Arc<Pinning>>,
    fetches: Arc<Fetches>,
    waiters: Arc<Waiters>,
    is_read_only: bool,
}

impl Background {
    /// Starts what the configuration asks for but pinning: where nothing may change, only what is
    /// needed to read, and to know how all is. `load` says how many clients are being served.
    pub fn start(
        store: Arc<Store>,
        config: &Config,
        ipfs: Arc<Ipfs>,
        load: Load,
    ) -> Result<Background, Fault> {
        let core = Arc::new(Core::new(store, Health::default(), load));
        let travels = config.storage.store.network();
        let (waiters, surplus) = (Arc::<Waiters>::default(), core.bell());
        let pinning = |network| {
            Arc::new(Pinning {
                core: Arc::clone(&core),
                network: Arc::clone(network),
                bell: core.bell(),
                pinned: surplus.clone(),
                at_a_time: travels.map_or(0, |travels| travels.maxthreads),
                recheck: config.storage.recheck,
                waiters: Arc::clone(&waiters),
                outage: Mutex::<Outage>::default(),
                busy: Mutex::default(),
                failed: Mutex::default(),
            })
        };
        let networks: Vec<_> = ipfs.networks.iter().map(pinning).collect();
        let size_max = travels.and_then(|travels| travels.cache_size);
        let room = match size_max {
            _ if config.storage.read_only => Room::Nothing,
            Some(size_max) => Room::UpTo(size_max),
            None => Room::Everything,
        };
        let bells = networks.iter().map(|network| network.bell.clone());
        let fetches = Fetches::new(&core, &ipfs, room, surplus.clone(), bells.collect())?;
        let background = Background {
            fetches: Arc::new(fetches),
            ipfs,
            networks,
            waiters,
            core,
            is_read_only: config.storage.read_only,
        };
        background.warn_of_pins()?;
        health::greet(&background.core, &background.ipfs)?;
        health::start(&background.core, &config.health, &background.ipfs)?;
        if !config.storage.read_only {
            background.start_changing(config, size_max, surplus)?;
        }
        Ok(background)
    }

    /// Begins to pin, once the catalog knows all that the store has. Where nothing may change, it
    /// is only said how much there is to do.
    pub fn start_pinning(&self) -> Result<(), Fault> {
        self.networks.iter().try_for_each(|network| {
            network.pinned.ring();
            match self.is_read_only {
                true => network.say_how_many(),
                false => network.start(),
            }
        })
    }

    /// Warns of pins that nobody takes care of.
    fn warn_of_pins(&self) -> Result<(), Fault> {
        if self.networks.is_empty() {
            let pinned_on = self.core.store()?.read(pin::first_network).map_err(fault)?;
            if let Some(network) = pinned_on {
                log::warn!(
                    "this store has pins of {network}, and no network is configured: nothing \
                     travels, and what only {network} has can't be read"
                );
            }
        }
        Ok(())
    }

    fn start_changing(
        &self,
        config: &Config,
        size_max: Option<u64>,
        surplus: Bell,
    ) -> Result<(), Fault> {
        if let Some(size_max) = size_max {
            let cache = Cache {
                core: Arc::clone(&self.core),
                networks: self.networks.clone(),
                size_max,
                bell: surplus,
            };
            cache.start()?;
        }
        if config.storage.store != config::Store::Inmemory {
            backup::start(&self.core)?;
        }
        match &config.storage.upload_purging {
            Some(purging) => purge::start(&self.core, purging),
            None => Ok(()),
        }
    }

    /// Where content is to be pinned, for the push that brings it. `cid` is what was computed while
    /// it came in, with [`Import::ESTUARY`]; where there is none, or a network needs another, it is
    /// computed before the upload.
    pub fn pins(&self, digest: &Digest, size: u64, cid: Option<Cid>) -> Vec<NewPin> {
        let pin = |network: &Arc<Pinning>| {
            let import = network.network.import();
            let raw = match digest {
                Digest::Sha256(hash) => import.raw_cid(hash, size),
                Digest::Sha512(_) => None,
            };
            let cid = raw.or(cid.filter(|_| import == Import::ESTUARY));
            NewPin {
                network: network.network.name().to_owned(),
                cid: cid.and_then(|cid| Some((cid.to_string(), import.name()?.to_owned()))),
            }
        };
        self.networks.iter().map(pin).collect()
    }

    /// Something was enqueued to be pinned.
    pub fn wake_pins(&self) {
        self.networks.iter().for_each(|network| network.bell.ring());
    }

    /// A tag was put: if all of its image is pinned already, it is said now.
    pub fn tag_was_put(&self, name: &str, manifest: &Digest) -> Result<(), Fault> {
        let store = self.core.store()?;
        for network in &self.networks {
            let name = name.to_owned();
            let complete = store.read(|tx| {
                if !pin::missing(tx, network.network.name(), manifest, 1)?.is_empty() {
                    return Ok(None);
                }
                let pins = pin::of_digest(tx, manifest)?;
                let cid = pins.into_iter().find_map(|pin| pin.cid);
                Ok(Some(Complete { name, cid }))
            });
            complete.map_err(fault)?.iter().for_each(pinning::announce);
        }
        Ok(())
    }

    /// Waits until every network has pinned a blob or manifest and all that it needs. Whatever
    /// keeps one of them from it is the fault, as is a network that is down for long.
    pub fn await_pinned(&self, digest: &Digest) -> Result<(), Fault> {
        self.wake_pins();
        let until = self.core.now() + PINNED_TIME_MAX;
        for network in &self.networks {
            let name = network.network.name();
            let missing = || {
                let store = self.core.store()?;
                let missing = store.read(|tx| pin::missing(tx, name, digest, MISSING_MAX));
                Ok(HashSet::from_iter(missing.map_err(fault)?))
            };
            let look = || {
                let now = self.core.now();
                let outage = lock(&network.outage);
                match outage.cause() {
                    _ if self.core.is_stopped() => self.core.store().map(drop),
                    Some((since, fault)) if since + OUTAGE_TIME_MAX <= now => Err(fault.clone()),
                    _ if until <= now => {
                        let late = Trouble::Missing("it is not pinned yet".into());
                        Err(network.network.fault(&digest.to_string(), late))
                    }
                    _ => Ok(()),
                }
            };
            self.waiters.wait(missing, LOOK, look)?;
        }
        Ok(())
    }

    /// A reader of a blob that only networks have, of that size.
    pub fn fetch(&self, digest: &Digest, size: u64) -> Result<Fetched, Fault> {
        self.fetches.read(digest, size)
    }

    /// The networks that are down, and why.
    pub fn outages(&self) -> Vec<(String, Fault)> {
        let down = self.networks.iter().filter_map(|one| {
            let outage = lock(&one.outage);
            let (_, fault) = outage.cause()?;
            Some((one.network.name().to_owned(), fault.clone()))
        });
        down.collect()
    }

    /// How all is.
    pub fn health(&self) -> &Health {
        &self.core.health
    }

    /// The networks, and the gateways that clients may be sent to while they are well.
    pub fn ipfs(&self) -> &Ipfs {
        &self.ipfs
    }

    /// Ends all work. What is not done then is done after the next start.
    pub fn stop(&self) {
        self.core.stop(STOP_TIME_MAX);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}
