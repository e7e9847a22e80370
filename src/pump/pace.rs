//! How those who travel stand back behind those who push and pull.
//!
//! To be nice to them (nice(2)) is not all: what travels also has to be taken by somebody, who may
//! be on this machine, and takes cache and memory from everybody. So, while clients are served, a
//! traveller works for a small part of the time. The part is one of the processor's time and not
//! of the clock's: over a thin line, where to send costs little, it never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_gettime};

/// As far behind as one can be.
const NICENESS: i32 = 19;
/// How many times as long as it worked a traveller then waits, while clients are served.
const WAIT: u32 = 40;

/// Lets every other thread go first, from now on.
pub(super) fn let_others_first() {
    // On Linux this is about the calling thread alone. A system that does not allow it has all
    // threads share alike, which is no fault.
    let _ = setpriority_process(None, NICENESS);
}

/// How many bodies are under way between clients and the disk. Each has its thread; a number that
/// they add to is all they share.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic(Arc<AtomicUsize>);

/// A body under way, until it is dropped.
pub(super) struct Passage(Traffic);

impl Traffic {
    /// Counts a body.
    pub(super) fn join(&self) -> Passage {
        self.0.fetch_add(1, Ordering::Relaxed);
        Passage(self.clone())
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The pace of one traveller, in its own thread.
#[derive(Debug)]
pub(super) struct Pace {
    traffic: Traffic,
    /// The processor's time of this thread when it last set out.
    since: Duration,
}

impl Pace {
    /// Sets out, in this thread.
    pub(super) fn begin(traffic: &Traffic) -> Pace {
        Pace {
            traffic: traffic.clone(),
            since: worked(),
        }
    }

    /// Stands back for as long as it should, after the work since it last did.
    pub(super) fn stand_back(&mut self) {
        if self.traffic.0.load(Ordering::Relaxed) > 0 {
            thread::sleep((worked() - self.since) * WAIT);
        }
        self.since = worked();
    }
}

/// The processor's time that this thread has had.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // A time that counts from the thread's beginning is never negative.
    Duration::try_from(time).unwrap_or_default()
}
