//! What may leave this disk, and what never does; and how the owner sees that the network fails.

use std::net::TcpListener;

use lighthouse::catalog::voyage::State;
use serde_json::{Value, json};

use crate::station::{Station, image, parts, push};
use crate::world::{Blob, Hub, await_some};

#[test]
fn only_what_is_pinned_leaves() {
    let station = Station::new(0).without_cache();
    station.double.set(json!({"queued_ms": 3_600_000}));
    let (image, hub) = (image(100), station.serve());
    hub.push("app", "v1", &image);
    for part in parts(&image) {
        station.reaches(&part, State::Stored);
        assert!(station.is_here(&part));
    }
    station.double.set(json!({}));
    for blob in &image.blobs {
        station.leaves(blob);
        assert_eq!(station.voyage(blob).expect("one").state, State::Pinned);
    }
    // Manifests stay.
    station.reaches(&image.manifest, State::Pinned);
    assert!(station.is_here(&image.manifest));
    drop(hub);
    let hub = station.serve();
    assert_eq!(
        hub.manifest("app", "v1").expect(200).body,
        image.manifest.bytes
    );
}

#[test]
fn a_manifest_stays_even_if_it_was_pushed_as_a_blob() {
    let mut station = Station::new(0);
    let (image, hub) = (image(101), station.serve());
    push(&hub, "app", &image.manifest).expect(201);
    hub.push("app", "v1", &image);
    for part in parts(&image) {
        station.reaches(&part, State::Pinned);
    }
    drop(hub);
    station = station.without_cache();
    let hub = station.serve();
    for blob in &image.blobs {
        station.leaves(blob);
    }
    hub.push_blob("app", &Blob::noise(10, 101));
    station.leaves(&Blob::noise(10, 101));
    assert!(station.is_here(&image.manifest));
}

#[test]
fn the_least_recently_used_leaves_first() {
    let station = Station::new(0).with("STORAGE_ESTUARY_CACHE_SIZE", "2500");
    let hub = station.serve();
    let blobs: Vec<_> = (0..3).map(|n| Blob::noise(1000, 110 + n)).collect();
    for blob in &blobs[..2] {
        push(&hub, "app", blob).expect(201);
        station.reaches(blob, State::Pinned);
    }
    // Time passes in seconds here: the second is used once more after the first one is.
    await_some("the first one to leave", || {
        hub.blob("app", &blobs[1]).expect(200);
        let more = Blob::noise(1000, 112);
        push(&hub, "app", &more).expect(201);
        (!station.is_here(&blobs[0])).then_some(())
    });
    assert!(station.is_here(&blobs[1]) && station.is_here(&blobs[2]));
}

#[test]
fn what_the_network_lost_stays_and_travels_again() {
    let mut station = Station::new(0);
    let (blob, hub) = (Blob::noise(1000, 120), station.serve());
    push(&hub, "app", &blob).expect(201);
    let id = station.reaches(&blob, State::Pinned).content.expect("one");
    drop(hub);
    let pin = format!("{}/pinning/pins/{id}", station.double.main);
    let unpinned = ureq::delete(&pin)
        .header("Authorization", "Bearer ESTuserARY")
        .call();
    assert_eq!(unpinned.expect("an answer").status(), 202);
    station = station.without_cache();
    let hub = station.run();
    hub.logged("is not pinned any more and travels again");
    station.leaves(&blob);
    assert_eq!(station.contents(&blob).len(), 1);
    assert_ne!(station.voyage(&blob).expect("one").content, Some(id));
}

#[test]
fn nothing_leaves_while_the_network_does_not_answer() {
    let mut station = Station::new(0);
    let hub = station.serve();
    let blobs: Vec<_> = (0..30).map(|n| Blob::noise(1000, 130 + n)).collect();
    for blob in &blobs {
        push(&hub, "app", blob).expect(201);
    }
    for blob in &blobs {
        station.reaches(blob, State::Pinned);
    }
    drop(hub);
    station.double.kill();
    station = station.without_cache();
    let hub = station.run();
    hub.logged("the content network fails");
    for blob in &blobs {
        assert_eq!(hub.blob("app", blob).expect(200).body, blob.bytes);
    }
    // A storm is no reason to ask, and to complain, for each of them.
    let complaints = hub
        .log()
        .iter()
        .filter(|line| line.contains("stays"))
        .count();
    assert!(complaints <= 10, "{complaints} complaints");
    station.double.restart();
    for blob in &blobs {
        station.leaves(blob);
    }
}

#[test]
fn the_owner_sees_that_the_network_fails_and_clients_do_not() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let debug = free.local_addr().expect("bound").to_string();
    drop(free);
    let mut station = Station::new(0)
        .with("HTTP_DEBUG_ADDR", &debug)
        .with("HEALTH_STORAGEDRIVER_ENABLED", "true")
        .with("HEALTH_STORAGEDRIVER_INTERVAL", "1s")
        .with("HEALTH_STORAGEDRIVER_THRESHOLD", "2");
    let (image, hub) = (image(140), station.serve());
    let owner = Hub { address: debug };
    let health = |what: &str, is_so: &dyn Fn(&Value) -> bool| -> Value {
        await_some(what, || {
            let answer = owner.get("/debug/health");
            let causes = answer.json();
            assert_eq!(answer.status == 200, causes == json!({}), "{answer}");
            is_so(&causes).then_some(causes)
        })
    };
    health("good health", &|causes| *causes == json!({}));
    station.double.kill();
    let causes = health("two failures", &|causes| {
        causes["network"].is_string() && causes["gateway 0"].is_string()
    });
    assert!(causes.to_string().contains("no answer"), "{causes}");
    assert!(
        causes["storagedriver"].is_null(),
        "the disk is well: {causes}"
    );
    hub.push("app", "v1", &image);
    let first = &image.blobs[0];
    assert_eq!(hub.blob("app", first).expect(200).body, first.bytes);
    station.double.restart();
    health("good health again", &|causes| *causes == json!({}));
}
