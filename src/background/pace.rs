//! The pace of background work: it stands back behind clients.
//!
//! To send a blob over a fast network takes a processor, and on a small machine whoever is served
//! would share it. A low priority is not enough: some systems, gVisor for one, do not act on it.
//! So whoever uploads counts how long the processor worked for it, and while clients are served it
//! waits a multiple of that: it never takes more than a small part, whatever the machine. Where
//! clients rest it does not wait at all, and over a thin line, where to send costs little, it never
//! waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_gettime};

/// As far behind as one can be.
const NICENESS: i32 = 19;
/// How many times as long as it worked an upload then waits, while clients are served.
const WAIT: u32 = 40;

/// Lets every other thread go first, from now on.
pub(super) fn let_others_first() {
    // On Linux this is about the calling thread alone. A system that does not allow it has all
    // threads share alike, which is no fault.
    let _ = setpriority_process(None, NICENESS);
}

/// How many bodies are under way between clients and the disk: the server counts them, and
/// background work stands back while there are any.
#[derive(Clone, Debug, Default)]
pub struct Load(Arc<AtomicUsize>);

/// A body under way, until it is dropped.
#[derive(Debug)]
pub struct Underway(Load);

impl Load {
    /// Counts a body.
    pub fn begin(&self) -> Underway {
        self.0.fetch_add(1, Ordering::Relaxed);
        Underway(self.clone())
    }

    fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The pace of one upload, in its own thread.
#[derive(Debug)]
pub(super) struct Pace {
    load: Load,
    /// The processor's time of this thread when it last went on.
    since: Duration,
}

impl Pace {
    /// Begins, in this thread.
    pub(super) fn begin(load: &Load) -> Pace {
        Pace {
            load: load.clone(),
            since: worked(),
        }
    }

    /// Stands back for as long as it should, after the work since it last did.
    pub(super) fn stand_back(&mut self) {
        if self.load.is_any() {
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
