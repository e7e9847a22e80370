//! Two requests at the same moment: what they are answered, and what is there afterwards, is as if
//! one had come after the other.

use std::sync::Barrier;

use crate::model::{Change, Model, Things};
use crate::seeded::number;
use crate::world::{Ask, Hub, Line, Place, Served};

/// How often each pair meets in `cargo test`; `RACE_ROUNDS` says otherwise.
const ROUNDS: u64 = 2;

/// All that two clients can do to what they share.
fn changes() -> Vec<Change> {
    let a = || "a".to_owned();
    vec![
        Change::PushBlob { to: a(), blob: 3 },
        Change::PushBlob { to: a(), blob: 1 },
        Change::PushBlob {
            to: "b".into(),
            blob: 3,
        },
        Change::Mount {
            from: a(),
            to: "b".into(),
            blob: 3,
        },
        Change::DeleteBlob { of: a(), blob: 3 },
        Change::PutManifest {
            to: a(),
            image: 1,
            tag: Some(0),
        },
        Change::PutManifest {
            to: a(),
            image: 0,
            tag: Some(0),
        },
        Change::PutManifest {
            to: a(),
            image: 1,
            tag: None,
        },
        Change::DeleteTag { of: a(), tag: 0 },
        Change::DeleteManifest { of: a(), image: 0 },
        Change::DeleteManifest { of: a(), image: 1 },
    ]
}

/// Has the registry hold nothing but two images, one of them under both tags.
fn begin_anew(hub: &Hub, things: &Things, model: &mut Model) {
    let a = || "a".to_owned();
    let mut all: Vec<Change> = Vec::new();
    for image in 0..things.images.len() {
        all.push(Change::DeleteManifest { of: a(), image });
    }
    for blob in 0..things.blobs.len() {
        all.push(Change::DeleteBlob {
            of: "b".into(),
            blob,
        });
        all.push(Change::PushBlob { to: a(), blob });
    }
    all.push(Change::PutManifest {
        to: a(),
        image: 1,
        tag: None,
    });
    all.extend([0, 1].map(|tag| Change::PutManifest {
        to: a(),
        image: 0,
        tag: Some(tag),
    }));
    for change in all {
        let expected = model.apply(&change, things);
        hub.ask(change.ask(things)).expect(expected);
    }
}

/// Sends both at once; what each was answered.
fn race(hub: &Hub, asks: &[Ask; 2]) -> [u16; 2] {
    let barrier = Barrier::new(2);
    let send = |mut line: Line, ask: &Ask| {
        barrier.wait();
        line.ask(ask).status
    };
    let (first, second) = (hub.line(), hub.line());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| send(second, &asks[1]));
        [send(first, &asks[0]), other.join().expect("no panic")]
    })
}

#[test]
fn two_requests_at_once_are_one_after_the_other() {
    let hub = Served::on(Place::Disk);
    let things = Things::new();
    let changes = changes();
    let rounds = number("RACE_ROUNDS", || ROUNDS);
    let mut model = Model::default();
    for (n, first) in changes.iter().enumerate() {
        for second in &changes[n..] {
            for _ in 0..rounds {
                begin_anew(&hub, &things, &mut model);
                let asks = [first.ask(&things), second.ask(&things)];
                let answered = race(&hub, &asks);
                let what = format!("{first:?} beside {second:?}: {answered:?}");
                let found = Model::of(&hub, &["a", "b"], &things, &what);
                let possible = [true, false].map(|is_first_first| {
                    let mut after = model.clone();
                    let mut apply = |change| after.apply(change, &things);
                    let statuses = match is_first_first {
                        true => [first, second].map(&mut apply),
                        false => {
                            let [second, first] = [second, first].map(&mut apply);
                            [first, second]
                        }
                    };
                    (statuses, after)
                });
                let found = (answered, found);
                assert!(
                    possible.contains(&found),
                    "{what}: {found:#?}, none of {possible:#?}"
                );
                model = found.1;
            }
        }
    }
}
