//! What may leave this disk, and what never does; and how the owner sees that the network fails.

use std::net::TcpListener;

use lighthouse::store::pin::State;
use serde_json::{Value, json};

use crate::station::{Station, files, image, parts, push};
use crate::world::{Blob, Hub, Image, await_some};

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
    for blob in files(&image) {
        station.leaves(blob);
        assert_eq!(station.pin(blob).expect("one").state, State::Pinned);
    }
    // Manifests stay, and what is small.
    for part in [&image.manifest, &image.blobs[0]] {
        station.reaches(part, State::Pinned);
        assert!(station.is_here(part));
    }
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
    let image = large_manifest(&image(101));
    let hub = station.serve();
    push(&hub, "app", &image.manifest).expect(201);
    hub.push("app", "v1", &image);
    for part in parts(&image) {
        station.reaches(&part, State::Pinned);
    }
    drop(hub);
    station = station.without_cache();
    let hub = station.serve();
    for blob in files(&image) {
        station.leaves(blob);
    }
    hub.push_blob("app", &Blob::noise(100_000, 101));
    station.leaves(&Blob::noise(100_000, 101));
    assert!(station.is_here(&image.manifest));
}

/// With a manifest that is a file.
fn large_manifest(image: &Image) -> Image {
    let mut document: Value = serde_json::from_slice(&image.manifest.bytes).expect("JSON");
    document["annotations"] = json!({"notes": "n".repeat(100_000)});
    Image {
        blobs: image.blobs.clone(),
        ..Image::document(&image.media_type, &document)
    }
}

#[test]
fn the_least_recently_used_leaves_first() {
    let station = Station::new(0).with("STORAGE_ESTUARY_CACHE_SIZE", "250KB");
    let hub = station.serve();
    let blobs: Vec<_> = (0..3).map(|n| Blob::noise(100_000, 110 + n)).collect();
    for blob in &blobs[..2] {
        push(&hub, "app", blob).expect(201);
        station.reaches(blob, State::Pinned);
    }
    drop(hub);
    // A use counts once a minute, and the last one was an hour ago.
    station.age_copies(3_600_000);
    let hub = station.serve();
    hub.blob("app", &blobs[0]).expect(200);
    push(&hub, "app", &blobs[2]).expect(201);
    station.leaves(&blobs[1]);
    assert!(station.is_here(&blobs[0]) && station.is_here(&blobs[2]));
}

#[test]
fn what_the_network_lost_stays_and_travels_again() {
    let mut station = Station::new(0);
    let (blob, hub) = (Blob::noise(100_000, 120), station.serve());
    push(&hub, "app", &blob).expect(201);
    let id = station.reaches(&blob, State::Pinned).remote.expect("one");
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
    assert_ne!(station.pin(&blob).expect("one").remote, Some(id));
}

#[test]
fn nothing_leaves_while_the_network_does_not_answer() {
    let mut station = Station::new(0);
    let hub = station.serve();
    let blobs: Vec<_> = (0..30).map(|n| Blob::noise(100_000, 130 + n)).collect();
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
    // An outage is no reason to ask, and to complain, for each of them.
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
