//! Transitions: from what is known of a pin, and what the network said, to what is known then.
//! Pure functions: what they decide can be tried without a network, a disk, or time.
//!
//! ```text
//! Queued ──▶ Uploading ──▶ Stored ──▶ Pinned
//!   ▲  ▲         │            │          │
//!   │  └── cut ──┤            ▼          ▼
//!   └─ not found ┘          Failed (is looked for, and uploaded again)
//! ```

use std::time::Duration;

use crate::fault::Fault;
use crate::ipfs;
use crate::store::pin::{Pin, State};

/// How long a pin that failed waits for its next attempt: at first, and at most.
pub const RETRY_MIN: Duration = Duration::from_secs(1);
/// See [`RETRY_MIN`].
pub const RETRY_MAX: Duration = Duration::from_secs(600);
/// How long a network that is down is left alone, at most.
pub const OUTAGE_MAX: Duration = Duration::from_secs(60);
/// How often a network is asked whether it has pinned something: at first, and at most.
const FOLLOW_MIN: Duration = Duration::from_millis(500);
const FOLLOW_MAX: Duration = Duration::from_secs(60);

/// What is to be done with a pin that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Upload it.
    Upload,
    /// Look first whether an earlier upload brought it, then upload it.
    Find,
    /// Ask how far it is.
    Follow,
    /// Ask whether it is still kept.
    Recheck,
    /// Its bytes are not here: look whether the network has them after all.
    Recover,
}

/// What is to be done, where its bytes are here or not.
pub fn step(pin: &Pin, is_here: bool) -> Step {
    let is_first = pin.state == State::Queued && pin.attempts == 0;
    match pin.state {
        State::Pinned => Step::Recheck,
        State::Stored => Step::Follow,
        _ if !is_here => Step::Recover,
        _ if is_first => Step::Upload,
        _ => Step::Find,
    }
}

/// What a step came to.
#[derive(Debug)]
pub enum Heard<'h> {
    /// An upload begins.
    Begins,
    /// The network has it, under that remote id: it was uploaded, or found.
    Stored(Option<String>),
    /// It was looked for in vain, and an upload may take so long to arrive.
    NotFound(Duration),
    /// An upload failed. `is_sent` is whether all of it had been sent; None if nothing was opened.
    NotUploaded(&'h Fault, Option<bool>),
    /// It is not pinned yet.
    Waiting,
    /// It is pinned, or still is.
    Pinned,
    /// The network had it and does not keep it.
    Lost(&'h str),
    /// It is neither here nor there.
    Gone(&'h str),
    /// A question got no answer, or none that helps.
    Unanswered(&'h Fault),
}

/// When it was heard, in milliseconds since 1970, and how long until a pin is asked for again.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Now.
    pub now: i64,
    /// From one confirmation to the next question.
    pub recheck: Duration,
}

/// What is known of a pin after that.
pub fn next(pin: &Pin, heard: &Heard, at: Moment) -> Pin {
    let mut next = pin.clone();
    let tried = |next: &mut Pin, cause: &str, wait: Duration| {
        next.cause = Some(cause.to_owned());
        next.attempts = pin.attempts.saturating_add(1);
        next.due_at = Some(at.now + millis(wait));
    };
    let retry = |wait_max| doubled(RETRY_MIN, pin.attempts, wait_max);
    match heard {
        Heard::Begins => {
            next.state = State::Uploading;
            next.lost_at = None;
        }
        Heard::Stored(remote) => {
            next.state = State::Stored;
            next.remote = remote.clone();
            next.lost_at = None;
            next.cause = None;
            next.due_at = Some(at.now);
        }
        Heard::NotFound(_) => {
            next.lost_at = pin.lost_at.or(Some(at.now));
            let cause = "an upload may still arrive, and is looked for again";
            tried(&mut next, cause, retry(RETRY_MAX));
        }
        Heard::NotUploaded(fault, is_sent) => {
            (next.state, next.lost_at) = not_uploaded(pin, fault, *is_sent, at.now);
            tried(&mut next, &fault.to_string(), retry(wait_max(fault)));
        }
        Heard::Waiting => {
            next.cause = None;
            next.attempts = pin.attempts.saturating_add(1);
            let wait = doubled(FOLLOW_MIN, pin.attempts, FOLLOW_MAX);
            next.due_at = Some(at.now + millis(wait));
        }
        Heard::Pinned => {
            next.state = State::Pinned;
            next.attempts = 0;
            next.cause = None;
            next.lost_at = None;
            next.confirmed_at = Some(at.now);
            next.due_at = Some(at.now + millis(at.recheck));
        }
        Heard::Lost(cause) => {
            next.state = State::Failed;
            next.remote = None;
            let was_pinned = pin.state == State::Pinned;
            let wait = if was_pinned {
                Duration::ZERO
            } else {
                retry(RETRY_MAX)
            };
            tried(&mut next, cause, wait);
        }
        Heard::Gone(cause) => {
            next.state = State::Failed;
            next.remote = None;
            tried(&mut next, cause, at.recheck);
        }
        Heard::Unanswered(fault) => tried(&mut next, &fault.to_string(), retry(wait_max(fault))),
    }
    next
}

/// The state of what could not be uploaded, and since when nobody knows whether it was.
fn not_uploaded(pin: &Pin, fault: &Fault, is_sent: Option<bool>, now: i64) -> (State, Option<i64>) {
    match is_sent {
        // What was in doubt before is so still.
        None if pin.state == State::Uploading => (pin.state, pin.lost_at.or(Some(now))),
        Some(true) if ipfs::may_be_taken(fault) => (State::Uploading, Some(now)),
        _ if fault.retry_after().is_some() => (State::Queued, None),
        _ => (State::Failed, None),
    }
}

/// Whether an upload whose end is not known must have arrived by now, so that what is not found is
/// not there.
pub fn has_arrived(pin: &Pin, arrival_time: Duration, now: i64) -> bool {
    match (pin.state, pin.lost_at) {
        (State::Uploading, Some(lost_at)) => now - lost_at >= millis(arrival_time),
        // It was under way when an earlier process ended.
        (State::Uploading, None) => arrival_time.is_zero(),
        _ => true,
    }
}

fn wait_max(fault: &Fault) -> Duration {
    match ipfs::is_silence(fault) {
        true => OUTAGE_MAX,
        false => RETRY_MAX,
    }
}

fn doubled(min: Duration, times: u32, max: Duration) -> Duration {
    (min * (1 << times.min(12))).min(max)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
}
