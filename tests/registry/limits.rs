//! What holds one change up holds up no other: limits on the size of files, places that can't be
//! written, and a log that nobody reads.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use tempfile::TempDir;

use crate::world::program::command;
use crate::world::{Ask, Blob, Hub, Image, Program};

/// Pushes a blob in one request; its status.
fn push(hub: &Hub, repository: &str, blob: &Blob) -> crate::world::Answer {
    let post = Ask::post(format!(
        "/v2/{repository}/blobs/uploads/?digest={}",
        blob.digest
    ));
    hub.ask(post.body(blob.bytes.clone()))
}

/// Lets files of a program grow to so many bytes.
fn limit(hub: &Program, size: Option<u64>) {
    let pid = Pid::from_raw(hub.pid() as i32);
    let limit = Rlimit {
        current: size,
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, limit).expect("it is ours");
}

/// systemd's LimitFSIZE and ulimit -f end a program by a signal, unless it asks to be told.
#[test]
fn a_limit_to_the_size_of_files_is_a_full_disk() {
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[]);
    let image = Image::made_of(&[Blob::of("{}"), Blob::noise(300_000, 140)]);
    hub.push("a", "v1", &image);
    // Less than the log of the catalog has by now, which begins anew only when it is read out.
    for size in [1 << 20, 200_000] {
        limit(&hub, Some(size));
        let large = Blob::noise(2 << 20, 141);
        let refused = push(&hub, "a", &large).refuses(507, "UNKNOWN");
        refused.header("Retry-After");
        hub.blob("a", &large).refuses(404, "BLOB_UNKNOWN");
        assert!(hub.blob("a", &image.blobs[1]).expect(200).body == image.blobs[1].bytes);
        hub.manifest("a", "v1").expect(200);
    }
    // Small contents go to the catalog, until that may not grow any more.
    let mut pushed = (0..200).map(|n| push(&hub, "a", &Blob::noise(60_000, 1000 + n)));
    let refused = pushed.find(|answer| answer.status != 201);
    refused
        .expect("one that does not fit")
        .refuses(507, "UNKNOWN");
    hub.manifest("a", "v1").expect(200);
    limit(&hub, None);
    push(&hub, "a", &Blob::noise(2 << 20, 142)).expect(201);
    push(&hub, "a", &Blob::noise(60_000, 143)).expect(201);
    hub.kill();
    let hub = Program::serve(dir.path(), &[]);
    hub.manifest("a", "v1").expect(200);
}

fn folder(root: &Path, blob: &Blob) -> std::path::PathBuf {
    root.join("docker/registry/v2/blobs/sha256")
        .join(&blob.digest.hex()[..2])
}

#[test]
fn a_place_that_cannot_be_written_fails_only_what_goes_there() {
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[]);
    let all: Vec<Blob> = (0..20).map(|n| Blob::noise(70_000, 150 + n)).collect();
    let bad = folder(dir.path(), &all[0]);
    std::fs::create_dir_all(bad.parent().expect("a folder")).expect("a folder");
    std::fs::write(&bad, "in the way").expect("written");
    std::thread::scope(|scope| {
        for blob in &all {
            let hub = &hub;
            let is_bad = folder(dir.path(), blob) == bad;
            scope.spawn(move || push(hub, "a", blob).expect(if is_bad { 500 } else { 201 }));
        }
    });
    // What is small goes elsewhere, and so does what becomes of it.
    hub.push("a", "v1", &Image::named("x"));
    hub.delete("/v2/a/manifests/v1").expect(202);
    std::fs::remove_file(&bad).expect("there");
    push(&hub, "a", &all[0]).expect(201);
    for blob in &all {
        assert!(hub.blob("a", blob).expect(200).body == blob.bytes);
    }
}

#[test]
fn a_push_sets_so_many_tags_and_no_more() {
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[]);
    let image = Image::named("x");
    hub.push_blobs("a", &image);
    let put = |count: usize| {
        let tags: Vec<String> = (0..count).map(|n| format!("tag=t{n:03}")).collect();
        let target = format!("/v2/a/manifests/{}?{}", image.digest(), tags.join("&"));
        let put = Ask::put(target).with("Content-Type", &image.media_type);
        hub.ask(put.body(image.manifest.bytes.clone()))
    };
    let refused = put(101);
    assert_eq!(refused.status, 400, "{refused}");
    assert!(
        String::from_utf8_lossy(&refused.body).contains("at most 100 tags"),
        "{refused}"
    );
    hub.manifest("a", &image.digest())
        .refuses(404, "MANIFEST_UNKNOWN");
    put(100).expect(201);
    assert_eq!(hub.list("/v2/a/tags/list", "tags").0.len(), 100);
}

/// Whoever reads standard error may have stopped to, or be slow.
#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    let dir = TempDir::new().expect("a folder");
    let address = crate::world::free_address();
    let mut serve: Command = command(&["serve"]);
    serve
        .env("REGISTRY_HTTP_ADDR", &address)
        .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", dir.path())
        .stderr(Stdio::piped());
    let mut child = serve.spawn().expect("it starts");
    let hub = Hub { address };
    crate::world::await_some("it to listen", || {
        crate::world::Line::try_to(&hub.address).ok()
    });
    // A pipe holds 64 KiB, which is some 200 lines of the access log.
    let mut line = hub.line();
    for _ in 0..5000 {
        line.ask(&Ask::get("/v2/")).expect(200);
    }
    // Somebody reads again, and is told what was lost.
    let errors = child.stderr.take().expect("piped");
    let (send, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(errors).lines();
        lines.for_each(|line| send.send(line.expect("text")).expect("listened to"));
    });
    let mut lines = Vec::new();
    crate::world::await_some("the loss to be told", || {
        line.ask(&Ask::get("/v2/")).expect(200);
        lines.extend(heard.try_iter());
        let told = |line: &&String| line.contains("lines of this log were lost");
        let told = lines.iter().find(told)?;
        assert!(told.starts_with("WARN["), "{told}");
        Some(())
    });
    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).expect("alive");
    assert!(child.wait().expect("it is ours").success());
    lines.extend(heard.iter());
    // And the last words are heard.
    assert!(
        lines.last().expect("one").contains("stopped"),
        "{:?}",
        lines.last()
    );
    let access = lines
        .iter()
        .filter(|line| line.contains("response completed"))
        .count();
    assert!(access < 5000, "{access} lines");
}
