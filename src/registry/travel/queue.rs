//! The queue: every voyage, when it goes on, and the weather that all of them have in common.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::copies::{Copies, Copy};
use super::image::Images;
use crate::catalog::voyage::{State, Voyage};
use crate::cid::Cid;
use crate::config::{Acknowledge, Travels};
use crate::fault::{Fault, Trouble};
use crate::oci::request::Wanted;
use crate::oci::{Digest, Repository};
use crate::registry::{Errand, Job, Jobs, Ticket};

/// How long a voyage that failed waits for its next try: at first, and at most.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(600);
/// How long a storm lasts until the network is tried again, at most.
const STORM_MAX: Duration = Duration::from_secs(60);
/// How often a network is asked whether it has pinned something: at first, and at most.
const FOLLOW_MIN: Duration = Duration::from_millis(500);
const FOLLOW_MAX: Duration = Duration::from_secs(60);
/// All voyages, and who waits for them.
#[derive(Debug, Default)]
pub(in crate::registry) struct Travel {
    /// Whether there is a network.
    pub(super) is_open: bool,
    /// The most voyages under way at a time; 0 where nothing may change.
    pub(super) at_a_time: usize,
    /// Whether a push waits until the network has pinned what came.
    pub(super) pins_first: bool,
    /// When the disk is to be surveyed; None if it was, or is being.
    pub(super) survey_at: Option<Duration>,
    pub(super) is_surveyed: bool,
    pub(super) voyages: HashMap<Digest, Leg>,
    /// Those that may set out: who failed least, then the oldest.
    pub(super) ready: BTreeSet<(u32, u64, Digest)>,
    pub(super) later: BTreeSet<(Duration, Digest)>,
    pub(super) under_way: usize,
    pub(super) storm: Option<Storm>,
    pub(super) copies: Copies,
    pub(super) images: Images,
    /// Pulls that came before the survey.
    pub(super) early: Vec<(Ticket, Repository, Digest, Wanted)>,
    pub(super) next_order: u64,
}

/// A voyage and what this process knows of it besides.
#[derive(Debug)]
pub(super) struct Leg {
    pub voyage: Voyage,
    pub order: u64,
    /// Failures since it last was pinned.
    pub failures: u32,
    /// Questions whether it is pinned.
    pub questions: u32,
    pub is_busy: bool,
    pub is_here: bool,
    /// Whether the network did not have it when it was last fetched, though it should.
    pub is_missed: bool,
    pub used_at: Duration,
    /// When it goes on, if it waits for that.
    pub due: Option<Duration>,
    /// As what it is listed among the copies that can be dropped.
    pub listed: Option<Copy>,
}

#[derive(Debug)]
pub(super) struct Storm {
    pub since: Duration,
    pub until: Duration,
    pub lasts: Duration,
    /// What clients are told of it.
    pub cause: &'static str,
}

impl Travel {
    /// Travel as it is configured, or none; where nothing may change, only what is known of it.
    pub fn new(travels: Option<Travels>, read_only: bool) -> Travel {
        let Some(travels) = travels else {
            return Travel::default();
        };
        let (at_a_time, size_max) = match read_only {
            true => (0, None),
            false => (travels.maxthreads, travels.cache_size),
        };
        Travel {
            is_open: true,
            at_a_time,
            pins_first: travels.acknowledge == Acknowledge::Pinned,
            survey_at: Some(Duration::ZERO),
            copies: Copies::new(size_max),
            ..Travel::default()
        }
    }

    /// Whether there is a network to travel to.
    pub fn is_open(&self) -> bool {
        self.is_open
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

    /// Whether the network did not have a blob when it was last fetched, though it should.
    pub fn is_missed(&self, digest: &Digest) -> bool {
        let leg = self.voyages.get(digest);
        leg.is_some_and(|leg| leg.is_missed)
    }

    pub(super) fn is_pinned(&self, digest: &Digest) -> bool {
        self.voyages
            .get(digest)
            .is_some_and(|leg| leg.voyage.state == State::Pinned)
    }

    /// Takes in a blob or manifest. One that comes again need not wait for its next try.
    pub(super) fn embark(&mut self, digest: Digest, voyage: Voyage, is_here: bool, now: Duration) {
        if let Some(leg) = self.voyages.get_mut(&digest) {
            leg.is_here |= is_here;
            leg.used_at = now;
            leg.voyage.is_manifest |= voyage.is_manifest;
            if is_here && std::mem::take(&mut leg.is_missed) && !leg.is_busy {
                // What the network lost is looked up before it is sent again, as after a fault.
                leg.voyage.state = State::Failed;
                leg.voyage.content = None;
                self.ready.insert((leg.failures, leg.order, digest));
            }
            if let Some(due) = leg.due.take() {
                self.later.remove(&(due, digest));
                self.ready.insert((leg.failures, leg.order, digest));
            }
            self.list_copy(&digest);
            return;
        }
        let order = self.next_order;
        self.next_order += 1;
        if voyage.state != State::Pinned {
            self.ready.insert((0, order, digest));
        }
        let leg = Leg {
            voyage,
            order,
            failures: 0,
            questions: 0,
            is_busy: false,
            is_here,
            is_missed: false,
            used_at: now,
            due: None,
            listed: None,
        };
        self.voyages.insert(digest, leg);
        self.list_copy(&digest);
    }

    /// Lists what is here, and need not be, among the copies.
    pub(super) fn list_copy(&mut self, digest: &Digest) {
        let Some(leg) = self.voyages.get_mut(digest) else {
            return;
        };
        if let Some(copy) = leg.listed.take() {
            self.copies.unlist(&copy);
        }
        let Voyage {
            size,
            state,
            is_manifest,
            ..
        } = leg.voyage;
        if state == State::Pinned && leg.is_here && !is_manifest && !leg.is_busy {
            let copy = (leg.used_at, leg.order, *digest, size);
            leg.listed = self.copies.list(copy).then_some(copy);
        }
    }

    /// How many of so many may go out now. In a storm it is one, to see whether it is over.
    fn at_most(&self, at_a_time: usize, now: Duration) -> usize {
        match &self.storm {
            Some(storm) if now < storm.until => 0,
            Some(_) => at_a_time.min(1),
            None => at_a_time,
        }
    }

    /// The next voyages to set out, and the next copies to drop.
    pub(super) fn set_out(&mut self, now: Duration) -> Jobs {
        let mut jobs = Jobs::new();
        while let Some((due, digest)) = self.later.first().copied()
            && due <= now
        {
            self.later.remove(&(due, digest));
            if let Some(leg) = self.voyages.get_mut(&digest) {
                leg.due = None;
                self.ready.insert((leg.failures, leg.order, digest));
            }
        }
        while self.under_way < self.at_most(self.at_a_time, now)
            && let Some((.., digest)) = self.ready.pop_first()
        {
            if let Some(leg) = self.voyages.get_mut(&digest) {
                leg.is_busy = true;
                self.under_way += 1;
                jobs.push(Job::Errand(Errand::Travel(digest, leg.voyage.clone())));
            }
        }
        while let Some(copy) = self.copies.next(self.at_most(usize::MAX, now)) {
            self.copies.unlist(&copy);
            if let Some(leg) = self.voyages.get_mut(&copy.2) {
                leg.listed = None;
                leg.is_busy = true;
                self.copies.dropping += 1;
                jobs.push(Job::Errand(Errand::Drop(copy.2, leg.voyage.clone())));
            }
        }
        jobs
    }

    /// Takes in how far a voyage came, and when it goes on.
    pub(super) fn arrive(
        &mut self,
        digest: Digest,
        voyage: Voyage,
        fault: Option<&Fault>,
        now: Duration,
    ) {
        self.under_way = self.under_way.saturating_sub(1);
        self.look_at_sky(fault, now);
        let Some(leg) = self.voyages.get_mut(&digest) else {
            return;
        };
        leg.is_busy = false;
        let is_manifest = leg.voyage.is_manifest;
        leg.voyage = voyage;
        leg.voyage.is_manifest |= is_manifest;
        let doubled = |min: Duration, times: u32, max| (min * (1 << times.min(10))).min(max);
        let wait = match (leg.voyage.state, fault) {
            (State::Pinned, None) => {
                (leg.failures, leg.questions) = (0, 0);
                None
            }
            (State::Stored, None) => {
                let wait = doubled(FOLLOW_MIN, leg.questions, FOLLOW_MAX);
                leg.questions += 1;
                Some(wait)
            }
            _ => {
                let wait_max = match fault.is_some_and(is_silence) {
                    true => STORM_MAX,
                    false => RETRY_MAX,
                };
                let wait = doubled(RETRY_MIN, leg.failures, wait_max);
                leg.failures += 1;
                Some(wait)
            }
        };
        leg.due = wait.map(|wait| now + wait);
        if let Some(due) = leg.due {
            self.later.insert((due, digest));
        }
        self.list_copy(&digest);
    }

    /// Sees from what became of one errand how the network as a whole is.
    pub(super) fn look_at_sky(&mut self, fault: Option<&Fault>, now: Duration) {
        let Some(fault) = fault.filter(|fault| is_weather(fault)) else {
            if self.storm.take().is_some() {
                log::info!("the content network answers again");
            }
            return;
        };
        let asked_for = match fault {
            Fault::Neighbour {
                trouble: Trouble::RateLimited(Some(wait)),
                ..
            } => *wait,
            _ => Duration::ZERO,
        };
        let (since, lasts) = match &self.storm {
            // Of those who were out when it began, each brings the same news.
            Some(storm) if now < storm.until => (storm.since, storm.lasts),
            Some(storm) => (storm.since, (storm.lasts * 2).min(STORM_MAX)),
            None => {
                log::warn!("the content network fails; what comes in waits on this disk");
                (now, RETRY_MIN)
            }
        };
        let until = now + lasts.max(asked_for.min(RETRY_MAX));
        let cause = fault.summary();
        self.storm = Some(Storm {
            since,
            until,
            lasts,
            cause,
        });
    }

    /// Expects an image: what of it is not on the network yet.
    pub(super) fn expect(&mut self, digest: Digest, names: Vec<String>, needs: &[Digest]) {
        let mut missing: HashSet<Digest> = needs.iter().copied().collect();
        // What the manifests in an index need is needed by the index.
        let within: Vec<_> = needs
            .iter()
            .filter_map(|need| self.images.missing(need))
            .collect();
        missing.extend(within.into_iter().flatten());
        missing.insert(digest);
        missing.retain(|digest| !self.is_pinned(digest));
        if missing.is_empty() {
            self.announce(&digest, &names);
        } else {
            self.images.expect(digest, names, &missing);
        }
    }

    pub(super) fn announce(&self, digest: &Digest, names: &[String]) {
        let cid = self.cid(digest).unwrap_or_default();
        for name in names {
            log::info!(cid = cid; "{name} is completely on the content network");
        }
    }
}

/// Whether a fault says that the network as a whole is down or wants to be left alone.
fn is_weather(fault: &Fault) -> bool {
    let trouble = match fault {
        Fault::Neighbour { trouble, .. } => trouble,
        _ => return false,
    };
    is_silence(fault) || matches!(trouble, Trouble::Overloaded { .. })
}

/// Whether a fault has nothing to do with what was sent. A 5xx may: it can come of a blob that is
/// too much for the one who takes it.
fn is_silence(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Neighbour {
            trouble: Trouble::Unreachable(_) | Trouble::RateLimited(_) | Trouble::Unauthorized(_),
            ..
        }
    )
}
