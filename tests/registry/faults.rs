//! A disk that fails in the k-th call, for one call after the other: the kernel is made to say so
//! by strace, so that the database is put to it like our own code.
//!
//! What was acknowledged is there after a restart. What was answered with 5xx may or may not be
//! there, but the registry goes on, or says that it needs a restart; and the same push succeeds
//! then. Where a sync failed, nothing that memory has of it is believed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::disks::Disk;
use crate::told::{Held, Told};
use crate::world::{Ask, Blob, Hub, Image, Line, Program, skip};

/// The calls that change a disk.
const CALLS: [&str; 8] = [
    "fdatasync",
    "fsync",
    "pwrite64",
    "write",
    "rename",
    "linkat",
    "unlink",
    "mkdir",
];

/// Watches a program's calls, until it is dropped.
pub struct Strace(Child);

impl Strace {
    /// Attaches to all threads of a program.
    pub fn to(program: &Program, arguments: &[&str]) -> Strace {
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-p", &program.pid().to_string()])
            .args(arguments);
        let mut child = strace.stderr(Stdio::piped()).spawn().expect("strace");
        let mut said = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains(" attached") {
            line.clear();
            let size = said.read_line(&mut line).expect("text");
            assert!(size > 0, "strace can't attach to the program");
        }
        // It has more to say, which nobody reads.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Strace(child)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // So that it lets the program go on; it may have ended with it.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// A client that pushes, moves and deletes, and notes what it was told.
struct Visitor<'h> {
    hub: &'h Hub,
    told: Told,
    /// Statuses that are no success.
    failed: Vec<Option<u16>>,
}

impl Visitor<'_> {
    /// Asks on a connection of its own; the status and where to go on.
    fn ask(&mut self, ask: Ask) -> (Option<u16>, String) {
        let heard = Line::try_to(&self.hub.address).and_then(|mut line| {
            line.try_say(ask.bytes())?;
            line.try_hear(&ask.method)
        });
        let status = heard.as_ref().ok().map(|answer| answer.status);
        if status.is_none_or(|status| status >= 300) {
            self.failed.push(status);
        }
        let location = heard
            .ok()
            .and_then(|answer| Some(answer.find("Location")?.to_owned()));
        (status, location.unwrap_or_default())
    }

    /// Asks for what leaves `url` leading to `held`.
    fn change(&mut self, ask: Ask, url: &str, held: Held) {
        let (status, _) = self.ask(ask);
        self.told.note(url, held, status);
    }

    fn push_blob(&mut self, blob: &Blob, is_patched: bool) {
        let (status, location) = self.ask(Ask::post("/v2/a/blobs/uploads/"));
        if status != Some(202) {
            return;
        }
        let put = Ask::put(format!("{location}?digest={}", blob.digest));
        let put = match is_patched {
            true => {
                let (first, rest) = blob.bytes.split_at(blob.bytes.len() / 2);
                self.ask(Ask::patch(&location).stream(first));
                // Appended to whatever came of it: the digest tells.
                put.body(rest)
            }
            false => put.body(blob.bytes.clone()),
        };
        self.change(
            put,
            &format!("/v2/a/blobs/{}", blob.digest),
            Some(blob.digest),
        );
    }

    fn put_manifest(&mut self, reference: &str, image: &Image) {
        let digest = image.manifest.digest;
        let put = Ask::put(format!("/v2/a/manifests/{reference}"))
            .with("Content-Type", &image.media_type)
            .body(image.manifest.bytes.clone());
        let (status, _) = self.ask(put);
        for url in [reference, &image.digest()] {
            self.told
                .note(&format!("/v2/a/manifests/{url}"), Some(digest), status);
        }
    }

    /// Each kind of change once. All of it succeeds, however often, where the disk does.
    fn visit(&mut self, things: &Things) {
        let Things {
            image,
            other,
            large,
        } = things;
        for (n, blob) in image.blobs.iter().enumerate() {
            self.push_blob(blob, n == 1);
        }
        let whole = &image.blobs[2];
        let post = Ask::post(format!("/v2/a/blobs/uploads/?digest={}", whole.digest));
        let url = format!("/v2/a/blobs/{}", whole.digest);
        self.change(post.body(whole.bytes.clone()), &url, Some(whole.digest));
        self.put_manifest("v1", image);
        self.put_manifest("v1", other);
        self.put_manifest("v2", large);
        self.put_manifest("gone", image);
        self.change(
            Ask::delete("/v2/a/manifests/gone"),
            "/v2/a/manifests/gone",
            None,
        );
        let (status, _) = self.ask(Ask::delete(format!("/v2/a/manifests/{}", image.digest())));
        self.told
            .note_removal("/v2/a/manifests/", image.manifest.digest, status);
        let url = format!("/v2/a/blobs/{}", whole.digest);
        self.change(Ask::delete(&url), &url, None);
    }
}

/// What is pushed.
struct Things {
    image: Image,
    /// Its blobs are there before.
    other: Image,
    /// A manifest that is kept in a file.
    large: Image,
}

impl Things {
    fn new() -> Things {
        let layers = [
            Blob::of("{\"n\":1}"),
            Blob::noise(150_000, 130),
            Blob::noise(90_000, 131),
        ];
        let document = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [],
            "annotations": { "x": "x".repeat(100_000) },
        });
        Things {
            image: Image::made_of(&layers),
            other: Image::named("other"),
            large: Image::document(lighthouse::oci::manifest::OCI_INDEX, &document),
        }
    }
}

/// Serves an empty root directory, with what is there before the disk begins to fail.
fn serve(root: &Path, things: &Things) -> Program {
    let hub = Program::serve(root, &[("LOG_ACCESSLOG_DISABLED", "true")]);
    hub.push("a", "old", &things.other);
    hub
}

fn visitor(hub: &Hub) -> Visitor<'_> {
    Visitor {
        hub,
        told: Told::default(),
        failed: Vec::new(),
    }
}

/// How often the thread that makes a call most often makes it, while nothing fails.
fn count(root: &Path, call: &str) -> usize {
    let things = Things::new();
    let hub = serve(root, &things);
    let trace = root.join("trace");
    let path = trace.to_str().expect("UTF-8");
    let strace = Strace::to(&hub, &["-o", path, "-e", &format!("trace={call}")]);
    let mut visitor = visitor(&hub);
    visitor.visit(&things);
    assert_eq!(visitor.failed, []);
    drop(strace);
    let trace = std::fs::read_to_string(trace).expect("a trace");
    let mut counts = std::collections::HashMap::new();
    for line in trace.lines() {
        if let Some((thread, rest)) = line.split_once(' ')
            && rest.trim_start().starts_with(&format!("{call}("))
        {
            *counts.entry(thread).or_insert(0) += 1;
        }
    }
    counts.into_values().max().unwrap_or(0)
}

/// Fails a call as strace is told (strace(1), "Tampering"), and holds the registry to its promises.
fn fail(root: &Path, call: &str, error: &str, when: &str) {
    let what = format!("{call}:{error}:{when}");
    let things = Things::new();
    let hub = serve(root, &things);
    let inject = format!("inject={call}:error={error}:when={when}");
    let strace = Strace::to(&hub, &["-o", "/dev/null", "-e", &inject]);
    let mut visitor = visitor(&hub);
    visitor.visit(&things);
    let no_answer = visitor
        .failed
        .iter()
        .filter(|status| status.is_none())
        .count();
    // A write that fails may be that of an answer.
    assert!(
        no_answer == 0 || call == "write",
        "{what}: {:?}",
        visitor.failed
    );
    let pulled = hub.manifest("a", "old");
    assert!(
        call == "write" || pulled.status == 200,
        "{what}: pulls go on: {pulled}"
    );
    drop(strace);
    let is_over = hub
        .log()
        .iter()
        .any(|line| line.contains("until a restart"));
    if is_over {
        hub.put_manifest("a", "late", &things.other)
            .refuses(503, "UNKNOWN");
        hub.manifest("a", "old").expect(200);
    }
    let mut told = visitor.told;
    if !is_over {
        told = again(&hub, told, &things, &format!("{what}, after it"));
    }
    hub.kill();
    let hub = Program::serve(root, &[("LOG_ACCESSLOG_DISABLED", "true")]);
    told.verify(&hub, &format!("{what}, after a restart"));
    told = again(&hub, told, &things, &format!("{what}, after a restart"));
    hub.signal(Signal::TERM);
    assert!(hub.end().success());
    let hub = Program::serve(root, &[]);
    told.verify(&hub, &format!("{what}, after a stop"));
}

/// The same once more, which succeeds.
fn again(hub: &Hub, told: Told, things: &Things, when: &str) -> Told {
    let mut visitor = Visitor {
        hub,
        told,
        failed: Vec::new(),
    };
    visitor.visit(things);
    assert_eq!(visitor.failed, [], "{when}");
    visitor.told.verify(hub, when);
    visitor.told
}

pub fn has_strace() -> bool {
    let is_there = Command::new("strace").arg("--version").output().is_ok();
    if !is_there {
        skip("strace is not installed");
    }
    is_there
}

/// A few of all faults; `make soak` has the rest.
fn some(faults: &[(&str, &str, &str)]) {
    if !has_strace() {
        return;
    }
    for (call, error, when) in faults {
        let dir = TempDir::new().expect("a folder");
        fail(dir.path(), call, error, when);
    }
}

#[test]
fn a_sync_fails() {
    some(&[
        ("fdatasync", "EIO", "1"),
        ("fdatasync", "EIO", "4"),
        ("fdatasync", "ENOSPC", "3+"),
        ("fsync", "EIO", "1"),
        ("fsync", "EIO", "2"),
        ("fsync", "EIO", "1+"),
    ]);
}

#[test]
fn a_write_fails() {
    some(&[
        ("pwrite64", "ENOSPC", "1"),
        ("pwrite64", "ENOSPC", "20"),
        ("pwrite64", "EIO", "1+"),
        ("write", "ENOSPC", "1"),
        ("write", "EIO", "1+"),
    ]);
}

#[test]
fn a_name_fails() {
    some(&[
        ("rename", "EIO", "1"),
        ("linkat", "ENOSPC", "1+"),
        ("unlink", "EIO", "1+"),
        ("mkdir", "ENOSPC", "1"),
        ("mkdir", "EIO", "1+"),
    ]);
}

/// Every call of a visit, on a file system; with `FAULTS=all`, as `make soak` says.
fn all_on(make: &[&str]) {
    if std::env::var("FAULTS").as_deref() != Ok("all") || !has_strace() {
        return;
    }
    let new_root = |n: usize, disk: &Disk| {
        let root = disk.path().join(format!("root-{n}"));
        std::fs::create_dir(&root).expect("a folder");
        root
    };
    let Some(disk) = Disk::made_by(make) else {
        return;
    };
    let mut number = 0;
    for call in CALLS {
        let bound = count(&new_root(number, &disk), call);
        println!("{call}: {bound} calls");
        for error in ["EIO", "ENOSPC"] {
            for k in 1..=bound {
                for when in [format!("{k}"), format!("{k}+")] {
                    number += 1;
                    let root = new_root(number, &disk);
                    fail(&root, call, error, &when);
                    std::fs::remove_dir_all(root).expect("it is ours");
                }
            }
        }
        number += 1;
    }
}

#[test]
fn every_call_fails_on_ext4() {
    all_on(&["mkfs.ext4", "-q"]);
}

#[test]
fn every_call_fails_on_xfs() {
    all_on(&["mkfs.xfs", "-q"]);
}

#[test]
fn every_call_fails_on_btrfs() {
    all_on(&["mkfs.btrfs", "-q"]);
}
