//! Bytes at rest that are not what they were, as disks do to them without a word.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::world::{Ask, Blob, Image, Program};

fn blob_path(root: &Path, blob: &Blob) -> PathBuf {
    let hex = blob.digest.hex();
    root.join("docker/registry/v2/blobs/sha256")
        .join(&hex[..2])
        .join(hex)
        .join("data")
}

/// A registry that was stopped with that blob, and started again with one bit of it flipped.
fn flipped(root: &Path, blob: &Blob) -> Program {
    let hub = Program::serve(root, &[]);
    hub.push_blob("a", blob);
    hub.signal(Signal::TERM);
    assert!(hub.end().success());
    let path = blob_path(root, blob);
    let file = File::options().read(true).write(true).open(path);
    let file = file.expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000).expect("a byte");
    file.write_all_at(&[byte[0] ^ 1], 1000).expect("written");
    Program::serve(root, &[])
}

#[test]
fn a_flipped_bit_never_ends_cleanly_and_a_push_heals() {
    let dir = TempDir::new().expect("a folder");
    let blob = Blob::noise(300_000, 140);
    let hub = flipped(dir.path(), &blob);
    let url = format!("/v2/a/blobs/{}", blob.digest);
    // HEAD asks for the length alone.
    hub.head(&url).expect(200);
    let mut line = hub.line();
    line.say(Ask::get(&url).bytes());
    let cut = line
        .try_hear("GET")
        .expect_err("the last bytes are held back");
    assert_ne!(cut.kind(), std::io::ErrorKind::WouldBlock, "{cut}");
    hub.logged("is damaged on this disk");
    hub.head(&url).expect(404);
    hub.blob("a", &blob).refuses(404, "BLOB_UNKNOWN");
    let damaged = dir
        .path()
        .join("lighthouse/damaged")
        .join(blob.digest.hex());
    assert!(damaged.is_file(), "a person may look at it");
    hub.push_blob("a", &blob);
    assert!(hub.blob("a", &blob).expect(200).body == blob.bytes);
}

#[test]
fn a_part_of_a_damaged_blob_has_the_whole_looked_at() {
    let dir = TempDir::new().expect("a folder");
    let blob = Blob::noise(300_000, 141);
    let hub = flipped(dir.path(), &blob);
    let url = format!("/v2/a/blobs/{}", blob.digest);
    hub.ask(Ask::get(&url).with("Range", "bytes=5000-5999"))
        .expect(206);
    hub.logged("is damaged on this disk");
    hub.head(&url).expect(404);
}

#[test]
fn small_content_is_hashed_when_it_is_first_read() {
    let dir = TempDir::new().expect("a folder");
    let image = Image::named("x");
    let hub = Program::serve(dir.path(), &[]);
    hub.push("a", "v1", &image);
    hub.signal(Signal::TERM);
    assert!(hub.end().success());
    let catalog = rusqlite::Connection::open(dir.path().join("lighthouse/catalog.sqlite"));
    let flip = "update contents set bytes = cast('x' || substr(bytes, 2) as blob)";
    let changed = catalog.expect("a database").execute(flip, []);
    assert!(changed.expect("changed") > 0);
    let hub = Program::serve(dir.path(), &[]);
    hub.manifest("a", "v1").refuses(404, "MANIFEST_UNKNOWN");
    hub.logged("is damaged on this disk");
    hub.push("a", "v1", &image);
    assert_eq!(
        hub.manifest("a", "v1").expect(200).body,
        image.manifest.bytes
    );
    for blob in &image.blobs {
        assert_eq!(hub.blob("a", blob).expect(200).body, blob.bytes);
    }
}
