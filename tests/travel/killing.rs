//! `kill -9` of the registry and of Estuary, at every stage of a push: nothing that was
//! acknowledged is lost, and nothing is sent twice.

use lighthouse::estuary::{Estuary, Upload};
use lighthouse::store::pin::State;
use serde_json::json;

use crate::station::{Station, cid, image, parts, push};
use crate::world::image::Noise;
use crate::world::{Blob, Program, await_some};

#[test]
fn the_registry_dies_while_it_sends() {
    let station = Station::new(0);
    let hub = station.run();
    station.double.fail("add", json!({"slow_ms": 50}));
    let blob = Blob::noise(4 << 20, 40);
    push(&hub, "app", &blob).expect(201);
    await_some("an upload", || {
        (station.asked("/content/add") == 1).then_some(())
    });
    assert_eq!(station.pin(&blob).expect("one").state, State::Uploading);
    hub.kill();
    station.double.set(json!({}));
    let hub = station.serve();
    station.reaches(&blob, State::Pinned);
    station.has_once(std::slice::from_ref(&blob));
    assert_eq!(hub.blob("app", &blob).expect(200).body, blob.bytes);
}

#[test]
fn the_registry_dies_before_it_has_noted_the_answer() {
    let mut station = Station::new(0);
    station.double.kill();
    let hub = station.run();
    let blob = Blob::noise(4 << 20, 41);
    push(&hub, "app", &blob).expect(201);
    hub.kill();
    station.double.restart();
    // What was on the disk at that moment, and what Estuary had.
    station.change(&blob, |pin| {
        pin.state = State::Uploading;
        pin.cause = None;
    });
    let estuary = Estuary::new(&station.double.main, &[], "ESTuserARY").expect("a token");
    let open = || Ok(Box::new(std::io::Cursor::new(blob.bytes.clone())) as Box<_>);
    let (name, size) = (blob.digest.hex(), blob.bytes.len() as u64);
    let cid = cid(&blob).parse().expect("a CID");
    estuary
        .add(&Upload {
            name: &name,
            size,
            cid,
            open: &open,
        })
        .expect("added");

    let _hub = station.serve();
    station.reaches(&blob, State::Pinned);
    station.has_once(&[blob]);
}

#[test]
fn the_registry_dies_while_estuary_pins() {
    let station = Station::new(1);
    station.double.set(json!({"queued_ms": 3_600_000}));
    let (image, hub) = (image(42), station.run());
    hub.push("app", "v1", &image);
    for part in parts(&image) {
        station.reaches(&part, State::Stored);
    }
    hub.kill();
    station.double.set(json!({}));
    let hub = station.run();
    hub.logged("app:v1 is completely on the content network");
    station.has_once(&parts(&image));
}

#[test]
fn the_registry_dies_at_any_time() {
    let station = Station::new(1);
    let mut noise = Noise::new(43);
    let mut kept: Vec<Blob> = Vec::new();
    for round in 0..10 {
        let hub = station.run();
        let blobs = (0..4).map(|n| Blob::noise(50_000 + (n << 20), 100 * round + n as u64));
        let blobs: Vec<_> = blobs.collect();
        let lasts = std::time::Duration::from_millis(noise.below(150));
        let acknowledged = push_until_killed(hub, &blobs, lasts);
        kept.extend(acknowledged);
    }
    let hub = station.serve();
    for blob in &kept {
        station.reaches(blob, State::Pinned);
        assert_eq!(hub.blob("app", blob).expect(200).body, blob.bytes);
        assert_eq!(station.contents(blob).len(), 1, "{}", blob.digest);
    }
}

/// Pushes until the registry is killed after that time; what was acknowledged.
fn push_until_killed(hub: Program, blobs: &[Blob], lasts: std::time::Duration) -> Vec<Blob> {
    let address = hub.address.clone();
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            let acknowledged = blobs.iter().filter(|blob| {
                let target = format!("/v2/app/blobs/uploads/?digest={}", blob.digest);
                let ask = crate::world::Ask::post(target).body(blob.bytes.clone());
                let Ok(mut line) = crate::world::Line::try_to(&address) else {
                    return false;
                };
                let said = line.try_say(ask.bytes());
                said.and_then(|()| line.try_hear("POST"))
                    .is_ok_and(|answer| answer.status == 201)
            });
            acknowledged.cloned().collect()
        });
        // The moment is random, and whatever it is, what follows must hold.
        std::thread::sleep(lasts);
        hub.kill();
        pushing.join().expect("no panic")
    })
}

#[test]
fn estuary_dies_while_it_receives_and_while_it_pins() {
    let mut station = Station::new(1);
    station.double.fail("add", json!({"slow_ms": 50}));
    let hub = station.serve();
    let (first, second) = (Blob::noise(4 << 20, 44), Blob::noise(2 << 20, 45));
    push(&hub, "app", &first).expect(201);
    await_some("an upload", || {
        (station.asked("/content/add") == 1).then_some(())
    });
    station.double.kill();
    assert_eq!(hub.blob("app", &first).expect(200).body, first.bytes);
    station.double.restart();
    station.double.set(json!({"queued_ms": 3_600_000}));
    station.reaches(&first, State::Stored);
    push(&hub, "app", &second).expect(201);
    station.reaches(&second, State::Stored);
    station.double.kill();
    await_some("a question nobody answers", || station.pin(&second)?.cause);
    station.double.restart();
    station.reaches(&first, State::Pinned);
    station.reaches(&second, State::Pinned);
    station.has_once(&[first, second]);
}

#[test]
fn what_left_this_disk_is_readable_from_the_first_moment_on() {
    let station = Station::new(0)
        .without_cache()
        .with("STORAGE_REDIRECT_DISABLE", "true");
    let hub = station.run();
    let blob = Blob::noise(3 << 20, 46);
    push(&hub, "app", &blob).expect(201);
    station.leaves(&blob);
    hub.kill();
    for _ in 0..5 {
        let hub = station.run();
        assert_eq!(hub.blob("app", &blob).expect(200).body, blob.bytes);
        hub.kill();
    }
}
