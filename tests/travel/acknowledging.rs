//! `acknowledge: pinned`: a push is answered when the network has pinned what came.

use lighthouse::store::pin::State;
use serde_json::json;

use crate::station::{Station, image, parts, push};
use crate::world::Blob;

fn station() -> Station {
    Station::new(0).with("STORAGE_ESTUARY_ACKNOWLEDGE", "pinned")
}

#[test]
fn a_push_is_answered_when_it_is_pinned() {
    let station = station();
    station
        .double
        .set(json!({"queued_ms": 100, "pinning_ms": 100}));
    let (image, hub) = (image(20), station.serve());
    for blob in &image.blobs {
        push(&hub, "app", blob).expect(201);
        assert_eq!(station.pin(blob).expect("one").state, State::Pinned);
    }
    hub.put_manifest("app", "v1", &image).expect(201);
    let pin = station.pin(&image.manifest);
    assert_eq!(pin.expect("one").state, State::Pinned);
    // What is pinned already needs nobody.
    let asked = station.asked("/");
    hub.put_manifest("app", "v2", &image).expect(201);
    push(&hub, "app", &image.blobs[0]).expect(201);
    let asked_since = station.asked("/") - asked;
    let checks = station.asked("/gw/");
    assert!(
        asked_since <= checks,
        "{asked_since} questions, {checks} of them checks"
    );
    station.has_once(&parts(&image));
}

#[test]
fn a_network_that_cannot_pin_is_named_as_the_cause() {
    let mut station = station();
    station.double.kill();
    let (image, hub) = (image(21), station.serve());
    let refused = push(&hub, "app", &image.blobs[1]).expect(503);
    let cause = refused.json()["errors"][0]["detail"].to_string();
    assert!(
        cause.contains("the content network does not answer"),
        "{cause}"
    );
    assert!(refused.header("Retry-After").parse::<u32>().is_ok());
    // It is safe here all the same, and so docker would not send it again: then the image must
    // not be acknowledged before it is there.
    station.double.restart();
    for blob in [0, 2, 3].map(|n| &image.blobs[n]) {
        push(&hub, "app", blob).expect(201);
    }
    hub.put_manifest("app", "v1", &image).expect(201);
    for part in parts(&image) {
        assert_eq!(station.pin(&part).expect("one").state, State::Pinned);
    }
    station.has_once(&parts(&image));
}

#[test]
fn content_that_the_network_cannot_keep_is_not_acknowledged() {
    let station = station();
    let hub = station.serve();
    for (seed, settings, told) in [
        (22, json!({"fails": true}), "does not have this content"),
        (
            23,
            json!({"faults": [{"on": "add", "fault": {"status": 403}}]}),
            "credentials",
        ),
        (24, json!({"size_max": 100}), "no content of this size"),
    ] {
        station.double.set(settings);
        let refused = push(&hub, "app", &Blob::noise(1000, seed)).expect(503);
        let cause = refused.json()["errors"][0]["detail"].to_string();
        assert!(cause.contains(told), "{cause}");
    }
}
