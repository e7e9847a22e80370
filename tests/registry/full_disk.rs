//! A disk that is full: pushes are told so, pulls go on, and nothing stands where it should not.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::disks::Disk;
use crate::world::{Ask, Blob, Image, Program, await_some};

/// Every file at a final name is whole.
fn no_ghosts(root: &Path) {
    let mut folders = vec![root.join("docker")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let size = path.metadata().expect("there").len();
                assert!(size > 0, "a ghost at {}", path.display());
            }
        }
    }
}

#[test]
fn a_full_disk_is_told_and_recovers() {
    let Some(disk) = Disk::of_mebibytes(6) else {
        return;
    };
    let hub = Program::serve(&disk.path(), &[]);
    let image = Image::named("before");
    hub.push("a", "v1", &image);
    let small = Blob::noise(2 << 20, 100);
    hub.push_blob("a", &small);
    let large = Blob::noise(8 << 20, 101);
    let post = Ask::post(format!("/v2/a/blobs/uploads/?digest={}", large.digest));
    let location = hub.begin("a");
    let put = Ask::put(format!("{location}?digest={}", large.digest));
    for ask in [
        post.clone().body(large.bytes.clone()),
        post.stream(large.bytes.clone()),
        put.body(large.bytes.clone()),
    ] {
        let refused = hub.ask(ask).refuses(507, "UNKNOWN");
        assert!(
            String::from_utf8_lossy(&refused.body).contains("disk is full"),
            "{refused}"
        );
        refused.header("Retry-After");
    }
    hub.logged("the disk is full");
    // A session whose name nobody was told would take its room for good.
    let sessions = disk.path().join("lighthouse/uploads");
    let named = location.rsplit_once('/').expect("a path").1;
    let left: Vec<_> = std::fs::read_dir(sessions).expect("a folder").collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].as_ref().expect("an entry").file_name(), named);
    // What is there can be pulled, and what is not there can't.
    assert_eq!(
        hub.manifest("a", "v1").expect(200).body,
        image.manifest.bytes
    );
    assert!(hub.blob("a", &small).expect(200).body == small.bytes);
    hub.blob("a", &large).refuses(404, "BLOB_UNKNOWN");
    // Room to the last byte: even a manifest does not fit any more.
    let filler = disk.path().join("filler");
    let _ = std::fs::write(&filler, vec![0; 8 << 20]);
    let late = Image::document(&image.media_type, &late_document(&image));
    hub.put_manifest("a", "v2", &late).refuses(507, "UNKNOWN");
    hub.manifest("a", "v2").refuses(404, "MANIFEST_UNKNOWN");
    hub.manifest("a", &late.digest())
        .refuses(404, "MANIFEST_UNKNOWN");
    assert_eq!(
        hub.manifest("a", "v1").expect(200).body,
        image.manifest.bytes
    );
    no_ghosts(&disk.path());
    // With room again, all goes on as if nothing had been.
    std::fs::remove_file(filler).expect("there");
    hub.delete(&location).expect(204);
    hub.put_manifest("a", "v2", &late).expect(201);
    hub.push("b", "v1", &Image::named("after"));
    hub.kill();
    let hub = Program::serve(&disk.path(), &[]);
    assert_eq!(
        hub.manifest("a", "v2").expect(200).body,
        late.manifest.bytes
    );
    hub.manifest("b", "v1").expect(200);
}

/// Where something else filled the disk while the registry was stopped, which has taken the
/// catalog's log and index away with it.
#[test]
fn a_full_disk_can_be_served_without_room_for_a_log() {
    let Some(disk) = Disk::of_mebibytes(2) else {
        return;
    };
    let hub = Program::serve(&disk.path(), &[]);
    let image = Image::named("x");
    hub.push("a", "v1", &image);
    hub.signal(Signal::TERM);
    assert!(hub.end().success());
    let filler = disk.path().join("filler");
    let _ = std::fs::write(&filler, vec![0; 4 << 20]);
    let hub = Program::serve(&disk.path(), &[]);
    hub.manifest("a", "v1").expect(200);
    hub.put_manifest("a", "v2", &image).refuses(507, "UNKNOWN");
    std::fs::remove_file(filler).expect("there");
    hub.put_manifest("a", "v2", &image).expect(201);
}

/// btrfs takes new room for each write, which the catalog's log must not need.
#[test]
fn a_disk_that_is_full_to_the_last_byte_recovers() {
    let Some(disk) = Disk::made_by(&["mkfs.btrfs", "-q"]) else {
        return;
    };
    let hub = Program::serve(&disk.path(), &[]);
    let image = Image::named("before");
    let tags: Vec<String> = (0..20).map(|n| format!("v{n}")).collect();
    for tag in &tags {
        hub.push("a", tag, &image);
    }
    let filler = disk.path().join("filler");
    for size in [1 << 20, 4 << 10] {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&filler)
            .expect("a file");
        while file.write_all(&vec![7; size]).is_ok() {}
        let _ = file.sync_all();
    }
    // What is small may still find room in the catalog's log.
    let late = Image::made_of(&[Blob::of("{}"), Blob::noise(200_000, 102)]);
    let push = || {
        let layer = &late.blobs[1];
        let post = Ask::post(format!("/v2/a/blobs/uploads/?digest={}", layer.digest));
        hub.ask(post.body(layer.bytes.clone()))
    };
    push().refuses(507, "UNKNOWN");
    // It can be tidied all the same.
    for tag in &tags[1..] {
        hub.delete(format!("/v2/a/manifests/{tag}")).expect(202);
    }
    std::fs::remove_file(filler).expect("there");
    // The room comes back with the next commit.
    await_some("room", || (push().status == 201).then_some(()));
    hub.push("a", "v1", &late);
    hub.manifest("a", "v0").expect(200);
    assert_eq!(
        hub.get("/v2/a/tags/list").expect(200).json()["tags"],
        json!(["v0", "v1"])
    );
}

/// A large manifest of blobs that are there already.
fn late_document(image: &Image) -> serde_json::Value {
    let mut document: serde_json::Value =
        serde_json::from_slice(&image.manifest.bytes).expect("JSON");
    document["annotations"] = serde_json::json!({ "x": "x".repeat(1 << 20) });
    document
}
