//! The cache: local copies of what networks keep, of which the least recently used are dropped
//! while all of them take more than `cache.size`. Each network is asked once more before.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::bell::Bell;
use super::pinning::Pinning;
use super::transition::Heard;
use super::work::{Core, Next, fault, lock, panicked};
use crate::cid::Cid;
use crate::fault::Fault;
use crate::store::blob::Place;
use crate::store::copy::{self, Copy};
use crate::store::pin::{self, Due, Pin, State};

/// The most copies that networks are asked about at a time.
const AT_A_TIME: usize = 8;

/// How long until the networks are asked again, after all that were asked about had to stay.
const PAUSE: Duration = Duration::from_secs(60);

/// The bound of what is kept on this disk besides.
pub struct Cache {
    pub core: Arc<Core>,
    pub networks: Vec<Arc<Pinning>>,
    /// Bytes of copies to keep.
    pub size_max: u64,
    /// Rung when there may be more copies than before.
    pub bell: Bell,
}

/// What became of the wish to drop a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drops {
    Done,
    /// No network said that it keeps it: it stays, and is tried again later.
    Stays,
}

impl Cache {
    /// Starts the loop.
    pub fn start(self) -> Result<(), Fault> {
        let (core, bell) = (Arc::clone(&self.core), self.bell.clone());
        core.run_loop("cache", bell, move || self.round())
    }

    fn round(&self) -> Result<Next, Fault> {
        let now = self.core.now();
        let outages = || self.networks.iter().map(|network| lock(&network.outage));
        if let Some(pause) = outages().filter_map(|outage| outage.pause(now)).max() {
            return Ok(Next::Within(pause));
        }
        let places = outages().map(|outage| outage.at_most(AT_A_TIME, now));
        let copies = self.surplus(places.min().unwrap_or(0))?;
        if copies.is_empty() {
            return Ok(Next::Woken);
        }
        thread::scope(|scope| {
            let dropping: Vec<_> = copies
                .iter()
                .map(|copy| {
                    let drop_it = || self.drop_copy(copy);
                    let name = "drop".to_owned();
                    thread::Builder::new()
                        .name(name)
                        .spawn_scoped(scope, drop_it)
                })
                .collect();
            let mut is_any_done = false;
            for (copy, thread) in copies.iter().zip(dropping) {
                let drops = match thread.map(|thread| thread.join()) {
                    Ok(Ok(dropped)) => dropped?,
                    // Without a thread of its own it is done here.
                    Err(_) => self.drop_copy(copy)?,
                    Ok(Err(panic)) => return Err(panicked(&*panic)),
                };
                is_any_done |= drops == Drops::Done;
            }
            let pauses = outages().filter_map(|outage| outage.pause(self.core.now()));
            Ok(Next::Within(match is_any_done {
                true => Duration::ZERO,
                false => pauses.max().unwrap_or(PAUSE),
            }))
        })
    }

    /// The least recently used copies that are beyond the bound, a few at a time.
    fn surplus(&self, count: usize) -> Result<Vec<Copy>, Fault> {
        let store = self.core.store()?;
        let known = store.read(|tx| Ok((copy::size(tx)?, copy::oldest(tx, count as u32)?)));
        let (mut size, mut oldest) = known.map_err(fault)?;
        oldest.retain(|copy| {
            let is_over = size > self.size_max;
            size -= copy.size.min(size);
            is_over
        });
        Ok(oldest)
    }

    /// Drops a copy if any network says that it keeps it.
    fn drop_copy(&self, copy: &Copy) -> Result<Drops, Fault> {
        let digest = copy.digest;
        let store = self.core.store()?;
        let pins = store
            .read(|tx| pin::of_digest(tx, &digest))
            .map_err(fault)?;
        let pins = pins.into_iter().filter(|pin| pin.state == State::Pinned);
        let mut is_kept = false;
        let mut lost = None;
        for pin in pins {
            let network = self.networks.iter();
            let mut network = network.filter(|network| network.network.name() == pin.network);
            let Some(network) = network.next() else {
                continue;
            };
            match keeps(network, &pin) {
                Ok(true) => is_kept = true,
                Ok(false) => {
                    lost = Some((network, pin));
                }
                Err(fault) => log::warn!("the copy of {digest} stays: {fault}"),
            }
        }
        if let Some((network, pin)) = lost {
            network.say_lost(&digest, true);
            let due = Due {
                blob: copy.blob,
                digest,
                size: copy.size,
                place: Place::File,
                pin,
            };
            network.write(&due, &Heard::Lost("the network does not keep it any more"))?;
            network.bell.ring();
        }
        if is_kept && store.drop_copy(&digest).map_err(fault)? {
            return Ok(Drops::Done);
        }
        // Not again before others had their turn.
        let blob = copy.blob;
        store.note(move |tx| copy::touch(tx, blob)).map_err(fault)?;
        Ok(Drops::Stays)
    }
}

fn keeps(network: &Pinning, pin: &Pin) -> Result<bool, Fault> {
    let cid = pin.cid.as_deref().and_then(|text| text.parse::<Cid>().ok());
    let kept = match cid {
        Some(cid) => network.network.keeps(pin.remote.as_deref(), &cid),
        None => Ok(false),
    };
    network.note(kept.as_ref().map(drop));
    kept
}
