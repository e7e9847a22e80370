//! What is decided while much time passes: days of it, without waiting for them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lighthouse::catalog::voyage::{State, Voyage};
use lighthouse::config;
use lighthouse::fault::{Fault, Neighbour, Trouble};
use lighthouse::oci::{Algorithm, Digest};
use lighthouse::registry::{Errand, Event, Job, Registry, Survey};

const SEC: Duration = Duration::from_secs(1);

/// A registry whose errands are carried out by the test, and a clock that it sets.
struct Clock {
    registry: Registry,
    now: Duration,
    errands: Vec<Errand>,
}

impl Clock {
    fn new(settings: &[(&str, &str)], voyages: Vec<(Digest, Voyage, bool)>) -> Clock {
        let common = [("AUTH_TOKEN", "ESTuserARY"), ("MAXTHREADS", "10")];
        let all = common.iter().chain(settings);
        let all = all.map(|(name, value)| {
            (
                format!("REGISTRY_STORAGE_ESTUARY_{name}"),
                (*value).to_owned(),
            )
        });
        let all: BTreeMap<_, _> = all.collect();
        let (config, _) = config::parse(None, all.into_iter()).expect("good settings");
        let registry = Registry::new(config, Vec::new());
        let mut clock = Clock {
            registry,
            now: Duration::ZERO,
            errands: Vec::new(),
        };
        clock.tick();
        assert!(
            clock
                .errands
                .drain(..)
                .any(|errand| matches!(errand, Errand::Survey))
        );
        let images = Vec::new();
        clock.tell(Event::Surveyed(Ok(Survey { voyages, images })));
        clock
    }

    fn tell(&mut self, event: Event) {
        for job in self.registry.decide(event) {
            if let Job::Errand(errand) = job {
                self.errands.push(errand);
            }
        }
    }

    fn tick(&mut self) {
        self.now += SEC;
        self.tell(Event::Tick(self.now));
    }

    /// Carries out all voyages that are due, which end in that state or fault; how many.
    fn carry(&mut self, end: impl Fn(&Digest, &mut Voyage) -> Result<(), Fault>) -> usize {
        let mut carried = 0;
        // What they lead to at once is for the next time.
        for errand in std::mem::take(&mut self.errands) {
            if let Errand::Travel(digest, mut voyage) = errand {
                carried += 1;
                let result = end(&digest, &mut voyage);
                self.tell(Event::Travelled(digest, voyage, result));
            } else {
                self.errands.push(errand);
            }
        }
        carried
    }

    /// Which copies are to be dropped now, in that order.
    fn drops(&mut self) -> Vec<Digest> {
        let errands = self.errands.drain(..);
        let drop = |errand| match errand {
            Errand::Drop(digest, _) => Some(digest),
            _ => None,
        };
        errands.filter_map(drop).collect()
    }
}

fn digest(n: u64) -> Digest {
    Digest::of(Algorithm::Sha256, &n.to_le_bytes())
}

fn voyages(count: u64, state: State) -> Vec<(Digest, Voyage, bool)> {
    let voyage = Voyage {
        state,
        ..Voyage::of(1000)
    };
    (0..count)
        .map(|n| (digest(n), voyage.clone(), true))
        .collect()
}

fn silence() -> Fault {
    let trouble = Trouble::Unreachable("connection refused".into());
    Fault::neighbour(Neighbour::Estuary, "https://api.test", trouble)
}

fn pinned(_: &Digest, voyage: &mut Voyage) -> Result<(), Fault> {
    voyage.state = State::Pinned;
    Ok(())
}

#[test]
fn a_network_that_is_down_for_a_day_is_asked_once_a_minute_and_then_gets_everything() {
    const COUNT: u64 = 2000;
    let mut clock = Clock::new(&[], voyages(COUNT, State::Local));
    let mut tries = 0;
    for _ in 0..24 * 60 * 60 {
        tries += clock.carry(|_, _| Err(silence()));
        clock.tick();
    }
    assert!(
        (24 * 60..24 * 60 + 100).contains(&tries),
        "{tries} tries in a day"
    );
    let (mut arrived, mut waited) = (0, 0);
    while arrived < COUNT {
        arrived += clock.carry(pinned) as u64;
        clock.tick();
        waited += 1;
        assert!(waited < 600, "{arrived} of {COUNT} after ten minutes");
    }
}

#[test]
fn many_that_fail_together_are_one_storm() {
    let mut clock = Clock::new(&[], voyages(100, State::Local));
    assert_eq!(
        clock.carry(|_, _| Err(silence())),
        10,
        "as many as may at a time"
    );
    clock.tick();
    clock.tick();
    assert_eq!(clock.carry(pinned), 1, "one looks whether it is over");
    assert_eq!(clock.carry(pinned), 10, "and then all go on");
}

#[test]
fn the_one_that_always_fails_has_its_turn_after_the_others() {
    let overloaded = || {
        let trouble = Trouble::Overloaded {
            status: 504,
            reason: "too slow".into(),
        };
        Fault::neighbour(Neighbour::Estuary, "https://api.test", trouble)
    };
    let bad = digest(0);
    let mut clock = Clock::new(&[("MAXTHREADS", "1")], voyages(50, State::Local));
    let (mut arrived, mut tries) = (0, 0);
    for _ in 0..60 * 60 {
        let carried = clock.carry(|digest, voyage| match *digest == bad {
            true => Err(overloaded()),
            false => pinned(digest, voyage),
        });
        tries += carried;
        arrived = tries.min(50);
        clock.tick();
    }
    assert_eq!(arrived, 50);
    // Ever later up to ten minutes, and not once a second for an hour.
    assert!(
        tries - 49 < 20,
        "{} tries of the bad one in an hour",
        tries - 49
    );
}

#[test]
fn what_takes_days_to_be_pinned_is_asked_for_once_a_minute() {
    let mut clock = Clock::new(&[], voyages(1, State::Stored));
    let questions: usize = (0..60 * 60)
        .map(|_| {
            clock.tick();
            clock.carry(|_, _| Ok(()))
        })
        .sum();
    assert!(
        (60..80).contains(&questions),
        "{questions} questions in an hour"
    );
}

#[test]
fn copies_leave_by_their_last_use_and_only_as_many_as_must() {
    let mut clock = Clock::new(&[("CACHE_SIZE", "7000")], voyages(10, State::Pinned));
    assert_eq!(
        clock.drops(),
        [0, 1, 2].map(digest),
        "the oldest of those nobody used"
    );
    clock.tick();
    assert_eq!(clock.drops(), [], "what is leaving does not count");
    for n in 0..3 {
        clock.tell(Event::Dropped(digest(n), Ok(true)));
    }
    clock.tick();
    assert_eq!(clock.drops(), []);
}

#[test]
fn no_more_copies_leave_at_a_time_than_the_network_can_be_asked_about() {
    let mut clock = Clock::new(&[("CACHE_SIZE", "0")], voyages(100, State::Pinned));
    let (mut left, mut rounds) = (HashMap::new(), 0);
    while left.len() < 100 {
        let drops = clock.drops();
        assert!((1..=8).contains(&drops.len()), "{} at a time", drops.len());
        for digest in drops {
            *left.entry(digest).or_insert(0) += 1;
            clock.tell(Event::Dropped(digest, Ok(true)));
        }
        rounds += 1;
        assert!(rounds <= 100);
    }
    assert!(
        left.values().all(|count| *count == 1),
        "each once, and without waiting for time"
    );
}
