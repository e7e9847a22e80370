//! Travel: blobs and manifests on their way to the content network, a bounded number at a time,
//! oldest first. The queue is the disk: every blob has its voyage written beside it, and what is
//! here is only read from there, so a restart forgets nothing.
//!
//! A network that is down makes a storm: all voyages wait, one of them tries again from time to
//! time, and no push or pull notices.

mod copies;
mod image;
mod queue;

use std::time::Duration;

use super::{Errand, Job, Jobs, Registry, Ticket, respond};
use crate::catalog::voyage::{State, Voyage};
use crate::fault::Fault;
use crate::oci::request::Wanted;
use crate::oci::{Digest, Repository, Response};
use image::{Image, Waiting};
pub(super) use queue::Travel;

/// How long a push waits for the network with `acknowledge: pinned`: while it works, and in a
/// storm.
const PATIENCE: Duration = Duration::from_secs(600);
const PATIENCE_IN_STORM: Duration = Duration::from_secs(10);

/// How long a survey that failed waits for the next.
const SURVEY_RETRY: Duration = Duration::from_secs(60);

/// What was found on disk at the start.
#[derive(Debug, Default)]
pub struct Survey {
    /// Every voyage, the oldest blob first, and whether its bytes are here.
    pub voyages: Vec<(Digest, Voyage, bool)>,
    /// Every tagged manifest: its name, its digest, and all that it needs.
    pub images: Vec<(String, Digest, Vec<Digest>)>,
}

impl Registry {
    /// A blob or manifest is here and may travel.
    pub(super) fn embark(&mut self, digest: Digest, voyage: Option<Voyage>) -> Jobs {
        match voyage {
            Some(voyage) if self.travel.is_open => {
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
                self.travel.survey_at = Some(self.now + SURVEY_RETRY);
                let early = std::mem::take(&mut self.travel.early);
                return early
                    .into_iter()
                    .flat_map(|(ticket, ..)| self.turn_away(ticket, &fault))
                    .collect();
            }
        };
        let travel = &mut self.travel;
        travel.is_surveyed = true;
        for (digest, voyage, is_here) in survey.voyages {
            travel.embark(digest, voyage, is_here, self.now);
        }
        let (waiting, all) = (
            travel.ready.len() + travel.later.len(),
            travel.voyages.len(),
        );
        log::info!("{waiting} of {all} blobs and manifests are still to travel");
        for (name, manifest, needs) in survey.images {
            let mut all = needs.iter().chain([&manifest]);
            if !all.all(|digest| travel.is_pinned(digest)) {
                travel.expect(manifest, vec![name], &needs);
            }
        }
        let mut jobs = travel.set_out(self.now);
        for (ticket, repository, digest, wanted) in std::mem::take(&mut self.travel.early) {
            jobs.extend(self.send_from_afar(ticket, &repository, digest, wanted));
        }
        jobs
    }

    /// Lets pulls wait that can't be answered because nothing is known yet; gives the others back.
    pub(super) fn wait_for_survey(
        &mut self,
        pull: (Ticket, Repository, Digest, Wanted),
    ) -> Option<(Ticket, Repository, Digest, Wanted)> {
        if self.travel.is_surveyed || !self.travel.is_open {
            return Some(pull);
        }
        self.travel.early.push(pull);
        None
    }

    fn turn_away(&mut self, ticket: Ticket, fault: &Fault) -> Jobs {
        self.end_transfer(&ticket.peer);
        respond(
            ticket,
            Response::fault(503, fault.summary(), Some(SURVEY_RETRY)),
        )
    }

    /// A voyage came further, or did not.
    pub(super) fn travelled(
        &mut self,
        digest: Digest,
        voyage: Voyage,
        result: Result<(), Fault>,
    ) -> Jobs {
        let is_pinned = voyage.state == State::Pinned && result.is_ok();
        if let Err(fault) = &result {
            log::warn!("{digest} did not get through: {fault}");
        }
        let fault = result.as_ref().err();
        self.travel.arrive(digest, voyage, fault, self.now);
        let mut jobs = Jobs::new();
        if is_pinned {
            for (manifest, Image { names, waiting, .. }) in self.travel.images.complete(&digest) {
                self.travel.announce(&manifest, &names);
                for one in waiting {
                    let response = one.response.with_cid(self.travel.cid(&manifest));
                    jobs.extend(respond(one.ticket, response));
                }
            }
        } else if let Some(fault) = fault {
            let waiting = self.travel.images.waiting_for(&digest);
            jobs.extend(disappoint(waiting, fault.summary()));
        }
        jobs.extend(self.travel.set_out(self.now));
        jobs
    }

    /// A local copy is gone, or must stay because the network does not keep it any more.
    pub(super) fn dropped(&mut self, digest: Digest, result: Result<bool, Fault>) -> Jobs {
        let travel = &mut self.travel;
        travel.copies.dropping = travel.copies.dropping.saturating_sub(1);
        travel.look_at_sky(result.as_ref().err(), self.now);
        if let Some(leg) = travel.voyages.get_mut(&digest) {
            leg.is_busy = false;
            match result {
                Ok(true) => leg.is_here = false,
                Ok(false) => {
                    log::error!("{digest} is not pinned any more and travels again");
                    leg.voyage.state = State::Failed;
                    leg.voyage.content = None;
                    travel.ready.insert((leg.failures, leg.order, digest));
                }
                Err(fault) => {
                    log::warn!("the copy of {digest} stays: {fault}");
                    // Not again before others had their turn.
                    leg.used_at = self.now;
                }
            }
            travel.list_copy(&digest);
        }
        travel.set_out(self.now)
    }

    /// Answers now, or, where pushes wait for the network, once it has pinned `digest` and all
    /// that it needs.
    pub(super) fn acknowledge(
        &mut self,
        ticket: Ticket,
        digest: Option<Digest>,
        response: Response,
    ) -> Jobs {
        let Some(digest) = digest else {
            return respond(ticket, response);
        };
        let response = response.with_cid(self.travel.cid(&digest));
        if !self.travel.pins_first {
            return respond(ticket, response);
        }
        self.travel.expect(digest, Vec::new(), &[]);
        if self.travel.images.missing(&digest).is_none() {
            return respond(ticket, response);
        }
        let since = self.now;
        self.travel.images.wait(
            digest,
            Waiting {
                ticket,
                response,
                since,
            },
        );
        Jobs::new()
    }

    /// Lets time pass for voyages, and for those who wait for them.
    pub(super) fn travel_on(&mut self) -> Jobs {
        let now = self.now;
        let travel = &mut self.travel;
        if !travel.is_open {
            return Jobs::new();
        }
        let mut jobs = Jobs::new();
        if travel.survey_at.is_some_and(|at| at <= now) {
            travel.survey_at = None;
            jobs.push(Job::Errand(Errand::Survey));
        }
        if travel.pins_first {
            let (patience, cause) = match &travel.storm {
                Some(storm) if now.saturating_sub(storm.since) >= PATIENCE_IN_STORM => {
                    (Duration::ZERO, storm.cause)
                }
                _ => (PATIENCE, "the content network has not pinned it yet"),
            };
            if let Some(since) = now.checked_sub(patience) {
                jobs.extend(disappoint(travel.images.waiting_since(since), cause));
            }
        }
        jobs.extend(travel.set_out(now));
        jobs
    }

    /// Notes that a blob was pulled, so that its copy stays longer than others.
    pub(super) fn used(&mut self, digest: &Digest) {
        if let Some(leg) = self.travel.voyages.get_mut(digest) {
            leg.used_at = self.now;
            self.travel.list_copy(digest);
        }
    }

    /// A blob was fetched back and is here again.
    pub(super) fn came_back(&mut self, digest: &Digest) {
        if let Some(leg) = self.travel.voyages.get_mut(digest) {
            leg.is_here = true;
            leg.is_missed = false;
            leg.used_at = self.now;
            self.travel.list_copy(digest);
        }
    }

    /// The network does not have a blob that it should. Pulls go on asking it; a client that asks
    /// whether the blob is here, to push it if not, is told that it is not.
    pub(super) fn missed(&mut self, digest: &Digest) {
        if let Some(leg) = self.travel.voyages.get_mut(digest) {
            leg.is_missed = true;
        }
    }

    /// Expects all of a new image on the network, which has these names there.
    pub(super) fn expect_image(&mut self, digest: Digest, names: Vec<String>, needs: &[Digest]) {
        if self.travel.is_open {
            self.travel.expect(digest, names, needs);
        }
    }
}

/// Tells those who wait that the network can't pin what they pushed.
fn disappoint(waiting: Vec<Waiting>, cause: &str) -> Jobs {
    let waiting = waiting.into_iter();
    waiting
        .flat_map(|one| respond(one.ticket, cannot_yet(cause)))
        .collect()
}

fn cannot_yet(cause: &str) -> Response {
    let cause = format!("{cause}; what was sent is safe on the registry's disk");
    Response::fault(503, &cause, Some(Duration::from_secs(30)))
}
