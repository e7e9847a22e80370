//! How much there can be to do: a long queue, and large blobs.

use std::fs;
use std::time::Instant;

use lighthouse::store::pin::State;
use serde_json::json;

use crate::station::{Station, push};
use crate::world::{Ask, Blob, Program, await_some};

#[test]
fn ten_thousand_blobs_are_no_matter_at_the_start() {
    const COUNT: u64 = 10_000;
    let mut station = Station::new(0);
    station.double.kill();
    let layers = station
        .root()
        .join("docker/registry/v2/repositories/app/_layers/sha256");
    for n in 0..COUNT {
        let blob = Blob::of(n.to_le_bytes());
        let (path, link) = (station.path(&blob), layers.join(blob.digest.hex()));
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, n.to_le_bytes()).expect("written");
        fs::create_dir_all(&link).expect("made");
        fs::write(link.join("link"), blob.digest.to_string()).expect("written");
    }
    // A tree is read once, for as long as that takes.
    let hub = station.run();
    await_some("it to be read", || {
        let asked = hub.get("/v2/app/tags/list").status;
        (asked != 503).then_some(())
    });
    hub.kill();
    let began = Instant::now();
    let hub = station.run();
    let still = format!("{COUNT} blobs and manifests are still to travel");
    let line = hub.logged(&still);
    // It is half a second; ten would be another order of magnitude.
    assert!(
        began.elapsed().as_secs() < 10,
        "{:?} until {line}",
        began.elapsed()
    );
    // Those who come now do not queue up.
    let new = Blob::noise(10, 200);
    push(&hub, "app", &new).expect(201);
    assert_eq!(hub.blob("app", &new).expect(200).body, new.bytes);
}

#[test]
fn a_large_blob_travels_in_little_memory() {
    const SIZE: usize = 64 << 20;
    let mut station = Station::new(0);
    station.double.kill();
    let hub = station.run();
    let blobs = [Blob::noise(SIZE, 201), Blob::noise(SIZE, 202)];
    for blob in &blobs {
        push(&hub, "app", blob).expect(201);
    }
    drop(hub);
    let hub = station.run();
    hub.logged("the content network fails");
    let idle = memory(&hub, "VmRSS");
    station.double.restart();
    for blob in &blobs {
        station.reaches(blob, State::Pinned);
    }
    let grown = memory(&hub, "VmHWM") - idle;
    assert!(
        grown < (8 << 10) * blobs.len() as u64,
        "{grown} KiB for {} transfers",
        blobs.len()
    );
    station.has_once(&blobs);

    // And on the way back, of which nobody holds more than a buffer either.
    drop(hub);
    let station = station
        .without_cache()
        .with("STORAGE_REDIRECT_DISABLE", "true");
    let hub = station.run();
    station.leaves(&blobs[0]);
    let idle = memory(&hub, "VmRSS");
    assert!(hub.blob("app", &blobs[0]).expect(200).body == blobs[0].bytes);
    let grown = memory(&hub, "VmHWM") - idle;
    assert!(grown < 8 << 10, "{grown} KiB for a blob on its way back");
    station.double.set(json!({}));
}

#[test]
fn blobs_travel_while_a_client_is_slow() {
    let station = Station::new(0);
    let hub = station.serve();
    // One that begins to push and leaves it at that, for as long as this takes.
    let mut slow = hub.line();
    let patch = Ask::patch(hub.begin("app")).body(vec![7; 1 << 20]);
    slow.say(patch.head_bytes());
    slow.say(vec![7; 1 << 10]);
    let large = Blob::noise(3 << 20, 203);
    push(&hub, "app", &large).expect(201);
    station.reaches(&large, State::Pinned);
    slow.say(vec![7; (1 << 20) - (1 << 10)]);
    slow.hear("PATCH").expect(202);
}

/// What the system says of a program's memory, in KiB.
fn memory(hub: &Program, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", hub.pid())).expect("it is alive");
    let line = status
        .lines()
        .find(|line| line.starts_with(what))
        .expect("the system says it");
    line.split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number")
}
