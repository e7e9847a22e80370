//! Stopping and starting again: what clients had begun goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::disks::{daybook, is_all_in_daybook};
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
        late.refuses(503, "TOOMANYREQUESTS").header("Retry-After");
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

/// Two servers of one root directory would not know of each other's changes.
#[test]
fn a_root_directory_has_one_server_at_a_time() {
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[]);
    let mut second = crate::world::program::command(&["serve"]);
    second.env("REGISTRY_HTTP_ADDR", "127.0.0.1:0");
    second.env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", dir.path());
    let (code, _, complaints) = crate::world::program::run(&mut second);
    assert_eq!(code, Some(1));
    assert!(
        complaints.contains("another server is using this root directory"),
        "{complaints}"
    );
    // Readers do not mind, and a server that was killed keeps nobody out.
    let read_only = [("STORAGE_MAINTENANCE_READONLY_ENABLED", "true")];
    Program::serve(dir.path(), &read_only)
        .get("/v2/")
        .expect(200);
    hub.kill();
    Program::serve(dir.path(), &[]).get("/v2/").expect(200);
}

/// Damages a tree as a power cut may: of what was not synced, files are there and empty, or not
/// there at all.
fn damage(folder: &Path, count: &mut u32) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            damage(&path, count);
            continue;
        }
        *count += 1;
        match *count % 2 {
            0 => std::fs::write(path, "").expect("a file"),
            _ => std::fs::remove_dir_all(folder).expect("a folder"),
        }
        return;
    }
}

#[test]
fn a_start_makes_good_what_the_tree_has_lost() {
    let image = Image::named("x");
    let dir = await_some("a kill before anything is carried over", || {
        let dir = TempDir::new().expect("a folder");
        let hub = Program::serve(dir.path(), &[]);
        hub.push("a/b", "v1", &image);
        hub.push("a/b", "v2", &image);
        hub.delete("/v2/a/b/manifests/v2").expect(202);
        hub.kill();
        is_all_in_daybook(dir.path()).then_some(dir)
    });
    let tree = dir.path().join("docker/registry/v2");
    // Twice, since the power may go again before the first time has reached the disk.
    let [page, _] = daybook(dir.path());
    let entries = std::fs::read(&page).expect("a page");
    let mut count = 0;
    damage(&tree, &mut count);
    assert_eq!(count, 10);
    for _ in 0..2 {
        let hub = Program::serve(dir.path(), &[]);
        hub.logged("changes that a sudden end left unsynced are safe now");
        let pulled = hub.manifest("a/b", "v1").expect(200);
        assert_eq!(pulled.body, image.manifest.bytes);
        for blob in &image.blobs {
            assert_eq!(hub.blob("a/b", blob).expect(200).body, blob.bytes);
        }
        hub.manifest("a/b", "v2").refuses(404, "MANIFEST_UNKNOWN");
        hub.kill();
        std::fs::write(&page, &entries).expect("a page");
        std::fs::remove_dir_all(&tree).expect("a tree");
    }
    // What a stop has carried over is not made once more, whatever becomes of the tree.
    let hub = Program::serve(dir.path(), &[]);
    hub.push("a/b", "v1", &image);
    hub.signal(Signal::TERM);
    assert!(hub.end().success());
    std::fs::remove_dir_all(&tree).expect("a tree");
    let hub = Program::serve(dir.path(), &[]);
    hub.manifest("a/b", "v1").refuses(404, "MANIFEST_UNKNOWN");
}
