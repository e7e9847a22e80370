//! Images on their way to the network.

use std::fs;

use lighthouse::store::pin::State;
use serde_json::json;

use crate::station::{Station, cid, files, image, parts, push};
use crate::world::{Blob, Image, await_some};

#[test]
fn an_image_travels_and_is_announced_when_all_of_it_is_pinned() {
    let station = Station::new(2);
    station.double.set(json!({"queued_ms": 3_600_000}));
    let hub = station.run();
    let image = image(1);
    let pushed = hub.push("app", "v1", &image);
    assert_eq!(pushed.header("X-Lighthouse-Cid"), cid(&image.manifest));
    hub.put_manifest("app", "latest", &image).expect(201);
    for part in parts(&image) {
        let pin = station.reaches(&part, State::Stored);
        assert_eq!(pin.cid.as_deref(), Some(&cid(&part)[..]));
        let content = &station.contents(&part)[0];
        assert_eq!(Some(content["id"].to_string()), pin.remote);
        assert_eq!(content["cid"], cid(&part)[..]);
        // On the shuttle that Estuary names first.
        assert_eq!(content["location"], "SHUTTLE1HANDLE");
    }
    let complete = |line: &String| line.contains("completely on the content network");
    assert!(!hub.log().iter().any(complete), "nothing is pinned yet");

    station.double.set(json!({}));
    for name in ["app:v1", "app:latest"] {
        let line = hub.logged(&format!("{name} is completely on the content network"));
        assert!(line.contains(&cid(&image.manifest)), "{line}");
    }
    station.has_once(&parts(&image));
    for blob in &image.blobs {
        let target = format!("/v2/app/blobs/{}", blob.digest);
        let head = hub.head(&target).expect(200);
        assert_eq!(head.header("X-Lighthouse-Cid"), cid(blob));
        let got = hub.get(&target).expect(200);
        assert_eq!(got.header("X-Lighthouse-Cid"), cid(blob));
    }
    let manifest = hub.manifest("app", "v1").expect(200);
    assert_eq!(manifest.header("X-Lighthouse-Cid"), cid(&image.manifest));
}

#[test]
fn an_index_is_complete_only_with_the_layers_of_its_images() {
    let station = Station::new(0);
    let hub = station.run();
    let late = Blob::noise(2 << 20, 2);
    let image = Image::made_of(&[Blob::noise(100, 2), late.clone()]);
    let index = Image::index(&[&image]);
    // The layer is too large at first, and so comes last.
    station.double.set(json!({"size_max": 1 << 20}));
    hub.push("app", &image.digest(), &image);
    hub.put_manifest("app", "all", &index).expect(201);
    for part in [&image.blobs[0], &image.manifest, &index.manifest] {
        station.reaches(part, State::Pinned);
    }
    let line = "app:all is completely on the content network";
    assert!(!hub.log().iter().any(|said| said.contains(line)));
    station.double.set(json!({}));
    hub.logged(line);
    station.reaches(&late, State::Pinned);
}

#[test]
fn what_is_pushed_again_is_not_sent_again() {
    let station = Station::new(0);
    let (image, hub) = (image(4), station.serve());
    hub.push("app", "v1", &image);
    for part in parts(&image) {
        station.reaches(&part, State::Pinned);
    }
    hub.push("other", "v2", &image);
    drop(hub);
    // The first seconds of a registry that has not yet looked what it has.
    for round in 0..3 {
        let hub = station.serve();
        hub.put_manifest("app", &format!("again{round}"), &image)
            .expect(201);
        hub.push("app", "v1", &image);
        let last = Blob::noise(10, 5 + round);
        push(&hub, "app", &last).expect(201);
        station.reaches(&last, State::Pinned);
    }
    for part in parts(&image) {
        assert_eq!(station.contents(&part).len(), 1);
    }
}

#[test]
fn a_tree_of_distribution_travels_as_it_is() {
    let station = Station::new(0);
    let (image, hub) = (image(6), station.serve());
    hub.push("app", "v1", &image);
    for part in parts(&image) {
        station.reaches(&part, State::Pinned);
    }
    drop(hub);
    // What is ours is taken away; what is left is what registry:2 writes.
    station.becomes_tree();
    for part in parts(&image) {
        fs::remove_file(station.path(&part).with_file_name("cid")).expect("ours");
    }
    let station = station.without_cache();
    let hub = station.serve();
    await_some("it to be read", || {
        (hub.manifest("app", "v1").status == 200).then_some(())
    });
    for part in parts(&image) {
        let pin = station.reaches(&part, State::Pinned);
        assert_eq!(pin.cid.as_deref(), Some(&cid(&part)[..]));
    }
    for blob in &image.blobs {
        station.leaves(blob);
    }
    assert!(station.is_here(&image.manifest));
}

#[test]
fn what_an_earlier_version_noted_beside_its_blobs_is_not_sent_again() {
    let station = Station::new(0).without_cache();
    let (image, hub) = (image(10), station.serve());
    hub.push("app", "v1", &image);
    for part in parts(&image) {
        station.reaches(&part, State::Pinned);
    }
    for blob in files(&image) {
        station.leaves(blob);
    }
    drop(hub);
    station.becomes_tree();
    let station = station.with("STORAGE_REDIRECT_DISABLE", "true");
    let sent = station.asked("/content/add");
    let hub = station.run();
    hub.logged("0 blobs and manifests are still to travel");
    await_some("it to be read", || {
        (hub.manifest("app", "v1").status == 200).then_some(())
    });
    for part in parts(&image) {
        let pin = station.reaches(&part, State::Pinned);
        assert_eq!(pin.cid.as_deref(), Some(&cid(&part)[..]));
        let content = &station.contents(&part)[0];
        assert_eq!(Some(content["id"].to_string()), pin.remote);
    }
    for blob in &image.blobs {
        assert!(hub.blob("app", blob).expect(200).body == blob.bytes);
    }
    assert_eq!(station.asked("/content/add"), sent);
    station.has_once(&parts(&image));
}

#[test]
fn a_network_that_is_down_holds_nobody_up_and_gets_all_in_the_end() {
    let mut station = Station::new(1);
    station.double.kill();
    let hub = station.serve();
    let (before, during) = (image(7), image(8));
    hub.push("app", "v1", &before);
    assert_eq!(
        hub.blob("app", &before.blobs[3]).expect(200).body,
        before.blobs[3].bytes
    );
    station.double.restart();
    for part in parts(&before) {
        station.reaches(&part, State::Pinned);
    }
    station.double.kill();
    hub.push("app", "v2", &during);
    hub.manifest("app", "v2").expect(200);
    await_some("a try that fails", || {
        let mut pins = parts(&during)
            .into_iter()
            .filter_map(|part| station.pin(&part));
        pins.find(|pin| pin.cause.is_some())
    });
    station.double.restart();
    for part in parts(&during) {
        station.reaches(&part, State::Pinned);
    }
    station.has_once(&[parts(&before), parts(&during)].concat());
}

#[test]
fn nothing_travels_from_a_registry_that_is_read_only() {
    let mut station = Station::new(0);
    station.double.kill();
    let (image, hub) = (image(9), station.serve());
    hub.push("app", "v1", &image);
    drop(hub);
    station.double.restart();
    let station = station.with("STORAGE_MAINTENANCE_READONLY_ENABLED", "true");
    let hub = station.run();
    hub.logged("are still to travel");
    hub.manifest("app", "v1").expect(200);
    assert_eq!(station.double.rows(), 0);
}
