//! Outages: a network that is down is noticed once, not by every blob. While it lasts, one attempt
//! at a time looks from time to time whether it is over.

use std::time::Duration;

use super::transition::{OUTAGE_MAX, RETRY_MAX, RETRY_MIN};
use crate::fault::Fault;
use crate::ipfs;

/// Whether a network is down. Times are since any fixed moment.
#[derive(Clone, Debug, Default)]
pub struct Outage(Option<Down>);

#[derive(Clone, Debug)]
struct Down {
    since: Duration,
    /// Until when it is left alone.
    until: Duration,
    /// For how long it is left alone after each vain attempt.
    pause: Duration,
    cause: Fault,
}

/// What an answer, or none, says of a network that was thought to be otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It fails now.
    Began,
    /// It answers again.
    Ended,
}

impl Outage {
    /// Takes in what became of one attempt, and tells if that is news.
    pub fn note(&mut self, result: Result<(), &Fault>, now: Duration) -> Option<Change> {
        let fault = match result {
            Ok(()) => return self.0.take().map(|_| Change::Ended),
            Err(fault) if ipfs::is_outage(fault) => fault,
            // The network answered, if it was the network that was asked.
            Err(Fault::Neighbour { .. }) => return self.0.take().map(|_| Change::Ended),
            Err(_) => return None,
        };
        let (since, pause) = match &self.0 {
            // Of those who were under way when it began, each brings the same news.
            Some(down) if now < down.until => (down.since, down.pause),
            Some(down) => (down.since, (down.pause * 2).min(OUTAGE_MAX)),
            None => (now, RETRY_MIN),
        };
        let is_new = self.0.is_none();
        let until = now + pause.max(ipfs::asked_for(fault).min(RETRY_MAX));
        let cause = fault.clone();
        self.0 = Some(Down {
            since,
            until,
            pause,
            cause,
        });
        is_new.then_some(Change::Began)
    }

    /// How many of so many attempts may be under way now.
    pub fn at_most(&self, at_a_time: usize, now: Duration) -> usize {
        match &self.0 {
            Some(down) if now < down.until => 0,
            Some(_) => at_a_time.min(1),
            None => at_a_time,
        }
    }

    /// How long the network is still left alone; None if it is not.
    pub fn pause(&self, now: Duration) -> Option<Duration> {
        let until = self.0.as_ref()?.until;
        until.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// Since when the network is down, and why.
    pub fn cause(&self) -> Option<(Duration, &Fault)> {
        self.0.as_ref().map(|down| (down.since, &down.cause))
    }
}
