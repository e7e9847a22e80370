//! Stopping and starting again: what clients had begun goes on.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::world::program::{command, run};
use crate::world::{Ask, Blob, Image, Line, Program, await_some};

/// An upload of which all but the last bytes were sent, and what is missing.
fn half_an_upload(hub: &Program, blob: &Blob) -> (Line, String, Vec<u8>) {
    let location = hub.begin("a");
    let bytes = Ask::patch(&location).body(blob.bytes.clone()).bytes();
    let (most, rest) = bytes.split_at(bytes.len() - 1000);
    let mut line = hub.line();
    line.say(most);
    let came = format!("0-{}", blob.bytes.len() - 1001);
    await_some("the bytes to be written", || {
        (hub.get(&location).expect(204).header("Range") == came).then_some(())
    });
    (line, location, rest.to_vec())
}

#[test]
fn an_upload_goes_on_after_a_kill() {
    let dir = TempDir::new().expect("a folder");
    let blob = Blob::noise(300_000, 90);
    let chunk = |location: &str, first: usize, end: usize| {
        let range = format!("{first}-{}", end - 1);
        Ask::patch(location)
            .with("Content-Range", range)
            .body(&blob.bytes[first..end])
    };
    let hub = Program::serve(dir.path(), &[]);
    let location = hub.begin("a");
    let untouched = hub.begin("a");
    hub.kill();
    let mut kept = 0;
    for end in [100_000, 100_001, 250_000] {
        let hub = Program::serve(dir.path(), &[]);
        let range = format!("0-{}", usize::saturating_sub(kept, 1));
        let status = hub.get(&location).expect(204);
        assert_eq!(status.header("Range"), range);
        assert_eq!(hub.ask(chunk(&location, kept + 7, end + 7)).status, 416);
        hub.ask(chunk(&location, kept, end)).expect(202);
        kept = end;
        hub.kill();
    }
    let hub = Program::serve(dir.path(), &[]);
    let put = Ask::put(format!("{location}?digest={}", blob.digest));
    hub.ask(put.body(&blob.bytes[kept..])).expect(201);
    assert!(hub.blob("a", &blob).expect(200).body == blob.bytes);
    hub.delete(untouched).expect(204);
}

#[test]
fn a_stop_lets_transfers_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = TempDir::new().expect("a folder");
        let hub = Program::serve(dir.path(), &[("HTTP_DRAINTIMEOUT", "20s")]);
        let blob = Blob::noise(100_000, 91);
        let (mut line, location, rest) = half_an_upload(&hub, &blob);
        let mut kept = hub.line();
        kept.ask(&Ask::get("/v2/")).expect(200);
        hub.signal(signal);
        hub.logged("stopping");
        // Whoever comes now is told to come back.
        let late = await_some("the stop", || {
            let answer = hub.get("/v2/");
            (answer.status != 200).then_some(answer)
        });
        late.refuses(503, "UNAVAILABLE").header("Retry-After");
        kept.ask(&Ask::get("/v2/")).expect(503);
        line.say(rest);
        line.hear("PATCH").expect(202);
        assert!(hub.end().success());
        let hub = Program::serve(dir.path(), &[]);
        hub.ask(Ask::put(format!("{location}?digest={}", blob.digest)))
            .expect(201);
    }
}

#[test]
fn a_stop_with_nothing_to_wait_for_is_quick() {
    let dir = TempDir::new().expect("a folder");
    let stop = |_| {
        let hub = Program::serve(dir.path(), &[]);
        hub.push("a", "v1", &Image::named("x"));
        let _idle = hub.line();
        let began = Instant::now();
        hub.signal(Signal::TERM);
        hub.logged("stopped");
        assert!(hub.end().success());
        began.elapsed()
    };
    // Once in a while a machine is busy with something else.
    let quickest = (0..3).map(stop).min().expect("three stops");
    assert!(quickest < Duration::from_secs(1), "{quickest:?}");
}

/// Whoever copies or moves the catalog of a registry that was stopped has all of it in one file.
#[test]
fn a_stop_leaves_the_catalog_in_one_file() {
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[]);
    hub.push("a", "v1", &Image::named("x"));
    hub.signal(Signal::TERM);
    assert!(hub.end().success());
    let log = std::fs::metadata(dir.path().join("lighthouse/catalog.sqlite-wal"));
    assert_eq!(log.map_or(0, |log| log.len()), 0);
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[("HTTP_DRAINTIMEOUT", "1s")]);
    let (_line, location, _) = half_an_upload(&hub, &Blob::noise(100_000, 92));
    hub.signal(Signal::TERM);
    assert!(hub.end().success());
    // What had come in is still there.
    let hub = Program::serve(dir.path(), &[]);
    assert_eq!(hub.get(&location).expect(204).header("Range"), "0-98999");
}

#[test]
fn a_second_signal_ends_at_once() {
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[("HTTP_DRAINTIMEOUT", "1h")]);
    let (_line, _, _) = half_an_upload(&hub, &Blob::noise(100_000, 93));
    hub.signal(Signal::TERM);
    hub.logged("stopping");
    let began = Instant::now();
    hub.signal(Signal::TERM);
    assert_eq!(hub.end().code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// A second server of a root directory, which gives up waiting for the first after a second.
fn second(dir: &TempDir) -> Command {
    let mut second = command(&["serve"]);
    second
        .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
        .env("REGISTRY_HTTP_DRAINTIMEOUT", "1s")
        .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", dir.path());
    second
}

/// Two servers of one root directory would not know of each other's changes.
#[test]
fn a_root_directory_has_one_server_at_a_time() {
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[]);
    hub.push("a", "v1", &Image::named("x"));
    let (code, _, complaints) = run(&mut second(&dir));
    assert_eq!(code, Some(1));
    let told = format!("another server is using it, process {}", hub.pid());
    assert!(complaints.contains(&told), "{complaints}");
    // Readers do not mind, and see what is pushed meanwhile.
    let read_only = [("STORAGE_MAINTENANCE_READONLY_ENABLED", "true")];
    let reader = Program::serve(dir.path(), &read_only);
    hub.push("a", "v2", &Image::named("y"));
    for tag in ["v1", "v2"] {
        reader.manifest("a", tag).expect(200);
    }
    drop(reader);
    hub.push("a", "v3", &Image::named("z"));
    // A server that was killed keeps nobody out.
    hub.kill();
    let hub = Program::serve(dir.path(), &[]);
    for tag in ["v1", "v2", "v3"] {
        hub.manifest("a", tag).expect(200);
    }
}

/// A new version starts while the old one lets its last transfers end.
#[test]
fn a_server_that_leaves_is_waited_for() {
    let dir = TempDir::new().expect("a folder");
    let first = Program::serve(dir.path(), &[]);
    first.push("a", "v1", &Image::named("x"));
    let mut second = second(&dir);
    let leaving = std::thread::spawn(move || {
        first.signal(Signal::TERM);
        assert!(first.end().success());
    });
    let hub = Program::start({
        second.env("REGISTRY_HTTP_DRAINTIMEOUT", "20s");
        second
    });
    leaving.join().expect("it ended well");
    hub.manifest("a", "v1").expect(200);
}
