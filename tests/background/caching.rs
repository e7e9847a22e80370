//! Which copies leave this disk, and which never do.

use lighthouse::store::blob::Place;
use lighthouse::store::pin::State;
use serde_json::json;

use crate::fixture::{Fixture, await_pinned};
use crate::world::{Blob, await_some};

const CACHE: &str = "STORAGE_ESTUARY_CACHE_SIZE";

#[test]
fn only_what_is_pinned_leaves_and_only_as_much_as_must() {
    let at = Fixture::new().with(CACHE, "250KB");
    at.set(json!({"queued_ms": 3_600_000}));
    let run = at.run();
    let blobs: Vec<_> = (0..4).map(|n| Blob::noise(100_000, 20 + n)).collect();
    for blob in &blobs {
        run.push(blob);
        run.reaches(blob, State::Stored);
    }
    assert!(
        blobs
            .iter()
            .all(|blob| run.place(blob) == Some(Place::File))
    );
    at.set(json!({}));
    for blob in &blobs {
        run.reaches(blob, State::Pinned);
    }
    let here = || {
        blobs
            .iter()
            .filter(|blob| run.place(blob) == Some(Place::File))
            .count()
    };
    await_some("two to leave", || (here() == 2).then_some(()));
    // What is small is no file, and stays.
    let small = Blob::noise(100, 30);
    run.push(&small);
    await_pinned(&run, &small.digest);
    assert_eq!(run.place(&small), Some(Place::Row));
    assert_eq!(here(), 2);
}

#[test]
fn what_the_network_lost_stays_and_travels_again() {
    let at = Fixture::new();
    let (run, blob) = (at.run(), Blob::noise(100_000, 31));
    run.push(&blob);
    let first = run.reaches(&blob, State::Pinned);
    drop(run);
    at.unpin(&first);
    let at = at.with(CACHE, "0");
    let run = at.run();
    run.comes_to(&blob, Some(Place::Network));
    assert_ne!(run.pin(&blob).remote, first.remote);
    assert_eq!(at.contents(&blob), 1);
}

#[test]
fn nothing_leaves_while_the_network_does_not_answer() {
    let mut at = Fixture::new();
    let run = at.run();
    let blobs: Vec<_> = (0..20).map(|n| Blob::noise(70_000, 40 + n)).collect();
    for blob in &blobs {
        run.push(blob);
    }
    for blob in &blobs {
        await_pinned(&run, &blob.digest);
    }
    drop(run);
    at.double.kill();
    at = at.with(CACHE, "0");
    let run = at.run();
    await_some("an outage", || run.background.outages().pop());
    assert!(
        blobs
            .iter()
            .all(|blob| run.place(blob) == Some(Place::File))
    );
    at.double.restart();
    for blob in &blobs {
        run.comes_to(blob, Some(Place::Network));
    }
}
