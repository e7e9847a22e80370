//! Copies of the catalog, and what they are good for.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lighthouse::disk::Root;
use lighthouse::store::backup::{self, Daily};
use lighthouse::store::{Failure, Store, repository as names};
use tempfile::TempDir;

use super::{Fixture, manifest};
use crate::disks::Disk;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn day(number: u32) -> SystemTime {
    UNIX_EPOCH + DAY * (20_000 + number)
}

/// The store that a copy makes, in a root directory of its own.
fn restored(copy: &Path) -> Fixture {
    let dir = TempDir::new().expect("a folder");
    fs::create_dir(dir.path().join("lighthouse")).expect("a folder");
    fs::copy(copy, dir.path().join("lighthouse/catalog.sqlite")).expect("a copy");
    let store = Store::open(&Root::open(dir.path()).expect("a root"), None).expect("a store");
    Fixture { dir, store }
}

fn names_in(at: &Fixture) -> Vec<String> {
    let names = at.store.read(|tx| names::list(tx, "", 10_000));
    names.expect("an answer")
}

fn put(at: &Fixture, name: &str) -> Result<(), Failure> {
    at.store
        .put_manifest(manifest(name, name.as_bytes(), &["v"]), "")
}

#[test]
fn a_copy_is_of_one_moment_while_the_catalog_changes() {
    let at = Fixture::new();
    put(&at, "n00000").expect("kept");
    let to = at.dir.path().join("copy");
    thread::scope(|scope| {
        let pushes = scope.spawn(|| {
            (1..300).for_each(|number| put(&at, &format!("n{number:05}")).expect("kept"));
        });
        while !pushes.is_finished() {
            let size = backup::write(at.store.view(), &to).expect("a copy");
            assert_eq!(fs::metadata(&to).expect("there").len(), size);
            let names = names_in(&restored(&to));
            // Numbers without a gap: what was committed by then, and nothing of what was not.
            let expected = (0..names.len()).map(|number| format!("n{number:05}"));
            assert!(names.iter().eq(expected.collect::<Vec<_>>().iter()));
        }
        pushes.join().expect("no panic");
    });
    backup::write(at.store.view(), &to).expect("a copy");
    assert_eq!(names_in(&restored(&to)).len(), 300);
    let left = fs::read_dir(at.dir.path()).expect("a folder").map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("UTF-8")
    });
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(
        left,
        ["copy", "docker", "lighthouse"],
        "nothing else is left"
    );
}

#[test]
fn a_copy_is_made_once_a_day_and_a_week_is_kept() {
    let at = Fixture::new();
    put(&at, "a").expect("kept");
    let daily = |now| backup::daily(at.store.view(), now).expect("an answer");
    let mut made: Vec<PathBuf> = Vec::new();
    for number in 0..10 {
        let Daily::Made(path) = daily(day(number)) else {
            panic!("none is made on day {number}");
        };
        assert_eq!(daily(day(number) + DAY / 2), Daily::There(path.clone()));
        made.push(path);
    }
    assert!(made[0].ends_with("lighthouse/backups/catalog-v1-2024-10-04T000000Z.sqlite"));
    let there: Vec<bool> = made.iter().map(|path| path.exists()).collect();
    assert_eq!(there, [vec![false; 3], vec![true; 7]].concat());
    assert_eq!(names_in(&restored(&made[9])), ["a"]);
}

#[test]
fn a_copy_takes_no_more_than_a_tenth_of_the_free_room() {
    let Some(disk) = Disk::of_mebibytes(2) else {
        return;
    };
    let store = Store::open(&Root::open(&disk.path()).expect("a root"), None).expect("a store");
    let bytes = vec![7; 60_000];
    for number in 0..6_u8 {
        let mut new = manifest("a", &[&bytes[..], &[number]].concat(), &[]);
        new.needs.clear();
        store.put_manifest(new, "").expect("kept");
    }
    match backup::daily(store.view(), day(0)).expect("an answer") {
        Daily::TooLarge { size, free } => assert!(size * 10 > free, "{size} of {free}"),
        other => panic!("{other:?}"),
    }
    assert!(!disk.path().join("lighthouse/backups").exists());
}

#[test]
fn a_copy_that_does_not_fit_leaves_what_was_there() {
    let Some(disk) = Disk::of_mebibytes(1) else {
        return;
    };
    let at = Fixture::new();
    for number in 0..40_u8 {
        let bytes = [&[number; 50_000][..]].concat();
        let new = manifest("a", &bytes, &[]);
        at.store.put_manifest(new, "").expect("kept");
    }
    let to = disk.path().join("copy");
    fs::write(&to, b"yesterday's").expect("written");
    let fault = backup::write(at.store.view(), &to).expect_err("no room");
    assert!(fault.to_string().contains("the disk is full"), "{fault}");
    assert_eq!(fs::read(&to).expect("there"), b"yesterday's");
    assert_eq!(fs::read_dir(disk.path()).expect("a folder").count(), 1);
}

#[test]
fn a_copy_is_not_made_over_the_catalog_or_a_folder() {
    let at = Fixture::new();
    for (to, cause) in [
        (at.store.catalog_path().to_owned(), "the catalog itself"),
        (at.dir.path().to_owned(), "it is a folder"),
    ] {
        let fault = backup::write(at.store.view(), &to).expect_err("refused");
        assert!(fault.to_string().contains(cause), "{fault}");
    }
    put(&at, "a").expect("it is whole");
}

#[test]
fn a_damaged_catalog_stops_changes_and_names_its_last_copy() {
    let at = Fixture::new();
    for number in 0..400 {
        put(&at, &format!("n{number:03}")).expect("kept");
    }
    let Daily::Made(copy) = backup::daily(at.store.view(), day(0)).expect("an answer") else {
        panic!("no copy");
    };
    let path = at.store.catalog_path().to_owned();
    let dir = at.dir;
    drop(at.store);
    let named = copy.display().to_string();
    let root = Root::open(dir.path()).expect("a root");
    // Tables begin in the first pages; what is in them lies behind.
    spoil(&path, 40);
    let store = Store::open(&root, None).expect("it can be opened");
    let at = Fixture { dir, store };
    let read = at.store.read(|tx| names::list(tx, "", 10));
    let Err(Failure::Fault(fault)) = read else {
        panic!("noise is read: {read:?}");
    };
    assert!(fault.to_string().contains(&named), "{fault}");
    let Err(Failure::Fault(fault)) = put(&at, "another") else {
        panic!("it is changed all the same");
    };
    let said = fault.to_string();
    assert!(
        said.contains("nothing is changed until a restart"),
        "{said}"
    );
    assert!(said.contains(&named), "{said}");
    // A copy of noise is none, and the good one stays.
    let fault = backup::write(at.store.view(), &copy).expect_err("no copy of noise");
    assert!(fault.to_string().contains("put its last copy"), "{fault}");
    assert_eq!(names_in(&restored(&copy)).len(), 400);
    // Worse: not even its tables can be found.
    let dir = at.dir;
    drop(at.store);
    spoil(&path, 1);
    let fault = Store::open(&root, None).err().expect("it can't be opened");
    assert!(fault.to_string().contains(&named), "{fault}");
    assert!(dir.path().join("lighthouse/catalog.sqlite").exists());
}

/// Makes noise of the pages of a database from one on; the first is 0.
fn spoil(path: &Path, first: u64) {
    let file = File::options().write(true).open(path).expect("a file");
    let pages = file.metadata().expect("a size").len() / 4096;
    assert!(first < pages);
    for page in first..pages {
        let noise = file.write_all_at(&[0xa5; 4096], page * 4096);
        noise.expect("written");
    }
}
