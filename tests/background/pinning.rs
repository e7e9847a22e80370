//! Blobs on their way to a network, and each way in which it fails.

use lighthouse::cid::Cid;
use lighthouse::store::blob::Place;
use lighthouse::store::pin::State;
use serde_json::json;

use crate::fixture::{Fixture, await_pinned, cid};
use crate::world::{Blob, await_some};

/// A row of the catalog, one block that is a file, and several blocks.
fn blobs(seed: u64) -> Vec<Blob> {
    let sizes = [100, 100_000, (1 << 20) + 1, 3 << 20];
    sizes.iter().map(|size| Blob::noise(*size, seed)).collect()
}

#[test]
fn what_is_enqueued_is_pinned_once_under_our_cid() {
    let at = Fixture::new();
    at.set(json!({"queued_ms": 100, "pinning_ms": 100}));
    let (run, blobs) = (at.run(), blobs(1));
    blobs.iter().for_each(|blob| run.push(blob));
    for blob in &blobs {
        await_pinned(&run, &blob.digest);
        let pin = run.pin(blob);
        assert_eq!(pin.state, State::Pinned);
        assert_eq!(pin.cid, Some(cid(blob)));
        assert_eq!(pin.profile.as_deref(), Some("estuary-174"));
        assert!(pin.due_at > pin.confirmed_at, "it is asked for again");
        assert_eq!(at.contents(blob), 1);
    }
    // Pushed again, it is not sent again.
    run.push(&blobs[1]);
    let last = Blob::noise(10, 2);
    run.push(&last);
    await_pinned(&run, &last.digest);
    assert_eq!(at.contents(&blobs[1]), 1);
}

#[test]
fn what_was_here_before_the_network_is_pinned_as_well() {
    let mut at = Fixture::new();
    at.double.kill();
    let (run, blobs) = (at.run(), blobs(3));
    for blob in &blobs {
        run.push_silently(blob);
    }
    // As if nobody had known of a network then.
    run.background.stop();
    let forgotten = rusqlite::Connection::open(run.store.catalog_path()).expect("opened");
    forgotten
        .execute_batch("delete from pins; delete from networks")
        .expect("forgotten");
    drop((run, forgotten));
    at.double.restart();
    let run = at.run();
    for blob in &blobs {
        await_some("it to be enqueued", || {
            let digest = &blob.digest;
            let pins = run
                .store
                .read(|tx| lighthouse::store::pin::of_digest(tx, digest));
            pins.expect("an answer").pop()
        });
        run.reaches(blob, State::Pinned);
    }
}

#[test]
fn an_end_in_the_middle_of_an_upload_loses_nothing_and_sends_nothing_twice() {
    let at = Fixture::new();
    at.double.fail("add", json!({"slow_ms": 50}));
    let blob = Blob::noise(4 << 20, 4);
    let run = at.run();
    run.push(&blob);
    await_some("an upload", || {
        (at.asked("/content/add") == 1).then_some(())
    });
    assert_eq!(run.pin(&blob).state, State::Uploading);
    drop(run);
    at.set(json!({}));
    let run = at.run();
    run.reaches(&blob, State::Pinned);
    assert_eq!(at.contents(&blob), 1);
}

#[test]
fn an_answer_that_was_lost_is_looked_for_before_anything_is_sent_again() {
    let at = Fixture::new();
    at.double.fail("add", json!({"status_late": 504}));
    let run = at.run();
    let blob = Blob::noise(1000, 5);
    run.push(&blob);
    let pin = run.fails(&blob, "(504)");
    assert_eq!(pin.state, State::Uploading);
    assert!(pin.lost_at.is_some());
    at.set(json!({}));
    let pin = run.reaches(&blob, State::Pinned);
    assert_eq!(
        (pin.lost_at, pin.attempts, at.contents(&blob)),
        (None, 0, 1)
    );
}

#[test]
fn every_failure_has_its_state_and_ends_well() {
    use State::{Failed, Queued};
    let lie = Cid::raw([1; 32]).to_string();
    let cases = [
        (json!({"status": 401}), Failed, "(401)"),
        (json!({"status": 413}), Failed, "too large"),
        (json!({"status": 429}), Queued, "(429)"),
        (json!({"status": 500}), Queued, "(500)"),
        (json!("drop"), Queued, "no answer"),
        (json!({"cid": lie}), Failed, "bafkreiabaeaqcaib"),
        (json!({"body": [200, "<html>"]}), Failed, "JSON"),
    ];
    std::thread::scope(|scope| {
        for (fault, state, words) in cases {
            scope.spawn(move || {
                let at = Fixture::new();
                let (run, blob) = (at.run(), Blob::noise(1000, 6));
                at.double.fail("add", fault);
                run.push(&blob);
                let pin = run.fails(&blob, words);
                assert_eq!(pin.state, state, "{words}");
                assert!(!pin.cause.expect("one").contains("ESTuserARY"));
                at.set(json!({}));
                run.reaches(&blob, State::Pinned);
                assert_eq!(at.contents(&blob), 1, "{words}");
            });
        }
    });
}

#[test]
fn a_push_that_waits_is_told_what_the_network_lacks() {
    let mut at = Fixture::new();
    let (run, blob) = (at.run(), Blob::noise(1000, 7));
    at.double.kill();
    run.push(&blob);
    let fault = run
        .background
        .await_pinned(&blob.digest)
        .expect_err("it is down");
    assert_eq!(fault.status(), 503);
    assert_eq!(fault.summary(), "the content network does not answer");
    at.double.restart();
    run.reaches(&blob, State::Pinned);
    await_pinned(&run, &blob.digest);
    for (seed, fault, words) in [
        (8, json!({"fails": true}), "does not have this content"),
        (9, json!({"size_max": 100}), "no content of this size"),
    ] {
        at.set(fault);
        let blob = Blob::noise(1000, seed);
        run.push(&blob);
        let fault = run.background.await_pinned(&blob.digest).expect_err(words);
        assert!(fault.summary().contains(words), "{fault}");
    }
}

#[test]
fn a_pin_that_was_lost_travels_again_from_this_disk() {
    let at = Fixture::new();
    let (run, blob) = (at.run(), Blob::noise(100_000, 9));
    run.push(&blob);
    let first = run.reaches(&blob, State::Pinned);
    run.make_due(&blob);
    let again = run.is_confirmed(&blob);
    assert_eq!(again.remote, first.remote, "it is only asked for");
    at.unpin(&first);
    run.make_due(&blob);
    await_some("another content", || {
        let pin = run.pin(&blob);
        (pin.state == State::Pinned && pin.remote != first.remote).then_some(())
    });
    assert_eq!(at.contents(&blob), 1);
    assert_eq!(run.place(&blob), Some(Place::File));
}

#[test]
fn a_pin_that_was_lost_with_its_bytes_is_not_here_until_it_is_pushed_again() {
    let at = Fixture::new().with("STORAGE_ESTUARY_CACHE_SIZE", "0");
    let (run, blob) = (at.run(), Blob::noise(100_000, 10));
    run.push(&blob);
    run.comes_to(&blob, Some(Place::Network));
    let first = run.pin(&blob);
    at.unpin(&first);
    run.make_due(&blob);
    run.comes_to(&blob, None);
    run.fails(&blob, "neither on this disk nor on the network");
    run.push(&blob);
    run.comes_to(&blob, Some(Place::Network));
    assert_ne!(run.pin(&blob).remote, first.remote);
    assert_eq!(at.contents(&blob), 1);
}

#[test]
fn a_session_that_nobody_writes_to_is_purged() {
    let at = Fixture::new()
        .with("STORAGE_MAINTENANCE_UPLOADPURGING_AGE", "1ms")
        .with("STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL", "10ms");
    let run = at.run();
    let limits = lighthouse::store::upload::Limits {
        total: 10,
        of_client: 10,
    };
    let lease = run.store.lease_upload("busy").expect("nobody writes");
    for session in ["idle", "busy"] {
        run.store.files().append_upload(session).expect("a file");
        let repository = crate::fixture::repository();
        let started = run.store.note(move |tx| {
            lighthouse::store::upload::start(tx, session, &repository, "x", limits)
        });
        started.expect("a session");
    }
    let is_here = |session| run.store.files().upload_path(session).exists();
    await_some("the idle one to go", || (!is_here("idle")).then_some(()));
    assert!(is_here("busy"));
    drop(lease);
    await_some("the other one to go", || (!is_here("busy")).then_some(()));
}
