//! Travel: blobs and manifests on their way to the content network, a bounded number at a time,
//! oldest first. The queue is the disk: every blob has its voyage written beside it, and what is
//! here is only read from there, so a restart forgets nothing.
//!
//! A network that is down makes a storm: all voyages wait, one of them tries again from time to
//! time, and no push or pull notices.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::{Errand, Job, Jobs, Registry, Ticket, respond};
use crate::catalog::voyage::{State, Voyage};
use crate::cid::Cid;
use crate::config::Acknowledge;
use crate::fault::{Fault, Trouble};
use crate::oci::{Digest, Response};

/// How long a voyage that failed waits for its next try: at first, and at most.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(600);
/// How long a storm lasts until the network is tried again, at most.
const STORM_MAX: Duration = Duration::from_secs(60);
/// How often a network is asked whether it has pinned something: at first, and at most.
const FOLLOW_MIN: Duration = Duration::from_millis(500);
const FOLLOW_MAX: Duration = Duration::from_secs(60);
/// How long a push waits for the network with `acknowledge: pinned`.
const PATIENCE: Duration = Duration::from_secs(600);

/// All voyages, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Travel {
    /// The most voyages under way at a time; 0 where there is no network.
    at_a_time: usize,
    /// Whether a push waits until the network has pinned what came.
    pins_first: bool,
    /// Bytes of pinned blobs that may stay here; None for all.
    cache_size: Option<u64>,
    voyages: HashMap<Digest, Leg>,
    ready: BTreeSet<(u64, Digest)>,
    later: BTreeSet<(Duration, Digest)>,
    under_way: usize,
    storm: Option<Storm>,
    waiting: HashMap<Digest, Vec<(Ticket, Response, Duration)>>,
    images: HashMap<Digest, Image>,
    next_order: u64,
}

/// A voyage and what this process knows of it besides.
#[derive(Debug)]
struct Leg {
    voyage: Voyage,
    order: u64,
    tries: u32,
    is_busy: bool,
    is_here: bool,
    used_at: Duration,
}

#[derive(Debug)]
struct Storm {
    until: Duration,
    lasts: Duration,
}

/// An image whose parts are not all on the network.
#[derive(Debug)]
struct Image {
    name: String,
    missing: HashSet<Digest>,
}

/// What was found on disk at the start.
#[derive(Debug, Default)]
pub struct Survey {
    /// Every voyage, the oldest blob first, and whether its bytes are here.
    pub voyages: Vec<(Digest, Voyage, bool)>,
    /// Every tagged manifest: its name, its digest, and all that it needs.
    pub images: Vec<(String, Digest, Vec<Digest>)>,
}

impl Travel {
    /// Travel to a network that takes so many blobs at a time.
    pub fn new(at_a_time: usize, acknowledge: Acknowledge, cache_size: Option<u64>) -> Travel {
        let pins_first = acknowledge == Acknowledge::Pinned;
        Travel {
            at_a_time,
            pins_first,
            cache_size,
            ..Travel::default()
        }
    }

    fn is_open(&self) -> bool {
        self.at_a_time > 0
    }

    /// The CID of a blob or manifest, if it is known.
    pub fn cid(&self, digest: &Digest) -> Option<&str> {
        self.voyages.get(digest)?.voyage.cid.as_deref()
    }

    /// The voyage and the CID of a blob that the network can give back.
    pub fn abroad(&self, digest: &Digest) -> Option<(&Voyage, Cid)> {
        let voyage = &self.voyages.get(digest)?.voyage;
        let is_there = matches!(voyage.state, State::Stored | State::Pinned);
        let cid = voyage.cid.as_deref()?.parse().ok()?;
        is_there.then_some((voyage, cid))
    }

    fn is_pinned(&self, digest: &Digest) -> bool {
        self.voyages
            .get(digest)
            .is_some_and(|leg| leg.voyage.state == State::Pinned)
    }

    /// Takes in a blob that is here.
    fn embark(&mut self, digest: Digest, voyage: Voyage, is_here: bool, now: Duration) {
        if let Some(leg) = self.voyages.get_mut(&digest) {
            leg.is_here |= is_here;
            leg.used_at = now;
            return;
        }
        let order = self.next_order;
        self.next_order += 1;
        match voyage.state {
            State::Pinned => {}
            State::Stored => drop(self.later.insert((now, digest))),
            State::Local | State::Uploading | State::Failed => {
                self.ready.insert((order, digest));
            }
        }
        let leg = Leg {
            voyage,
            order,
            tries: 0,
            is_busy: false,
            is_here,
            used_at: now,
        };
        self.voyages.insert(digest, leg);
    }

    /// The next voyages to set out.
    fn set_out(&mut self, now: Duration) -> Jobs {
        let mut jobs = Jobs::new();
        if self.storm.as_ref().is_some_and(|storm| now < storm.until) {
            return jobs;
        }
        while let Some(&(due, digest)) = self.later.first().filter(|(due, _)| *due <= now) {
            self.later.remove(&(due, digest));
            if let Some(leg) = self.voyages.get(&digest) {
                self.ready.insert((leg.order, digest));
            }
        }
        // In a storm one goes out to see whether it is over.
        let at_a_time = if self.storm.is_some() {
            1
        } else {
            self.at_a_time
        };
        while self.under_way < at_a_time {
            let Some((_, digest)) = self.ready.pop_first() else {
                break;
            };
            let Some(leg) = self.voyages.get_mut(&digest) else {
                continue;
            };
            leg.is_busy = true;
            self.under_way += 1;
            jobs.push(Job::Errand(Errand::Travel(digest, leg.voyage.clone())));
        }
        jobs
    }

    /// Takes in how far a voyage came, and when it goes on.
    fn arrive(&mut self, digest: Digest, voyage: Voyage, fault: Option<&Fault>, now: Duration) {
        self.under_way = self.under_way.saturating_sub(1);
        let Some(leg) = self.voyages.get_mut(&digest) else {
            return;
        };
        let went_on = leg.voyage.state != voyage.state && fault.is_none();
        leg.is_busy = false;
        leg.voyage = voyage;
        leg.tries = if went_on {
            0
        } else {
            leg.tries.saturating_add(1)
        };
        if fault.is_some_and(is_weather) {
            let lasted = self
                .storm
                .as_ref()
                .map_or(RETRY_MIN / 2, |storm| storm.lasts);
            let lasts = (lasted * 2).min(STORM_MAX);
            if self.storm.is_none() {
                log::warn!("the content network fails; what comes in waits on this disk");
            }
            self.storm = Some(Storm {
                until: now + lasts,
                lasts,
            });
            self.ready.insert((leg.order, digest));
            return;
        }
        if self.storm.take().is_some() {
            log::info!("the content network answers again");
        }
        let doubled = |min: Duration, max| (min * (1 << leg.tries.min(10))).min(max);
        let wait = match (leg.voyage.state, fault) {
            (State::Pinned, None) => return,
            (State::Stored, None) => doubled(FOLLOW_MIN, FOLLOW_MAX),
            (_, None) => Duration::ZERO,
            (_, Some(_)) => doubled(RETRY_MIN, RETRY_MAX),
        };
        self.later.insert((now + wait, digest));
    }

    /// Blobs to drop from this disk, the ones unused for longest, until the rest fits.
    fn make_room(&mut self) -> Jobs {
        let Some(cache_size) = self.cache_size else {
            return Jobs::new();
        };
        let is_copy = |leg: &Leg| leg.is_here && !leg.voyage.is_manifest && !leg.is_busy;
        let kept = |leg: &&mut Leg| leg.voyage.state == State::Pinned && is_copy(leg);
        let mut copies: Vec<_> = self.voyages.iter_mut().collect();
        copies.retain_mut(|(_, leg)| kept(leg));
        let mut size: u64 = copies.iter().map(|(_, leg)| leg.voyage.size).sum();
        if size <= cache_size {
            return Jobs::new();
        }
        copies.sort_by_key(|(_, leg)| (leg.used_at, leg.order));
        let mut jobs = Jobs::new();
        for (digest, leg) in copies {
            if size <= cache_size || jobs.len() >= DROPS_AT_A_TIME {
                break;
            }
            size -= leg.voyage.size;
            leg.is_busy = true;
            jobs.push(Job::Errand(Errand::Drop(*digest, leg.voyage.clone())));
        }
        jobs
    }

    /// Expects an image: what of it is not on the network yet.
    fn expect(&mut self, name: String, manifest: Digest, needs: &[Digest]) {
        let mut missing: HashSet<Digest> = needs.iter().copied().collect();
        missing.insert(manifest);
        missing.retain(|digest| !self.is_pinned(digest));
        if missing.is_empty() {
            self.announce(&name, &manifest);
        } else {
            self.images.insert(manifest, Image { name, missing });
        }
    }

    /// Tells of every image that is complete now that `digest` is pinned.
    fn complete(&mut self, digest: &Digest) {
        let mut complete = Vec::new();
        self.images.retain(|manifest, image| {
            let whole = image.missing.remove(digest) && image.missing.is_empty();
            if whole {
                complete.push((std::mem::take(&mut image.name), *manifest));
            }
            !whole
        });
        for (name, manifest) in complete {
            self.announce(&name, &manifest);
        }
    }

    fn announce(&self, name: &str, manifest: &Digest) {
        let cid = self.cid(manifest).unwrap_or_default();
        log::info!(cid = cid; "{name} is completely on the content network");
    }
}

/// The most drops that are begun at once.
const DROPS_AT_A_TIME: usize = 8;

/// Whether a fault says that the network as a whole is down or wants to be left alone.
fn is_weather(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Neighbour {
            trouble: Trouble::Unreachable(_)
                | Trouble::RateLimited(_)
                | Trouble::Overloaded { .. }
                | Trouble::Unauthorized(_),
            ..
        }
    )
}

impl Registry {
    /// A blob or manifest is here and may travel.
    pub(super) fn embark(&mut self, digest: Digest, voyage: Option<Voyage>) -> Jobs {
        match voyage {
            Some(voyage) if self.travel.is_open() => {
                self.travel.embark(digest, voyage, true, self.now);
                self.travel.set_out(self.now)
            }
            _ => Jobs::new(),
        }
    }

    /// Takes in what was found on disk at the start.
    pub(super) fn take_survey(&mut self, survey: Result<Survey, Fault>) -> Jobs {
        let survey = match survey {
            Ok(survey) => survey,
            Err(fault) => {
                log::error!("what has to travel is not known: {fault}");
                return Jobs::new();
            }
        };
        for (digest, voyage, is_here) in survey.voyages {
            self.travel.embark(digest, voyage, is_here, self.now);
        }
        let travel = &mut self.travel;
        let (waiting, all) = (
            travel.ready.len() + travel.later.len(),
            travel.voyages.len(),
        );
        log::info!("{waiting} of {all} blobs and manifests are still to travel");
        for (name, manifest, needs) in survey.images {
            let whole = needs
                .iter()
                .chain([&manifest])
                .all(|digest| travel.is_pinned(digest));
            if !whole {
                travel.expect(name, manifest, &needs);
            }
        }
        let mut jobs = travel.set_out(self.now);
        jobs.extend(travel.make_room());
        jobs
    }

    /// A voyage came further, or did not.
    pub(super) fn travelled(
        &mut self,
        digest: Digest,
        voyage: Voyage,
        result: Result<(), Fault>,
    ) -> Jobs {
        let state = voyage.state;
        if let Err(fault) = &result {
            log::warn!("{digest} did not get through: {fault}");
        }
        self.travel
            .arrive(digest, voyage, result.as_ref().err(), self.now);
        let mut jobs = Jobs::new();
        let waiting = match (state, &result) {
            (State::Pinned, Ok(())) => {
                self.travel.complete(&digest);
                self.travel.waiting.remove(&digest).unwrap_or_default()
            }
            (_, Err(_)) => self.travel.waiting.remove(&digest).unwrap_or_default(),
            _ => Vec::new(),
        };
        for (ticket, response, _) in waiting {
            jobs.extend(respond(
                ticket,
                match &result {
                    Ok(()) => response,
                    Err(fault) => cannot_yet(fault.summary()),
                },
            ));
        }
        jobs.extend(self.travel.set_out(self.now));
        jobs.extend(self.travel.make_room());
        jobs
    }

    /// A local copy is gone, or must stay because the network does not keep it any more.
    pub(super) fn dropped(&mut self, digest: Digest, result: Result<bool, Fault>) -> Jobs {
        let Some(leg) = self.travel.voyages.get_mut(&digest) else {
            return Jobs::new();
        };
        leg.is_busy = false;
        match result {
            Ok(true) => leg.is_here = false,
            Ok(false) => {
                log::error!("{digest} is not pinned any more and travels again");
                leg.voyage.state = State::Local;
                leg.voyage.content = None;
                self.travel.ready.insert((leg.order, digest));
            }
            Err(fault) => {
                log::warn!("the copy of {digest} stays: {fault}");
                // Not again before others had their turn.
                leg.used_at = self.now;
            }
        }
        self.travel.set_out(self.now)
    }

    /// Answers now, or, where pushes wait for the network, once it has pinned `digest`.
    pub(super) fn acknowledge(
        &mut self,
        ticket: Ticket,
        digest: Option<Digest>,
        response: Response,
    ) -> Jobs {
        match digest {
            Some(digest) if self.travel.pins_first && !self.travel.is_pinned(&digest) => {
                let waiting = self.travel.waiting.entry(digest).or_default();
                waiting.push((ticket, response, self.now));
                Jobs::new()
            }
            _ => respond(ticket, response),
        }
    }

    /// Lets time pass for voyages, and for those who wait for them.
    pub(super) fn travel_on(&mut self) -> Jobs {
        let now = self.now;
        let mut jobs = Jobs::new();
        if !self.travel.is_open() {
            return jobs;
        }
        self.travel.waiting.retain(|_, waiting| {
            let is_patient = |since: Duration| now.saturating_sub(since) < PATIENCE;
            for (ticket, ..) in waiting.extract_if(.., |(.., since)| !is_patient(*since)) {
                let cause = "the content network has not pinned it yet; it is safe on this disk";
                jobs.extend(respond(ticket, cannot_yet(cause)));
            }
            !waiting.is_empty()
        });
        jobs.extend(self.travel.set_out(now));
        jobs.extend(self.travel.make_room());
        jobs
    }

    /// Notes that a blob was pulled, so that its copy stays longer than others.
    pub(super) fn used(&mut self, digest: &Digest) {
        if let Some(leg) = self.travel.voyages.get_mut(digest) {
            leg.used_at = self.now;
        }
    }

    /// A blob was fetched back and is here again.
    pub(super) fn came_back(&mut self, digest: &Digest) {
        if let Some(leg) = self.travel.voyages.get_mut(digest) {
            leg.is_here = true;
            leg.used_at = self.now;
        }
    }

    /// Expects all of a new image on the network.
    pub(super) fn expect_image(&mut self, name: String, manifest: Digest, needs: &[Digest]) {
        if self.travel.is_open() {
            self.travel.expect(name, manifest, needs);
        }
    }
}

fn cannot_yet(cause: &str) -> Response {
    Response::fault(503, cause, Some(Duration::from_secs(30)))
}
