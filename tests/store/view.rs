//! Looking at a store: beside its writer, after it, and where nothing can be written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lighthouse::disk::Root;
use lighthouse::oci::Digest;
use lighthouse::store::{Store, View, blob, repository as names};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{Fixture, fixture, manifest, repository};
use crate::disks::Disk;
use crate::world::skip;

fn view(root: &Path) -> View {
    let root = Root::open(root).expect("a root");
    View::open(&root, None).expect("a view")
}

fn names_in(view: &View) -> Vec<String> {
    view.read(|tx| names::list(tx, "", 100)).expect("an answer")
}

fn refused(root: &Path, catalog: Option<&Path>) -> String {
    let root = Root::open(root).expect("a root");
    let refused = View::open(&root, catalog);
    refused.err().expect("it is refused").to_string()
}

/// The names in a folder of ours, in order.
fn names_beside(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("lighthouse")).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

fn put(at: &Fixture, name: &str) {
    at.store
        .put_manifest(manifest(name, b"m", &["v"]), "")
        .expect("kept");
}

#[test]
fn a_view_sees_what_is_committed_while_it_is_open() {
    let at = Fixture::new();
    let view = view(at.dir.path());
    assert!(names_in(&view).is_empty());
    put(&at, "a");
    assert_eq!(names_in(&view), ["a"]);
    drop(at.store);
    assert_eq!(names_in(&view), ["a"], "without a writer, too");
}

#[test]
fn a_view_leaves_nothing_behind() {
    let at = Fixture::new();
    put(&at, "a");
    let root = at.dir.path().to_owned();
    drop(at.store);
    let before = names_beside(&root);
    assert!(!before.contains(&"catalog.sqlite-wal".into()), "{before:?}");
    let seen = view(&root);
    assert_eq!(names_in(&seen), ["a"]);
    drop(seen);
    assert_eq!(names_beside(&root), before);

    // Nor does it make a store.
    let empty = TempDir::new().expect("a folder");
    assert!(names_in(&view(empty.path())).is_empty());
    assert_eq!(fs::read_dir(empty.path()).expect("a folder").count(), 0);
}

#[test]
fn a_tree_that_was_not_read_yet_does_not_seem_empty() {
    let root = TempDir::new().expect("a folder");
    let tree = root
        .path()
        .join("docker/registry/v2/repositories/a/_layers");
    fs::create_dir_all(tree).expect("a folder");
    let said = refused(root.path(), None);
    assert!(said.contains("`registry serve` makes one"), "{said}");
}

#[test]
fn a_catalog_of_another_version_is_not_read() {
    for (version, cure) in [
        (2, "start the one that wrote it"),
        (0, "brings it up to date"),
    ] {
        let at = Fixture::new();
        drop(at.store);
        let path = at.dir.path().join("lighthouse/catalog.sqlite");
        let catalog = Connection::open(path).expect("a database");
        catalog
            .pragma_update(None, "user_version", version)
            .expect("written");
        drop(catalog);
        let said = refused(at.dir.path(), None);
        assert!(said.contains(cure), "{said}");
    }
}

#[test]
fn a_catalog_may_be_elsewhere() {
    let (dir, elsewhere) = (
        TempDir::new().expect("a folder"),
        TempDir::new().expect("one"),
    );
    // What SQLite's URIs would take for something else.
    let catalog = elsewhere.path().join("of the #1 50%?/catalog.sqlite");
    let root = Root::open(dir.path()).expect("a root");
    let store = Store::open(&root, Some(&catalog)).expect("a store");
    let at = Fixture { dir, store };
    put(&at, "a");
    assert!(catalog.exists());
    assert!(!at.dir.path().join("lighthouse/catalog.sqlite").exists());
    let view = View::open(&root, Some(&catalog)).expect("a view");
    assert_eq!(names_in(&view), ["a"]);
}

/// A folder that can't be written, until it is dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    /// None, with the reason printed, where that is not possible.
    fn new(folder: &Path) -> Option<ReadOnly> {
        let mount = |arguments: &[&str]| {
            let output = Command::new("mount").args(arguments).arg(folder).output();
            let output = output.map_err(|err| err.to_string())?;
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            output.status.success().then_some(()).ok_or(complaint)
        };
        let own = folder.to_str().expect("UTF-8");
        let mounted = mount(&["--bind", own]);
        let unmounted = ReadOnly(folder.to_owned());
        let mounted = mounted.and_then(|()| mount(&["-o", "remount,bind,ro"]));
        match mounted {
            Ok(()) => Some(unmounted),
            Err(why) => {
                skip(&format!("nothing can be mounted read-only: {why}"));
                None
            }
        }
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // One that was never mounted has nothing to say.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn what_was_closed_is_read_where_nothing_can_be_written() {
    let at = Fixture::new();
    put(&at, "a");
    let small: Digest = at.push("a", b"small").expect("kept");
    let root = at.dir.path().to_owned();
    drop(at.store);
    let Some(_mounted) = ReadOnly::new(&root) else {
        return;
    };
    let view = view(&root);
    assert_eq!(names_in(&view), ["a"]);
    let found = view.read(|tx| blob::find(tx, &repository("a"), &small));
    assert_eq!(found.expect("an answer").expect("there").size, 5);
}

#[test]
fn what_is_still_in_the_log_is_read_where_nothing_can_be_written() {
    let at = Fixture::new();
    put(&at, "before");
    // What a kill leaves: a copy of the files while the log is not empty.
    let killed = TempDir::new().expect("a folder");
    let folder = killed.path().join("lighthouse");
    fs::create_dir(&folder).expect("a folder");
    for name in ["catalog.sqlite", "catalog.sqlite-wal"] {
        fs::copy(
            at.dir.path().join("lighthouse").join(name),
            folder.join(name),
        )
        .expect("a copy");
    }
    let log = fs::metadata(folder.join("catalog.sqlite-wal")).expect("a log");
    assert!(log.len() > 0);
    let Some(_mounted) = ReadOnly::new(killed.path()) else {
        return;
    };
    let view = view(killed.path());
    assert_eq!(names_in(&view), ["before"]);
}

#[test]
fn what_was_closed_is_read_where_no_room_is_left() {
    let Some(disk) = Disk::of_mebibytes(2) else {
        return;
    };
    let store = fixture::open(&disk.path());
    let new = manifest("a", b"m", &["v"]);
    store.put_manifest(new, "").expect("kept");
    drop(store);
    // The last page, too; what does not fit is the point.
    let _ = fs::write(disk.path().join("filler"), vec![0; 4 << 20]);
    let view = view(&disk.path());
    assert_eq!(names_in(&view), ["a"]);
}
