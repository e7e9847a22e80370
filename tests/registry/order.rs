//! The order in which bytes, names and answers become durable, as the kernel sees it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::world::{Ask, Blob, Hub, Image, Program, await_some, skip};

/// A system call that ended well.
#[derive(Debug)]
enum Call {
    Sync(String),
    Rename(String, String),
    /// Something was entered in the daybook.
    Enter(String),
    /// 201 went out.
    Created,
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
        let whole = if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, start.to_owned());
            // An answer counts from its beginning: nothing may be missing by then.
            if !start.contains("HTTP/1.1 201") {
                continue;
            }
            start.to_owned()
        } else if rest.starts_with("<... ") {
            let end = rest.split_once("resumed>").map_or("", |(_, end)| end);
            let start = begun.remove(thread).unwrap_or_default();
            if start.contains("HTTP/1.1 201") {
                continue;
            }
            start + end
        } else {
            rest.to_owned()
        };
        let name = whole.split('(').next().unwrap_or_default();
        let is_good = whole.ends_with("= 0");
        let path = || {
            let behind = whole
                .split_once('<')
                .and_then(|(_, rest)| rest.split_once('>'));
            behind.expect("a path").0.to_owned()
        };
        match name {
            "fsync" | "fdatasync" if is_good => {
                calls.push(Call::Sync(path()));
            }
            "rename" | "renameat" | "renameat2" if is_good => {
                let quoted: Vec<&str> = whole.split('"').skip(1).step_by(2).collect();
                calls.push(Call::Rename(quoted[0].to_owned(), quoted[1].to_owned()));
            }
            // A page that is cleared has noughts for its head.
            "pwrite64" if whole.contains("/daybook-") && !whole.contains(r#", "\0"#) => {
                calls.push(Call::Enter(path()));
            }
            _ if whole.contains("HTTP/1.1 201") => calls.push(Call::Created),
            _ => {}
        }
    }
    calls
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
            "trace=fsync,fdatasync,rename,renameat,renameat2,pwrite64,sendto,write",
        ])
        .args([env!("CARGO_BIN_EXE_registry"), "serve"])
        .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
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

#[test]
fn created_means_synced() {
    if Command::new("strace").arg("--version").output().is_err() {
        return skip("strace is not installed");
    }
    let dir = TempDir::new().expect("a folder");
    let calls = traced(dir.path(), |hub| {
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
    });
    let mut synced: HashSet<&str> = HashSet::new();
    // Folders with names, and pages with entries, that no sync has made durable yet.
    let mut loose: HashSet<&str> = HashSet::new();
    // Whether what is named now was entered since the last answer.
    let mut is_entered = false;
    let (mut created, mut placed) = (0, [0, 0]);
    for call in &calls {
        match call {
            Call::Sync(path) => {
                synced.insert(path);
                is_entered |= loose.remove(path.as_str()) && path.contains("/daybook-");
            }
            Call::Enter(page) => {
                loose.insert(page);
            }
            Call::Rename(from, to) if to.contains("/docker/registry/v2/") => {
                if synced.contains(from.as_str()) {
                    let folders = [from, to].map(|path| path.rsplit_once('/').expect("a folder").0);
                    loose.extend(folders);
                    placed[0] += 1;
                } else {
                    assert!(
                        is_entered && loose.is_empty(),
                        "{to} was named before it was safe, or while {loose:?} was not"
                    );
                    placed[1] += 1;
                }
            }
            Call::Rename(..) => {}
            Call::Created => {
                assert!(
                    loose.is_empty(),
                    "an answer went out before these were synced: {loose:?}"
                );
                (is_entered, created) = (false, created + 1);
            }
        }
    }
    // Seven blobs, one of them large, and a mount, with a link each; two manifests with three.
    assert_eq!(created, 10, "{calls:#?}");
    assert_eq!(placed, [1, 22], "{calls:#?}");
}
