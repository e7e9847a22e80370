//! The order in which bytes, names, rows and answers become durable, as the kernel sees it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::world::{Ask, Blob, Hub, Image, Program, await_some, skip};

/// A system call that ended well.
#[derive(Debug)]
enum Call {
    Write(String),
    /// Bytes that the kernel took from one file to another, or only noted that both have them.
    Share,
    Sync(String),
    MakeDir(String),
    /// A second name for a file, or another one.
    Name(String, String),
    /// The head of an answer began to go out.
    Answer(u16),
}

/// Reads what strace wrote. A call that others interrupted comes in two lines.
fn calls(trace: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, start.to_owned());
            // An answer counts from its beginning: nothing may be missing by then.
            calls.extend(answer(start));
        } else if rest.starts_with("<... ") {
            let end = rest.split_once("resumed>").map_or("", |(_, end)| end);
            let start = begun.remove(thread).unwrap_or_default();
            if answer(&start).is_none() {
                calls.extend(call(&(start + end)));
            }
        } else {
            calls.extend(answer(rest).or_else(|| call(rest)));
        }
    }
    calls
}

fn answer(call: &str) -> Option<Call> {
    let (_, status) = call.split_once("\"HTTP/1.1 ")?;
    Some(Call::Answer(status.get(..3)?.parse().ok()?))
}

/// What a call did; None where it failed, or does nothing that lasts.
fn call(line: &str) -> Option<Call> {
    let (call, result) = line.rsplit_once(" = ")?;
    if result.starts_with('-') {
        return None;
    }
    let (name, arguments) = call.split_once('(')?;
    let file = || {
        let (_, behind) = arguments.split_once('<')?;
        Some(behind.split_once('>')?.0.to_owned())
    };
    let quoted: Vec<&str> = arguments.split('"').skip(1).step_by(2).collect();
    match name {
        "fsync" | "fdatasync" => Some(Call::Sync(file()?)),
        "write" | "pwrite64" | "ftruncate" => Some(Call::Write(file()?)),
        "copy_file_range" | "sendfile" => Some(Call::Share),
        "mkdir" | "mkdirat" => Some(Call::MakeDir((*quoted.first()?).to_owned())),
        "link" | "linkat" | "rename" | "renameat" | "renameat2" => Some(Call::Name(
            (*quoted.first()?).to_owned(),
            (*quoted.get(1)?).to_owned(),
        )),
        _ => None,
    }
}

/// Serves under strace while `visit` lasts; what the kernel was asked.
fn traced(dir: &Path, visit: impl FnOnce(&Hub)) -> Vec<Call> {
    let trace = dir.join("trace");
    let mut strace = Command::new("strace");
    // With -D the program is our child, and strace watches from aside.
    strace
        .args(["-D", "-f", "-y", "-s", "20", "-o"])
        .arg(&trace)
        .args([
            "-e",
            "trace=fsync,fdatasync,write,pwrite64,ftruncate,copy_file_range,sendfile,mkdir,mkdirat,\
             link,linkat,rename,renameat,renameat2,sendto",
        ])
        .args([env!("CARGO_BIN_EXE_registry"), "serve"])
        .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
        .env("REGISTRY_STORAGE_DELETE_ENABLED", "true")
        .env(
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY",
            dir.join("root"),
        );
    let program = Program::start(strace);
    visit(&program);
    let ended = format!("{} +++ exited with 0 +++", program.pid());
    // strace fills up short numbers with as many spaces as it takes.
    let is_end = |line: &str| line.split_whitespace().eq(ended.split_whitespace());
    program.signal(Signal::TERM);
    assert!(program.end().success());
    let trace = await_some("strace to end", || {
        let trace = std::fs::read_to_string(&trace).expect("a trace");
        trace.lines().any(is_end).then_some(trace)
    });
    calls(&trace)
}

/// What a power cut would take.
#[derive(Default)]
struct Unsynced {
    files: HashSet<String>,
    folders: HashSet<String>,
}

impl Unsynced {
    fn note(&mut self, call: &Call) {
        let folder = |path: &str| path.rsplit_once('/').expect("a folder").0.to_owned();
        match call {
            Call::Write(path) => drop(self.files.insert(path.clone())),
            Call::Sync(path) => {
                self.files.remove(path);
                self.folders.remove(path);
            }
            Call::MakeDir(path) => drop(self.folders.insert(folder(path))),
            Call::Name(from, to) => {
                if self.files.contains(from) {
                    self.files.insert(to.clone());
                }
                // A name under uploads/ that a power cut takes is missed by nobody.
                self.folders.insert(folder(to));
            }
            Call::Answer(_) | Call::Share => {}
        }
    }

    /// What the blobs and the catalog's log would lose. The database itself is written from the
    /// log, which stands until that is synced.
    fn losses(&self) -> Vec<&String> {
        let files = self.files.iter().filter(|path| path.ends_with("-wal"));
        files.chain(self.names()).collect()
    }

    /// What of the names of blobs and their bytes would be lost.
    fn names(&self) -> impl Iterator<Item = &String> {
        let all = self.files.iter().chain(&self.folders);
        all.filter(|path| path.contains("/docker/registry/v2"))
    }
}

/// Which answers promise that something is kept, in the order of [`a_day`].
fn promises() -> Vec<(u16, bool)> {
    let begun = (202, false);
    let kept = (201, true);
    let image = [[begun, kept]; 3].concat();
    let mut promises = [&image[..], &[kept], &image[..], &[kept]].concat();
    // An upload in pieces, a mount, a large manifest, and a removal of each kind.
    promises.extend([begun, begun, kept, kept, kept]);
    promises.extend([(202, true); 3]);
    promises
}

fn a_day(hub: &Hub) {
    let image = Image::named("x");
    hub.push("library/a", "v1", &image);
    hub.push("library/a", "v1", &Image::named("y"));
    let blob = Blob::noise(3_000_000, 110);
    let patch = Ask::patch(hub.begin("b")).stream(blob.bytes.clone());
    let location = hub.ask(patch).expect(202).header("Location").to_owned();
    hub.ask(Ask::put(format!("{location}?digest={}", blob.digest)))
        .expect(201);
    let mount = format!("/v2/c/blobs/uploads/?mount={}&from=b", blob.digest);
    hub.ask(Ask::post(mount)).expect(201);
    let document = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [],
        "annotations": { "x": "x".repeat(100_000) },
    });
    let large = Image::document(lighthouse::oci::manifest::OCI_INDEX, &document);
    hub.put_manifest("b", "v1", &large).expect(201);
    hub.delete("/v2/b/manifests/v1").expect(202);
    hub.delete(format!("/v2/b/manifests/{}", large.digest()))
        .expect(202);
    hub.delete(format!("/v2/b/blobs/{}", blob.digest))
        .expect(202);
}

#[test]
fn created_means_synced() {
    if Command::new("strace").arg("--version").output().is_err() {
        return skip("strace is not installed");
    }
    let dir = TempDir::new().expect("a folder");
    let calls = traced(dir.path(), a_day);
    let mut unsynced = Unsynced::default();
    let (mut placed, mut synced, mut unsynced_rows) = (0, 0, 0);
    let (mut promises, mut cheap) = (promises().into_iter(), 0);
    for call in &calls {
        match call {
            Call::Name(from, to) if to.ends_with("/data") => {
                let whole = !unsynced.files.contains(from);
                assert!(whole, "{to} was named before its bytes were safe");
                placed += 1;
            }
            // The row comes after the bytes and their name.
            Call::Write(path) if path.ends_with("-wal") => {
                let early: Vec<_> = unsynced.names().collect();
                assert!(early.is_empty(), "a row came before these: {early:?}");
                unsynced_rows += 1;
            }
            Call::Write(path) if path.ends_with("/catalog.sqlite") => {
                let log = unsynced.files.iter().find(|path| path.ends_with("-wal"));
                assert_eq!(log, None, "moved before the log was safe");
            }
            Call::Sync(path) if path.ends_with("-wal") => synced += 1,
            Call::Answer(status) => {
                let (expected, is_promise) = promises.next().expect("no more answers");
                assert_eq!(*status, expected, "{calls:#?}");
                let losses = unsynced.losses();
                assert!(!is_promise || losses.is_empty(), "{status} and {losses:?}");
                assert!(!is_promise || unsynced_rows > 0, "{status} without a row");
                cheap += u32::from(!is_promise && synced == 0);
                (synced, unsynced_rows) = (0, 0);
            }
            _ => {}
        }
        unsynced.note(call);
    }
    assert_eq!(promises.next(), None, "{calls:#?}");
    // A large blob and a large manifest; all else is in the catalog.
    assert_eq!(placed, 2, "{calls:#?}");
    // Of eight sessions that begin or go on, one may meet the log as it begins anew.
    assert!(cheap >= 6, "{cheap} of 8 sessions waited for no disk");
}

/// What a sync failed to write may be in memory alone, where a start finds it: it is written once
/// more, byte by byte, to a file that shares nothing with it.
#[test]
fn a_start_writes_the_log_once_more() {
    if Command::new("strace").arg("--version").output().is_err() {
        return skip("strace is not installed");
    }
    let dir = TempDir::new().expect("a folder");
    let image = Image::named("x");
    let hub = Program::serve(&dir.path().join("root"), &[]);
    hub.push("a", "v1", &image);
    hub.kill();
    let calls = traced(dir.path(), |hub| drop(hub.manifest("a", "v1").expect(200)));
    let mut steps = Vec::new();
    for call in &calls {
        match call {
            Call::Share => panic!("bytes are shared: {calls:#?}"),
            Call::Write(path) if path.ends_with("-wal.copy") => steps.push("write"),
            Call::Sync(path) if path.ends_with("-wal.copy") => steps.push("sync"),
            Call::Name(from, _) if from.ends_with("-wal.copy") => steps.push("name"),
            Call::Sync(path) if path.ends_with("/lighthouse") => steps.push("sync the name"),
            Call::Write(path) if path.ends_with("-wal") => steps.push("go on"),
            _ => {}
        }
    }
    steps.dedup();
    let name = steps
        .iter()
        .position(|step| *step == "write")
        .expect("a copy");
    let expected = ["write", "sync", "name", "sync the name"];
    assert_eq!(steps[name..name + 4], expected, "{calls:#?}");
    assert!(!steps[..name].contains(&"go on"), "{calls:#?}");
}
