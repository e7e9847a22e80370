//! Lanes: what is to be done next, and what has to wait for a registry's quota.

use std::collections::VecDeque;
use std::time::Duration;

use super::job::{Job, Task};
use super::quota::Quota;

/// Jobs in the order in which they are to be done. What was begun is finished before anything
/// else is begun, so that few manifests are held at a time.
#[derive(Default)]
pub struct Lanes {
    /// Blobs, manifests to keep, questions to the destination: the newest first.
    begun: Vec<Job>,
    /// Manifests to get from the source, which may count them.
    pulls: VecDeque<Job>,
    /// Tags that nobody has looked at yet.
    tags: VecDeque<Job>,
    /// Pulls that are under way.
    pulling: u64,
    /// Pulls that the source allows, as far as it said.
    remaining: Option<u64>,
    /// Since when the source has refused pulls without saying for how long: how many times.
    refusals: u32,
    /// No pull before this time.
    pulls_after: Duration,
    /// No job at all before this time.
    all_after: Duration,
}

impl Lanes {
    /// Adds a job that belongs to something begun.
    pub fn go_on(&mut self, job: Job) {
        self.begun.push(job);
    }

    /// Adds a pull: before all others if it is part of an index that is under way.
    pub fn pull(&mut self, job: Job, is_part: bool) {
        if is_part {
            self.pulls.push_front(job);
        } else {
            self.pulls.push_back(job);
        }
    }

    /// Adds a tag to look at.
    pub fn begin(&mut self, job: Job) {
        self.tags.push_back(job);
    }

    /// Whether nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.pulls.is_empty() && self.tags.is_empty()
    }

    /// The next job that may be done now.
    pub fn next(&mut self, now: Duration) -> Option<Job> {
        if now < self.all_after {
            return None;
        }
        self.begun
            .pop()
            .or_else(|| self.next_pull(now))
            .or_else(|| self.tags.pop_front())
    }

    /// A pull, unless those under way use up what is allowed. One may always go, to see whether
    /// there is more by now.
    fn next_pull(&mut self, now: Duration) -> Option<Job> {
        let allowed = self.remaining.unwrap_or(u64::MAX).max(1);
        if now < self.pulls_after || allowed <= self.pulling {
            return None;
        }
        let job = self.pulls.pop_front()?;
        self.pulling += 1;
        Some(job)
    }

    /// Takes in that a job has ended, and what its answer said is left.
    pub fn ended(&mut self, job: &Job, quota: Option<Quota>, now: Duration) {
        if job.is_pull() {
            self.pulling -= 1;
        }
        let Some(quota) = quota else { return };
        // Those under way are not yet counted there.
        self.remaining = Some(quota.remaining);
        if quota.remaining > 0 {
            self.refusals = 0;
        } else if let Some(reset) = quota.reset {
            self.pulls_after = self.pulls_after.max(now + reset);
        }
    }

    /// Takes a job back that the registry refused for now, and returns how long to wait: what it
    /// said, or else a minute, and each time twice as long, up to a quarter of an hour.
    pub fn throttled(&mut self, job: Job, wait: Option<Duration>, now: Duration) -> Duration {
        let wait = wait.unwrap_or_else(|| {
            let guess = Duration::from_secs(60) * 2u32.saturating_pow(self.refusals);
            self.refusals += 1;
            guess.min(Duration::from_secs(15 * 60))
        });
        // A clock that is a little off must not make us ask in vain all the time.
        let wait = wait.max(Duration::from_millis(500));
        if job.is_pull() {
            self.pulls_after = self.pulls_after.max(now + wait);
            self.remaining = self.remaining.map(|_| 0);
            self.pulls.push_front(job);
        } else {
            self.all_after = self.all_after.max(now + wait);
            match job.task {
                Task::Resolve { .. } | Task::List => self.tags.push_front(job),
                _ => self.begun.push(job),
            }
        }
        wait
    }

    /// How long until more can be done, if that is all that holds us up.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        let only_pulls = self.begun.is_empty() && self.tags.is_empty();
        let until = if only_pulls && !self.pulls.is_empty() {
            self.pulls_after.max(self.all_after)
        } else if self.is_empty() {
            Duration::ZERO
        } else {
            self.all_after
        };
        until.checked_sub(now).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Algorithm, Digest};

    const SECOND: Duration = Duration::from_secs(1);

    fn digest(n: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[n])
    }

    fn fetch(n: u8) -> Job {
        Job {
            route: 0,
            task: Task::Fetch(digest(n)),
        }
    }

    fn look(n: u8) -> Job {
        Job {
            route: 0,
            task: Task::Look(digest(n)),
        }
    }

    fn tag() -> Job {
        Job {
            route: 0,
            task: Task::List,
        }
    }

    fn quota(remaining: u64) -> Option<Quota> {
        Some(Quota {
            limit: Some(100),
            remaining,
            window_secs: None,
            reset: None,
        })
    }

    fn name(job: Option<Job>) -> String {
        job.map(|job| format!("{:?}", job.task)).unwrap_or_default()
    }

    #[test]
    fn what_was_begun_is_finished_first() {
        let mut lanes = Lanes::default();
        lanes.begin(tag());
        lanes.pull(fetch(1), false);
        lanes.pull(fetch(2), true);
        lanes.go_on(look(3));
        let order: Vec<_> = (0..5).map(|_| name(lanes.next(SECOND))).collect();
        let expected = [look(3), fetch(2), fetch(1), tag()].map(|job| name(Some(job)));
        assert_eq!(order[..4], expected);
        assert_eq!(order[4], "");
    }

    #[test]
    fn a_quota_holds_back_pulls_and_nothing_else() {
        let mut lanes = Lanes::default();
        (1..=4).for_each(|n| lanes.pull(fetch(n), false));
        let first = lanes.next(SECOND).expect("a pull");
        lanes.ended(&first, quota(1), SECOND);
        assert!(lanes.next(SECOND).is_some_and(|job| job.is_pull()));
        assert!(
            lanes.next(SECOND).is_none(),
            "one is left, and it is under way"
        );
        let wait = lanes.throttled(fetch(2), Some(SECOND * 9), SECOND);
        assert_eq!(wait, SECOND * 9);
        lanes.ended(&fetch(2), None, SECOND);
        lanes.begin(tag());
        assert_eq!(lanes.wait(SECOND), None, "a tag can be looked at");
        assert_eq!(name(lanes.next(SECOND)), name(Some(tag())));
        assert_eq!(lanes.wait(SECOND * 4), Some(SECOND * 6));
        assert!(lanes.next(SECOND * 4).is_none());
        assert_eq!(
            name(lanes.next(SECOND * 10)),
            name(Some(fetch(2))),
            "the refused one first"
        );
        assert!(
            lanes.next(SECOND * 10).is_none(),
            "one alone sees whether there is more"
        );
        lanes.ended(&fetch(2), quota(50), SECOND * 10);
        assert!(lanes.next(SECOND * 10).is_some() && lanes.next(SECOND * 10).is_some());
    }

    #[test]
    fn a_refusal_that_names_no_time_is_asked_about_less_and_less() {
        let mut lanes = Lanes::default();
        let mut wait = || lanes.throttled(fetch(1), None, SECOND).as_secs();
        assert_eq!([wait(), wait(), wait()], [60, 120, 240]);
        assert_eq!((0..9).map(|_| wait()).max(), Some(900));
        lanes.ended(
            &Job {
                route: 0,
                task: Task::List,
            },
            quota(5),
            SECOND,
        );
        assert_eq!(lanes.throttled(fetch(1), None, SECOND).as_secs(), 60);
    }

    #[test]
    fn whoever_refuses_anything_else_is_left_alone() {
        let mut lanes = Lanes::default();
        lanes.begin(tag());
        lanes.throttled(look(1), Some(SECOND * 3), SECOND);
        assert!(lanes.next(SECOND * 3).is_none());
        assert_eq!(lanes.wait(SECOND), Some(SECOND * 3));
        assert_eq!(name(lanes.next(SECOND * 4)), name(Some(look(1))));
    }
}
