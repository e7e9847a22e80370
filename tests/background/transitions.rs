//! What follows from what a network says: one row for each.

use std::time::Duration;

use lighthouse::background::transition::{Heard, Moment, Step, has_arrived, next, step};
use lighthouse::fault::{Fault, Neighbour, Trouble};
use lighthouse::store::pin::State::{Failed, Pinned, Queued, Stored, Uploading};
use lighthouse::store::pin::{Pin, State};

const NOW: i64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3600);

fn fault(trouble: Trouble) -> Fault {
    Fault::neighbour(Neighbour::Estuary, "https://api.test", trouble)
}

fn pin(state: State, attempts: u32) -> Pin {
    Pin {
        state,
        attempts,
        remote: Some("7".into()),
        due_at: Some(1),
        ..Pin::default()
    }
}

fn after(pin: &Pin, heard: &Heard) -> Pin {
    let at = Moment {
        now: NOW,
        recheck: HOUR,
    };
    next(pin, heard, at)
}

#[test]
fn each_state_has_its_step() {
    for (state, attempts, is_here, expected) in [
        (Queued, 0, true, Step::Upload),
        (Queued, 1, true, Step::Find),
        (Uploading, 0, true, Step::Find),
        (Failed, 0, true, Step::Find),
        (Stored, 3, false, Step::Follow),
        (Pinned, 0, false, Step::Recheck),
        (Failed, 0, false, Step::Recover),
        (Queued, 0, false, Step::Recover),
    ] {
        let found = step(&pin(state, attempts), is_here);
        assert_eq!(
            found, expected,
            "{state:?} after {attempts}, here: {is_here}"
        );
    }
}

/// That a pin is then in that state, goes on in so many milliseconds, or when it was to before, and
/// has a cause, or none.
fn leads(from: &Pin, heard: &Heard, state: State, waits: Option<i64>) {
    let found = after(from, heard);
    assert_eq!(found.state, state, "{from:?} {heard:?}");
    let due_at = waits.map_or(from.due_at, |waits| Some(NOW + waits));
    assert_eq!(found.due_at, due_at, "{from:?} {heard:?}");
    let is_good = matches!(heard, Heard::Begins | Heard::Stored(_) | Heard::Pinned);
    let is_good = is_good || matches!(heard, Heard::Waiting);
    assert_eq!(found.cause.is_none(), is_good, "{from:?} {heard:?}");
    let is_lost = matches!(heard, Heard::NotUploaded(..)) && state == Uploading;
    assert_eq!(found.lost_at.is_some(), is_lost, "{from:?} {heard:?}");
}

#[test]
fn each_answer_leads_to_its_state() {
    let down = fault(Trouble::Unreachable("refused".into()));
    let found = Heard::Stored(Some("8".into()));
    for (from, heard, state, waits) in [
        (pin(Queued, 0), Heard::Begins, Uploading, None),
        (pin(Uploading, 0), found, Stored, Some(0)),
        (pin(Stored, 0), Heard::Waiting, Stored, Some(500)),
        (pin(Stored, 3), Heard::Waiting, Stored, Some(4000)),
        (pin(Stored, 99), Heard::Waiting, Stored, Some(60_000)),
        (pin(Stored, 9), Heard::Pinned, Pinned, Some(3_600_000)),
        (pin(Stored, 2), Heard::Lost("gone"), Failed, Some(4000)),
        (pin(Pinned, 0), Heard::Lost("gone"), Failed, Some(0)),
        (pin(Failed, 1), Heard::Gone("gone"), Failed, Some(3_600_000)),
        (pin(Pinned, 0), Heard::Unanswered(&down), Pinned, Some(1000)),
    ] {
        leads(&from, &heard, state, waits);
    }
    assert_eq!(after(&pin(Stored, 9), &Heard::Pinned).attempts, 0);
    assert_eq!(after(&pin(Pinned, 0), &Heard::Lost("gone")).remote, None);
}

#[test]
fn each_failure_of_an_upload_leads_to_its_state() {
    let down = || Trouble::Unreachable("refused".into());
    let large = || Trouble::TooLarge("34 GB".into());
    let lied = || Trouble::Lied {
        expected: "a".into(),
        received: "b".into(),
    };
    let overloaded = || Trouble::Overloaded {
        status: 504,
        reason: "late".into(),
    };
    // Whether all was sent; None if nothing was opened.
    for (from, trouble, is_sent, state, waits) in [
        (pin(Queued, 0), down(), None, Queued, 1000),
        (pin(Uploading, 0), down(), None, Uploading, 1000),
        (pin(Queued, 0), down(), Some(false), Queued, 1000),
        (pin(Queued, 99), down(), Some(false), Queued, 60_000),
        (pin(Queued, 99), overloaded(), Some(false), Queued, 600_000),
        (pin(Queued, 0), overloaded(), Some(true), Uploading, 1000),
        (pin(Uploading, 1), overloaded(), Some(false), Queued, 2000),
        (pin(Queued, 0), large(), Some(true), Failed, 1000),
        (pin(Queued, 0), lied(), Some(true), Failed, 1000),
    ] {
        let fault = fault(trouble);
        let heard = Heard::NotUploaded(&fault, is_sent);
        leads(&from, &heard, state, Some(waits));
    }
}

#[test]
fn what_may_still_arrive_is_looked_for_until_it_must_have() {
    let arrival_time = Duration::from_secs(5);
    // After a kill nobody knows when it ended: the time begins when that is noticed.
    let killed = pin(Uploading, 0);
    assert!(!has_arrived(&killed, arrival_time, NOW));
    let sought = after(&killed, &Heard::NotFound(arrival_time));
    assert_eq!((sought.state, sought.lost_at), (Uploading, Some(NOW)));
    assert!(!has_arrived(&sought, arrival_time, NOW + 4999));
    assert!(has_arrived(&sought, arrival_time, NOW + 5000));
    assert!(has_arrived(&pin(Failed, 1), arrival_time, NOW));
}
