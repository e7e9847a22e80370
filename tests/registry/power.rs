//! The power goes, right after an answer: what had reached the disk by then has all that was
//! acknowledged. The disk is a file, and a copy of it is what the machine finds when it starts
//! again; what the kernel still had in hand is not in it.

use rustix::process::Signal;

use crate::disks::Disk;
use crate::world::{Ask, Blob, Image, Program};

/// More changes than the log of the catalog is left to hold.
const LATE_TAGS: u32 = 120;

/// What was acknowledged by a certain moment, and the disk as it was then.
struct Moment {
    disk: Disk,
    blobs: Vec<(&'static str, Blob)>,
    /// What tags are; None of one that was deleted.
    tags: Vec<(&'static str, String, Option<Image>)>,
}

impl Moment {
    /// Right now.
    fn of(
        disk: &Disk,
        blobs: &[(&'static str, Blob)],
        tags: &[(&'static str, String, Option<Image>)],
    ) -> Moment {
        Moment {
            disk: disk.cut(),
            blobs: blobs.to_vec(),
            tags: tags.to_vec(),
        }
    }
}

/// A day of pushes, cut short after every answer.
fn push_and_cut(disk: &Disk) -> Vec<Moment> {
    let hub = Program::serve(&disk.path(), &[]);
    let (mut blobs, mut tags) = (Vec::new(), Vec::new());
    let mut moments = Vec::new();
    for (repository, tag, name) in [("a/b", "v1", "x"), ("a/b", "v2", "y"), ("c", "v1", "z")] {
        let image = Image::named(name);
        for blob in &image.blobs {
            hub.push_blob(repository, blob);
            blobs.push((repository, blob.clone()));
            moments.push(Moment::of(disk, &blobs, &tags));
        }
        hub.put_manifest(repository, tag, &image).expect(201);
        tags.push((repository, tag.to_owned(), Some(image)));
        moments.push(Moment::of(disk, &blobs, &tags));
    }
    // A tag moves to what its repository holds already, another one goes, a blob is mounted
    // elsewhere, and one comes that is too large for the catalog.
    let image = tags[1].2.take().expect("not deleted");
    hub.put_manifest("a/b", "v1", &image).expect(201);
    tags[0].2 = Some(image);
    hub.delete("/v2/a/b/manifests/v2").expect(202);
    moments.push(Moment::of(disk, &blobs, &tags));
    let mount = format!("/v2/d/blobs/uploads/?mount={}&from=c", blobs[8].1.digest);
    hub.ask(Ask::post(mount)).expect(201);
    blobs.push(("d", blobs[8].1.clone()));
    moments.push(Moment::of(disk, &blobs, &tags));
    let large = Blob::noise(300_000, 120);
    hub.push_blob("e", &large);
    blobs.push(("e", large));
    moments.push(Moment::of(disk, &blobs, &tags));
    // So many changes that the catalog's log is moved into the database among them.
    let image = Image::named("z");
    for n in 0..LATE_TAGS {
        let tag = format!("late{n}");
        hub.put_manifest("c", &tag, &image).expect(201);
        tags.push(("c", tag, Some(image.clone())));
    }
    moments.push(Moment::of(disk, &blobs, &tags));
    // And a stop moves what is left.
    hub.signal(Signal::TERM);
    assert!(hub.end().success());
    moments.push(Moment::of(disk, &blobs, &tags));
    moments
}

fn nothing_is_lost_on(make: &[&str]) {
    let Some(disk) = Disk::made_by(make) else {
        return;
    };
    let moments = push_and_cut(&disk);
    assert_eq!(moments.len(), 17);
    // Its copies are mounted one at a time: they would pass for the same disk.
    drop(disk);
    for (n, Moment { disk, blobs, tags }) in moments.into_iter().enumerate() {
        disk.start();
        let hub = Program::serve(&disk.path(), &[]);
        for (repository, blob) in &blobs {
            let answer = hub.blob(repository, blob);
            assert_eq!(answer.status, 200, "after answer {n}: {answer}");
            assert!(answer.body == blob.bytes, "after answer {n}");
        }
        for (repository, tag, image) in &tags {
            let answer = hub.manifest(repository, tag);
            let status = if image.is_some() { 200 } else { 404 };
            assert_eq!(answer.status, status, "after answer {n}: {answer}");
            let is_same = |image: &Image| answer.body == image.manifest.bytes;
            assert!(image.as_ref().is_none_or(is_same), "after answer {n}");
        }
    }
}

#[test]
fn nothing_is_lost_on_ext4() {
    nothing_is_lost_on(&["mkfs.ext4", "-q"]);
}

#[test]
fn nothing_is_lost_on_ext4_without_a_journal() {
    nothing_is_lost_on(&["mkfs.ext4", "-q", "-O", "^has_journal"]);
}

#[test]
fn nothing_is_lost_on_xfs() {
    nothing_is_lost_on(&["mkfs.xfs", "-q"]);
}

#[test]
fn nothing_is_lost_on_btrfs() {
    nothing_is_lost_on(&["mkfs.btrfs", "-q"]);
}

#[test]
fn an_owner_is_told_that_there_is_no_journal() {
    let Some(disk) = Disk::made_by(&["mkfs.ext4", "-q", "-O", "^has_journal"]) else {
        return;
    };
    let hub = Program::serve(&disk.path(), &[]);
    hub.logged("has no journal");
    drop(hub);
    let disk = Disk::made_by(&["mkfs.ext4", "-q"]).expect("as before");
    let hub = Program::serve(&disk.path(), &[]);
    hub.logged("try: docker push");
    assert!(!hub.log().iter().any(|line| line.contains("journal")));
}
