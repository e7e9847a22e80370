//! What is decided while much time passes: days of it, without waiting for them.

use std::time::Duration;

use lighthouse::background::outage::{Change, Outage};
use lighthouse::background::transition::{Heard, Moment, next};
use lighthouse::fault::{Fault, Neighbour, Trouble};
use lighthouse::store::pin::{Pin, State};

const SEC: i64 = 1000;
const AT_A_TIME: usize = 10;

/// Pins of which the longest due are taken, as the catalog gives them, and a clock.
struct Clock {
    pins: Vec<Pin>,
    outage: Outage,
    now: i64,
}

impl Clock {
    fn new(count: usize, state: State) -> Clock {
        let pin = Pin {
            state,
            due_at: Some(0),
            ..Pin::default()
        };
        Clock {
            pins: vec![pin; count],
            outage: Outage::default(),
            now: 0,
        }
    }

    fn time(&self) -> Duration {
        Duration::from_millis(self.now.unsigned_abs())
    }

    /// Makes the attempts that are due, each of which ends as `end` says; how many.
    fn attempt<'f>(&mut self, end: impl Fn(usize) -> Result<Heard<'f>, &'f Fault>) -> usize {
        let places = self.outage.at_most(AT_A_TIME, self.time());
        if places == 0 {
            return 0;
        }
        let is_due = |at: &usize| self.pins[*at].due_at.is_some_and(|due| due <= self.now);
        let mut due: Vec<usize> = (0..self.pins.len()).filter(is_due).collect();
        due.sort_by_key(|at| self.pins[*at].due_at);
        due.truncate(places);
        for at in &due {
            let ended = end(*at);
            let result = ended.as_ref().map(drop).map_err(|fault| *fault);
            self.outage.note(result, self.time());
            let heard = ended.unwrap_or_else(|fault| Heard::NotUploaded(fault, Some(false)));
            let moment = Moment {
                now: self.now,
                recheck: Duration::from_secs(1 << 40),
            };
            self.pins[*at] = next(&self.pins[*at], &heard, moment);
        }
        due.len()
    }

    fn pinned(&self) -> usize {
        let pinned = self.pins.iter();
        pinned.filter(|pin| pin.state == State::Pinned).count()
    }
}

fn fault(trouble: Trouble) -> Fault {
    Fault::neighbour(Neighbour::Estuary, "https://api.test", trouble)
}

fn silence() -> Fault {
    fault(Trouble::Unreachable("connection refused".into()))
}

#[test]
fn a_network_that_is_down_for_a_day_is_asked_once_a_minute_and_then_gets_everything() {
    const COUNT: usize = 2000;
    let (mut clock, silence) = (Clock::new(COUNT, State::Queued), silence());
    let mut attempts = 0;
    for _ in 0..24 * 60 * 60 {
        attempts += clock.attempt(|_| Err(&silence));
        clock.now += SEC;
    }
    let expected = 24 * 60..24 * 60 + 100;
    assert!(expected.contains(&attempts), "{attempts} attempts in a day");
    for _ in 0..600 {
        clock.attempt(|_| Ok(Heard::Pinned));
        clock.now += SEC;
    }
    assert_eq!(clock.pinned(), COUNT, "after ten minutes");
}

#[test]
fn many_that_fail_together_are_one_outage() {
    let (mut clock, silence) = (Clock::new(100, State::Queued), silence());
    assert_eq!(clock.attempt(|_| Err(&silence)), AT_A_TIME);
    clock.now += 2 * SEC;
    assert_eq!(clock.attempt(|_| Ok(Heard::Pinned)), 1, "one looks");
    assert_eq!(clock.attempt(|_| Ok(Heard::Pinned)), AT_A_TIME);
}

#[test]
fn the_one_that_always_fails_holds_no_other_up() {
    let overloaded = fault(Trouble::Overloaded {
        status: 504,
        reason: "too slow".into(),
    });
    let mut clock = Clock::new(50, State::Queued);
    let mut attempts = 0;
    for _ in 0..60 * 60 {
        attempts += clock.attempt(|at| match at {
            0 => Err(&overloaded),
            _ => Ok(Heard::Pinned),
        });
        clock.now += SEC;
    }
    assert_eq!(clock.pinned(), 49);
    // Ever later up to ten minutes, and not once a second for an hour.
    let vain = attempts - 49;
    assert!(vain < 20, "{vain} attempts of the bad one in an hour");
}

#[test]
fn what_takes_days_to_be_pinned_is_asked_for_once_a_minute() {
    let mut clock = Clock::new(1, State::Stored);
    let mut questions = 0;
    for _ in 0..60 * 60 {
        clock.now += SEC;
        questions += clock.attempt(|_| Ok(Heard::Waiting));
    }
    let expected = 60..80;
    assert!(expected.contains(&questions), "{questions} in an hour");
}

#[test]
fn an_outage_is_news_twice_and_lasts_as_long_as_was_asked_for() {
    let mut outage = Outage::default();
    let at = Duration::from_secs;
    let wait = fault(Trouble::RateLimited(Some(at(30))));
    assert_eq!(outage.note(Err(&wait), at(100)), Some(Change::Began));
    assert_eq!(outage.note(Err(&wait), at(101)), None);
    assert_eq!(outage.pause(at(101)), Some(at(30)));
    assert_eq!(outage.at_most(9, at(130)), 0);
    assert_eq!(outage.at_most(9, at(131)), 1);
    // A disk of ours says nothing of the network; an answer of any kind does.
    let disk = Fault::disk("read", "/srv/x", std::io::Error::other("bad"));
    assert_eq!(outage.note(Err(&disk), at(132)), None);
    let (since, _) = outage.cause().expect("it goes on");
    assert_eq!(since, at(100));
    let refused = fault(Trouble::TooLarge("34 GB".into()));
    assert_eq!(outage.note(Err(&refused), at(133)), Some(Change::Ended));
    assert_eq!(outage.note(Ok(()), at(134)), None);
    assert_eq!(outage.at_most(9, at(134)), 9);
}
