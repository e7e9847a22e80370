//! What all loops share: the store as long as it is open, how they are stopped, and what becomes
//! of one that fails.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::bell::Bell;
use super::health::Health;
use super::pace::Load;
use crate::fault::Fault;
use crate::store::{Failure, Store};

/// How long a loop that failed waits before it goes on.
const RETRY: Duration = Duration::from_secs(10);

/// What all background work shares.
pub struct Core {
    /// None once it has stopped: whoever is still waiting for a network then finds nothing to
    /// write to, as after a kill.
    store: Mutex<Option<Arc<Store>>>,
    is_stopped: AtomicBool,
    bells: Mutex<Vec<Bell>>,
    threads: Mutex<usize>,
    thread_ended: Condvar,
    /// How long a loop that failed waits before it goes on.
    retry: Duration,
    /// Since when times are counted.
    pub began: Instant,
    pub health: Health,
    pub load: Load,
}

/// When a loop goes on.
pub enum Next {
    /// When it is woken.
    Woken,
    /// Then, or when it is woken.
    Within(Duration),
}

impl Core {
    pub fn new(store: Arc<Store>, health: Health, load: Load) -> Core {
        Core {
            store: Mutex::new(Some(store)),
            is_stopped: AtomicBool::new(false),
            bells: Mutex::default(),
            threads: Mutex::default(),
            thread_ended: Condvar::new(),
            retry: RETRY,
            began: Instant::now(),
            health,
            load,
        }
    }

    /// The store, for one operation.
    pub fn store(&self) -> Result<Arc<Store>, Fault> {
        let store = lock(&self.store).clone();
        store.ok_or_else(|| {
            let cause = io::Error::other("background work has stopped");
            Fault::disk("use", "the store", cause)
        })
    }

    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// The time since this began.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A bell that rings at the end as well.
    pub fn bell(&self) -> Bell {
        let bell = Bell::default();
        lock(&self.bells).push(bell.clone());
        bell
    }

    /// Runs work in a thread of its own. A panic in it is logged.
    pub fn start(
        self: &Arc<Self>,
        name: &str,
        work: impl FnOnce(&Arc<Core>) + Send + 'static,
    ) -> Result<(), Fault> {
        let core = Arc::clone(self);
        *lock(&core.threads) += 1;
        let run = move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&core))) {
                log::error!("{}", panicked(&*panic));
            }
            core.end_thread();
        };
        match thread::Builder::new().name(name.to_owned()).spawn(run) {
            Ok(_) => Ok(()),
            Err(err) => {
                self.end_thread();
                Err(Fault::panicked(format!("no thread can be started: {err}")))
            }
        }
    }

    fn end_thread(&self) {
        *lock(&self.threads) -= 1;
        self.thread_ended.notify_all();
    }

    /// Runs rounds until the end, in a thread of its own. A round that fails is said in the log and
    /// by health, and tried again.
    pub fn run_loop(
        self: &Arc<Self>,
        name: &'static str,
        bell: Bell,
        mut round: impl FnMut() -> Result<Next, Fault> + Send + 'static,
    ) -> Result<(), Fault> {
        self.start(name, move |core| {
            while !core.is_stopped() {
                let ran = catch_unwind(AssertUnwindSafe(&mut round));
                let ran = ran.unwrap_or_else(|panic| Err(panicked(&*panic)));
                match ran {
                    Ok(next) => {
                        core.health.work_goes_on(name);
                        bell.wait(match next {
                            Next::Woken => None,
                            Next::Within(time_max) => Some(time_max),
                        });
                    }
                    Err(_) if core.is_stopped() => break,
                    Err(fault) => {
                        core.health.work_failed(name, &fault);
                        // Whoever wakes it would only have it fail again.
                        core.rest(core.retry);
                    }
                }
            }
        })
    }

    /// Waits so long, or until the end.
    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut threads = lock(&self.threads);
        while !self.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            threads = match self.thread_ended.wait_timeout(threads, left) {
                Ok((threads, _)) => threads,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Ends all loops, and waits for them for at most so long. Whoever waits for a network longer
    /// than that can change nothing any more.
    pub fn stop(&self, time_max: Duration) {
        if self.is_stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        lock(&self.bells).iter().for_each(Bell::ring);
        let until = Instant::now() + time_max;
        let mut threads = lock(&self.threads);
        self.thread_ended.notify_all();
        while *threads > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                log::info!("{threads} threads still wait for a network, and are left behind");
                break;
            }
            threads = match self.thread_ended.wait_timeout(threads, left) {
                Ok((threads, _)) => threads,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        drop(threads);
        lock(&self.store).take();
    }
}

/// A lock around what is never left half done.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A failure of the store where no rule can have refused what was asked.
pub fn fault(failure: Failure) -> Fault {
    match failure {
        Failure::Fault(fault) => fault,
        Failure::Refused(refusal) => Fault::panicked(refusal.to_string()),
    }
}

pub fn panicked(panic: &(dyn std::any::Any + Send)) -> Fault {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Fault::panicked(text.unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::disk::Root;

    fn core(retry: Duration) -> (tempfile::TempDir, Arc<Core>) {
        let dir = tempfile::TempDir::new().expect("a folder");
        let store = Store::open(&Root::open(dir.path()).expect("a root"), None).expect("a store");
        let mut core = Core::new(Arc::new(store), Health::default(), Load::default());
        core.retry = retry;
        (dir, Arc::new(core))
    }

    /// A loop whose rounds go as `go` says, and each of which is told.
    fn rounds(core: &Arc<Core>, go: fn(u32) -> Result<Next, Fault>) -> Receiver<u32> {
        let (told, rounds) = channel();
        let mut number = 0;
        let round = move || {
            number += 1;
            // Whoever has seen enough listens no more.
            let _ = told.send(number);
            go(number)
        };
        core.run_loop("work", core.bell(), round).expect("a thread");
        rounds
    }

    #[test]
    fn work_that_fails_or_panics_is_tried_again_until_it_goes_on() {
        let (_dir, core) = core(Duration::ZERO);
        let rounds = rounds(&core, |number| match number {
            1 => Err(Fault::panicked("no thread can be started")),
            2 => panic!("on purpose"),
            _ => Ok(Next::Woken),
        });
        assert_eq!(rounds.iter().take(3).collect::<Vec<_>>(), [1, 2, 3]);
        core.stop(Duration::from_secs(60));
        assert_eq!(rounds.recv().ok(), None, "it has ended");
        assert!(core.health.causes().is_empty(), "it went on");
        assert!(core.store().is_err());
    }

    #[test]
    fn what_fails_is_known_to_health_and_can_be_stopped_while_it_rests() {
        let (_dir, core) = core(Duration::MAX / 4);
        let rounds = rounds(&core, |_| Err(Fault::panicked("no thread can be started")));
        assert_eq!(rounds.recv(), Ok(1));
        // The round has been told, but not yet its end.
        while core.health.causes().is_empty() {
            thread::yield_now();
        }
        assert!(core.health.causes()["work"].contains("no thread"));
        core.stop(Duration::from_secs(60));
        assert_eq!(rounds.recv().ok(), None, "it has ended");
    }
}
