//! What wakes a loop, and what stops all of them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Wakes whoever waits at it. A ring that nobody waited for is kept for the next one who comes.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    /// Wakes whoever waits, or the next one.
    pub fn ring(&self) {
        *self.lock() = true;
        self.0.1.notify_all();
    }

    /// Waits until it rings, at most for `time_max`; None waits for nothing else.
    pub fn wait(&self, time_max: Option<Duration>) {
        let until = time_max.map(|time_max| Instant::now() + time_max);
        let mut rung = self.lock();
        while !*rung {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            rung = match left {
                Some(Duration::ZERO) => return,
                // A lock around a flag is never left half done.
                Some(left) => match self.0.1.wait_timeout(rung, left) {
                    Ok((rung, _)) => rung,
                    Err(poisoned) => poisoned.into_inner().0,
                },
                None => match self.0.1.wait(rung) {
                    Ok(rung) => rung,
                    Err(poisoned) => poisoned.into_inner(),
                },
            };
        }
        *rung = false;
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
