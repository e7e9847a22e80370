//! Each way in which Estuary fails an upload, and what becomes of it.

use std::thread;

use lighthouse::cid::Cid;
use lighthouse::store::pin::State;
use serde_json::{Value, json};

use crate::station::{Station, push};
use crate::world::{Blob, await_some};

/// Lets every upload fail so; waits until the registry has noted it as `state`, with a cause that
/// tells of it; and then lets the upload succeed.
fn fails(fault: Value, state: State, told: &str) {
    let station = Station::new(1);
    let hub = station.serve();
    let is_cut = fault.get("cut_after").is_some();
    // More than the sockets between us hold, so that a cut is met while it is sent.
    let blob = Blob::noise(if is_cut { 8 << 20 } else { 1000 }, 30);
    station.double.fail("add", fault.clone());
    push(&hub, "app", &blob).expect(201);
    let pin = await_some(told, || {
        let pin = station.pin(&blob)?;
        let has_failed = pin.cause.as_ref().is_some_and(|cause| cause.contains(told));
        (has_failed && pin.state == state).then_some(pin)
    });
    assert!(!pin.cause.expect("one").contains("ESTuserARY"));
    station.double.set(json!({}));
    station.reaches(&blob, State::Pinned);
    station.has_once(&[blob]);
}

#[test]
fn whatever_fails_is_told_and_ends_well_and_only_once() {
    use State::{Failed, Queued, Uploading};
    let cases = [
        (json!({"status": 401}), Failed, "(401)"),
        (json!({"status": 403}), Failed, "(403)"),
        (json!({"status": 413}), Failed, "too large"),
        (json!({"status": 429}), Queued, "(429)"),
        (json!({"status": 500}), Queued, "(500)"),
        (json!({"status": 504}), Queued, "(504)"),
        (json!({"status_late": 504}), Uploading, "(504)"),
        (json!({"cut_after": 1 << 20}), Queued, "no answer"),
        (json!("drop"), Queued, "no answer"),
        (
            json!({"redirect": "http://127.0.0.1:1/content/add"}),
            Failed,
            "307",
        ),
        (
            json!({"cid": Cid::raw([1; 32]).to_string()}),
            Failed,
            "bafkreiabaeaqcaib",
        ),
        (
            json!({"body": [200, "<html>Welcome</html>"]}),
            Failed,
            "JSON",
        ),
    ];
    thread::scope(|scope| {
        for (fault, state, told) in cases {
            scope.spawn(move || fails(fault, state, told));
        }
    });
}

#[test]
fn a_slow_network_is_waited_for() {
    let station = Station::new(0);
    let hub = station.serve();
    station.double.fail("add", json!({"slow_ms": 20}));
    let blob = Blob::noise(2 << 20, 31);
    push(&hub, "app", &blob).expect(201);
    station.reaches(&blob, State::Uploading);
    assert_eq!(hub.blob("app", &blob).expect(200).body, blob.bytes);
    station.reaches(&blob, State::Pinned);
    station.has_once(&[blob]);
}

#[test]
fn what_cannot_be_pinned_is_sent_again_with_pauses() {
    let station = Station::new(0);
    station.double.set(json!({"fails": true}));
    let hub = station.run();
    let blob = Blob::noise(1000, 32);
    push(&hub, "app", &blob).expect(201);
    await_some("a second upload", || {
        (station.asked("/content/add") == 2).then_some(())
    });
    let pin = await_some("its failure", || {
        let pin = station.pin(&blob)?;
        (pin.state == State::Failed).then_some(pin)
    });
    assert!(pin.cause.expect("one").contains("could not be pinned"));
    // Each failure was told, and there was none without a pause.
    let told = hub
        .log()
        .iter()
        .filter(|line| line.contains("did not get through"))
        .count();
    assert!(told <= 3, "{told} failures");
    station.double.set(json!({}));
    station.reaches(&blob, State::Pinned);
}

#[test]
fn a_key_for_uploads_only_is_enough() {
    let station = Station::new(0)
        .with("STORAGE_ESTUARY_AUTH_TOKEN", "ESTuploadARY")
        .without_cache();
    let slowly = json!({"queued_ms": 500, "pinning_ms": 500});
    station.double.set(slowly);
    let hub = station.run();
    let blob = Blob::noise(100_000, 33);
    push(&hub, "app", &blob).expect(201);
    // It may not ask how far it is, but everybody may see what is pinned.
    station.reaches(&blob, State::Stored);
    station.reaches(&blob, State::Pinned);
    station.leaves(&blob);
    assert_eq!(station.asked("/content/add"), 1);
}

#[test]
fn one_blob_that_always_fails_holds_no_other_up() {
    let station = Station::new(0);
    let hub = station.serve();
    let (bad, good) = (Blob::noise(2 << 20, 34), Blob::noise(100, 34));
    // As a proxy in front does with all that is large.
    station.double.fail("add", json!({"cut_after": 1 << 20}));
    push(&hub, "app", &bad).expect(201);
    await_some("its failure", || station.pin(&bad)?.cause);
    push(&hub, "app", &good).expect(201);
    station.reaches(&good, State::Pinned);
    assert_eq!(station.contents(&bad).len(), 0);
}
