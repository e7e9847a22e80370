//! Pinning: what is due on one network is taken from the catalog, the longest due first, and each
//! is brought a step further in a thread of its own, a bounded number at a time. What came of it
//! is written before it is told, so that a kill forgets nothing.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::attempt::Attempt;
use super::bell::Bell;
use super::outage::{Change, Outage};
use super::transition::{Heard, Moment, next};
use super::waiters::Waiters;
use super::work::{Core, Next, fault, lock, panicked};
use crate::fault::Fault;
use crate::ipfs::{Network, is_outage};
use crate::oci::Digest;
use crate::store::pin::{self, Complete, Due, Pin, State};
use crate::store::sqlite;

/// How many blobs a network is told of in one command, after it was configured.
const PAGE: u32 = 256;
/// Up to how many blobs are counted that are still to be pinned.
const COUNT_MAX: u32 = 100_000;

/// What pins on one network.
pub struct Pinning {
    pub core: Arc<Core>,
    pub network: Arc<Network>,
    /// Rung when something was enqueued or has ended.
    pub bell: Bell,
    /// Rung when something is pinned.
    pub pinned: Bell,
    pub at_a_time: usize,
    pub recheck: Duration,
    pub waiters: Arc<Waiters>,
    pub outage: Mutex<Outage>,
    /// The blobs that a thread is at work on, by the number of their row.
    pub busy: Mutex<HashSet<i64>>,
    /// Why what became of an attempt could not be written down: it would be made again at once.
    pub failed: Mutex<Option<Fault>>,
}

impl Pinning {
    /// Starts the loop.
    pub fn start(self: &Arc<Self>) -> Result<(), Fault> {
        let (pinning, mut is_told) = (Arc::clone(self), false);
        let round = move || {
            if !is_told {
                is_told = pinning.tell_of_next()?;
                if !is_told {
                    return Ok(Next::Within(Duration::ZERO));
                }
                pinning.say_how_many()?;
            }
            pinning.round()
        };
        self.core.run_loop("pinning", self.bell.clone(), round)
    }

    /// Enqueues the next of what was here before the network was; whether that was all.
    fn tell_of_next(&self) -> Result<bool, Fault> {
        let name = self.network.name().to_owned();
        let store = self.core.store()?;
        let is_more = store.write(move |tx| pin::enqueue_next(tx, &name, PAGE));
        Ok(!is_more.map_err(fault)?)
    }

    /// Says in the log how much there is to do.
    pub fn say_how_many(&self) -> Result<(), Fault> {
        let name = self.network.name();
        let store = self.core.store()?;
        let count = store.read(|tx| pin::count_waiting(tx, name, COUNT_MAX));
        let count = count.map_err(fault)?;
        let more = if count == u64::from(COUNT_MAX) {
            " or more"
        } else {
            ""
        };
        log::info!("{count}{more} blobs and manifests are still to travel to {name}");
        Ok(())
    }

    /// Starts what is due, as far as there are places; when there is more to do.
    fn round(self: &Arc<Self>) -> Result<Next, Fault> {
        if let Some(fault) = lock(&self.failed).take() {
            return Err(fault);
        }
        let places = lock(&self.outage).at_most(self.at_a_time, self.core.now());
        let busy = lock(&self.busy).len();
        let free = places.saturating_sub(busy);
        let name = self.network.name();
        let count = if free > 0 { free + busy } else { 0 };
        // Both of one moment, so that nothing is due between them.
        let asked = self.core.store()?.read(|tx| {
            let left = |due_at| u64::try_from(due_at - tx.now()).unwrap_or(0);
            let next = pin::next_due(tx, name)?.map(|due_at| Duration::from_millis(left(due_at)));
            Ok((pin::due(tx, name, count as u32)?, next))
        });
        let (due, next) = asked.map_err(fault)?;
        let idle = due
            .into_iter()
            .filter(|due| !lock(&self.busy).contains(&due.blob));
        for due in idle.take(free) {
            self.begin(due)?;
        }
        // In an outage nothing begins before its pause is over, whatever is due.
        let pause = lock(&self.outage).pause(self.core.now());
        Ok(match pause.or(next) {
            Some(left) => Next::Within(left),
            None => Next::Woken,
        })
    }

    /// Brings a pin a step further, in a thread of its own.
    fn begin(self: &Arc<Self>, due: Due) -> Result<(), Fault> {
        let (pinning, blob) = (Arc::clone(self), due.blob);
        lock(&self.busy).insert(blob);
        let started = self.core.start("pin", move |_| {
            let _busy = Busy(&pinning, blob);
            pinning.attempt(due);
        });
        if started.is_err() {
            lock(&self.busy).remove(&blob);
        }
        started
    }

    fn attempt(&self, due: Due) {
        let digest = due.digest;
        let mut attempt = Attempt::new(self, due);
        let ran = catch_unwind(AssertUnwindSafe(|| attempt.run()));
        let result = ran.unwrap_or_else(|panic| attempt.give_up(panicked(&*panic)));
        if self.core.is_stopped() {
            return;
        }
        self.note(result.as_ref().map(drop));
        match result {
            Ok(()) if attempt.pin().state == State::Pinned => self.waiters.tell(&digest, Ok(())),
            Ok(()) => {}
            Err(fault) => {
                log::warn!("{digest} did not get through: {fault}");
                self.waiters.tell(&digest, Err(&fault));
                if !attempt.is_written() {
                    lock(&self.failed).get_or_insert(fault);
                }
            }
        }
    }

    /// Takes in how the network as a whole is, by what became of one request.
    pub fn note(&self, result: Result<(), &Fault>) {
        let change = lock(&self.outage).note(result, self.core.now());
        match change {
            Some(Change::Began) => {
                log::warn!("the content network fails; what comes in waits on this disk");
            }
            Some(Change::Ended) => log::info!("the content network answers again"),
            None => {}
        }
        if change.is_some() || result.is_err_and(is_outage) {
            self.waiters.wake();
        }
    }

    /// Writes down what follows from what was heard.
    pub fn write(&self, due: &Due, heard: &Heard) -> Result<Pin, Fault> {
        let at = Moment {
            now: sqlite::now(),
            recheck: self.recheck,
        };
        let pin = next(&due.pin, heard, at);
        let (blob, new) = (due.blob, pin.clone());
        let becomes_pinned = pin.state == State::Pinned && due.pin.state != State::Pinned;
        let is_confirmed = pin.state == State::Pinned && due.pin.state == State::Pinned;
        let command = move |tx: &crate::store::Transaction| {
            pin::put(tx, blob, &new)?;
            match becomes_pinned {
                true => pin::complete_of(tx, &new.network, blob),
                false => Ok(Vec::new()),
            }
        };
        let store = self.core.store()?;
        // That it was asked for may be forgotten: it is asked for once more.
        let complete = match is_confirmed {
            true => store.note(command),
            false => store.write(command),
        };
        complete.map_err(fault)?.iter().for_each(announce);
        if becomes_pinned {
            self.pinned.ring();
        }
        Ok(pin)
    }

    /// Says what it means that the network does not keep something any more.
    pub fn say_lost(&self, digest: &Digest, is_here: bool) {
        let then = match is_here {
            true => "travels again",
            false => "is nowhere else: whoever has it may push it again",
        };
        log::error!("{digest} is not pinned any more and {then}");
    }
}

/// Says that an image is complete.
pub fn announce(complete: &Complete) {
    let Complete { name, cid } = complete;
    let cid = cid.as_deref().unwrap_or_default();
    log::info!(cid = cid; "{name} is completely on the content network");
}

/// A blob that is worked on, until this is dropped.
struct Busy<'p>(&'p Pinning, i64);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        lock(&self.0.busy).remove(&self.1);
        self.0.bell.ring();
    }
}
