//! What a disk that failed leaves behind: nothing that is believed, nothing that takes room, and
//! always a registry that starts again.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::faults::{Strace, has_strace};
use crate::world::{Ask, Blob, Image, Line, Program, await_some, free_address};

/// The session of an upload, as a URL, and its file.
fn begin(hub: &Program, root: &Path) -> (String, String) {
    let location = hub.begin("a");
    let id = location.rsplit_once('/').expect("a session").1;
    let file = root.join("lighthouse/uploads").join(id);
    (location.clone(), file.to_str().expect("UTF-8").into())
}

/// After a sync that failed, the system takes what it has in memory for durable, and says so when
/// it is asked again: none of it is believed, and the client has to send it once more.
#[test]
fn bytes_whose_sync_failed_are_not_believed() {
    if !has_strace() {
        return;
    }
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[]);
    let blob = Blob::noise(200_000, 132);
    // Synced at the end, and on the way, as large ones are.
    let large = Blob::noise(70 << 20, 133);
    for (blob, call, failing) in [(&blob, "fsync", "PUT"), (&large, "fdatasync", "PATCH")] {
        let (location, file) = begin(&hub, dir.path());
        let inject = format!("inject={call}:error=EIO:when=1");
        let strace = ["-P", &file, "-o", "/dev/null", "-e", &inject];
        let put = Ask::put(format!("{location}?digest={}", blob.digest));
        let strace = Strace::to(&hub, &strace);
        let patched = hub.ask(Ask::patch(&location).body(blob.bytes.clone()));
        match failing {
            "PATCH" => drop(patched.refuses(500, "UNKNOWN")),
            _ => {
                patched.expect(202);
                hub.ask(put.clone()).refuses(500, "UNKNOWN");
            }
        }
        drop(strace);
        assert_eq!(hub.get(&location).expect(204).header("Range"), "0-0");
        hub.ask(put.clone().body(blob.bytes.clone())).expect(201);
        assert!(hub.blob("a", blob).expect(200).body == blob.bytes);
    }
}

/// Starts a registry on a disk that fails from then on, which it survives or ends with an error;
/// the next start finds all that was acknowledged.
fn fail_start(root: &Path, image: Option<&Image>, call: &str, error: &str, when: &str) {
    let what = format!("{call}:{error}:{when}");
    if let Some(image) = image {
        let hub = Program::serve(root, &[]);
        hub.push("a", "v1", image);
        // What it leaves in the log is written once more by the next.
        hub.kill();
    }
    let address = free_address();
    let inject = format!("inject={call}:error={error}:when={when}");
    let mut strace = Command::new("strace");
    // With -D the program is our child, and strace watches from aside.
    strace
        .args(["-D", "-f", "-o", "/dev/null", "-e", &inject])
        .args([env!("CARGO_BIN_EXE_registry"), "serve"])
        .env("REGISTRY_HTTP_ADDR", &address)
        .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root)
        .stderr(Stdio::null());
    let mut child = strace.spawn().expect("strace");
    let ended = await_some("a start or an end", || {
        let ended = child.try_wait().expect("it is ours");
        let is_there = || Line::try_to(&address).is_ok();
        ended.map(Some).or_else(|| is_there().then_some(None))
    });
    match ended {
        Some(status) => assert_eq!(status.code(), Some(1), "{what}"),
        None => {
            child.kill().expect("it is alive");
            child.wait().expect("it is ours");
        }
    }
    let hub = Program::serve(root, &[]);
    if let Some(image) = image {
        let got = hub.manifest("a", "v1");
        assert!(
            got.status == 200 && got.body == image.manifest.bytes,
            "{what}: {got}"
        );
    }
    hub.push("a", "v2", &Image::named("after"));
}

#[test]
fn a_start_fails() {
    if !has_strace() {
        return;
    }
    let image = Image::made_of(&[Blob::of("{}"), Blob::noise(90_000, 134)]);
    for (call, error, when) in [
        ("fsync", "EIO", "1"),
        ("fsync", "EIO", "3"),
        ("fsync", "EIO", "1+"),
        ("fdatasync", "EIO", "1"),
        ("fdatasync", "EIO", "2+"),
        ("write", "ENOSPC", "3"),
        ("pwrite64", "EIO", "1"),
        ("pwrite64", "ENOSPC", "4+"),
        ("rename", "EIO", "1"),
        ("mkdir", "ENOSPC", "2"),
        ("fallocate", "EOPNOTSUPP", "1+"),
    ] {
        for image in [None, Some(&image)] {
            let dir = TempDir::new().expect("a folder");
            fail_start(dir.path(), image, call, error, when);
        }
    }
}

/// A blob gets its name before its row: where there is no room for that, its file would keep the
/// disk full.
#[test]
fn a_push_that_got_no_row_leaves_no_file() {
    if !has_strace() {
        return;
    }
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[]);
    let blob = Blob::noise(200_000, 135);
    let document = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [],
        "annotations": { "x": "x".repeat(100_000) },
    });
    let large = Image::document(lighthouse::oci::manifest::OCI_INDEX, &document);
    let log = dir.path().join("lighthouse/catalog.sqlite-wal");
    let log = log.to_str().expect("UTF-8").to_owned();
    let inject = [
        "-P",
        &log,
        "-o",
        "/dev/null",
        "-e",
        "inject=pwrite64:error=ENOSPC:when=1+",
    ];
    let strace = Strace::to(&hub, &inject);
    let post = Ask::post(format!("/v2/a/blobs/uploads/?digest={}", blob.digest));
    let post = post.body(blob.bytes.clone());
    hub.ask(post.clone()).refuses(507, "UNKNOWN");
    hub.put_manifest("a", "v1", &large).refuses(507, "UNKNOWN");
    let (mut folders, mut left) = (vec![dir.path().to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_upload = path
                .parent()
                .is_some_and(|folder| folder.ends_with("uploads"));
            match path.is_dir() {
                true => folders.push(path),
                false if is_upload || path.ends_with("data") => left.push(path),
                false => {}
            }
        }
    }
    assert!(left.is_empty(), "{left:?}");
    drop(strace);
    hub.ask(post).expect(201);
    hub.put_manifest("a", "v1", &large).expect(201);
}
