//! The tree on disk is distribution's own: what registry:2 wrote can be served, and what we
//! wrote can be served by it.

use std::path::Path;
use std::time::Duration;

use lighthouse::disk::Root;
use lighthouse::store::{Store, tree};
use tempfile::TempDir;

use crate::world::distribution::{Distribution, push};
use crate::world::{Ask, Blob, Hub, Image, Served};

#[track_caller]
fn holds(hub: &Hub, repository: &str, tag: &str, image: &Image) {
    for reference in [tag, &image.digest()] {
        let ask = Ask::get(format!("/v2/{repository}/manifests/{reference}"));
        // distribution serves only what is asked for.
        let got = hub.ask(ask.with("Accept", &image.media_type)).expect(200);
        assert_eq!(got.body, image.manifest.bytes);
        assert_eq!(got.header("Content-Type"), image.media_type);
        assert_eq!(got.header("Docker-Content-Digest"), image.digest());
    }
    for blob in &image.blobs {
        assert!(hub.blob(repository, blob).expect(200).body == blob.bytes);
    }
}

/// What distribution left is served, and changed before it gets it back.
fn ours_after_theirs(root: &Path, session: &str, images: &[&Image; 4]) {
    let [one, two, three, index] = images;
    let ours = Served::at(root, &[]);
    ours.await_ready();
    holds(&ours, "library/a", "v1", one);
    holds(&ours, "library/a", "v2", two);
    holds(&ours, "library/a", "multi", index);
    holds(&ours, "b", "v1", one);
    ours.manifest("library/a", "gone")
        .refuses(404, "MANIFEST_UNKNOWN");
    assert_eq!(
        ours.list("/v2/_catalog", "repositories").0,
        ["b", "library/a"]
    );
    assert_eq!(
        ours.list("/v2/library/a/tags/list", "tags").0,
        ["multi", "v1", "v2"]
    );
    // An upload that was begun there goes on here, or is begun again; never half of it.
    let status = ours.get(format!("/v2/b/blobs/uploads/{session}")).status;
    assert!([204, 404].contains(&status), "{status}");
    push(&ours, "library/a", "v1", three);
    push(&ours, "library/c", "v1", one);
    ours.delete("/v2/library/a/manifests/v2").expect(202);
    ours.delete(format!("/v2/b/manifests/{}", one.digest()))
        .expect(202);
    ours.begin("library/c");
}

#[test]
fn a_root_directory_goes_from_one_registry_to_the_other_and_back() {
    let dir = TempDir::new().expect("a folder");
    let root = dir.path().join("root");
    let (one, two, three) = (
        Image::named("one"),
        Image::named("two"),
        Image::named("three"),
    );
    let index = Image::index(&[&one, &two]);
    let Some(theirs) = Distribution::at(dir.path(), &root) else {
        return;
    };
    push(&theirs.hub, "library/a", "v1", &one);
    push(&theirs.hub, "library/a", "v2", &two);
    push(&theirs.hub, "library/a", "multi", &index);
    push(&theirs.hub, "library/a", "gone", &three);
    push(&theirs.hub, "b", "v1", &one);
    theirs
        .hub
        .delete(format!("/v2/library/a/manifests/{}", three.digest()))
        .expect(202);
    let begun = theirs
        .hub
        .ask(Ask::post("/v2/b/blobs/uploads/"))
        .expect(202);
    let session = begun.header("Docker-Upload-UUID").to_owned();
    drop(theirs);
    ours_after_theirs(&root, &session, &[&one, &two, &three, &index]);
    hand_over(&root);

    let theirs = Distribution::at(dir.path(), &root).expect("it was there");
    holds(&theirs.hub, "library/a", "v1", &three);
    holds(&theirs.hub, "library/a", "multi", &index);
    holds(&theirs.hub, "library/c", "v1", &one);
    theirs.hub.manifest("library/a", "v2").expect(404);
    theirs.hub.manifest("b", &one.digest()).expect(404);
    let tags = theirs.hub.get("/v2/library/a/tags/list").expect(200).json();
    let mut tags: Vec<&str> = tags["tags"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|tag| tag.as_str().expect("a tag"))
        .collect();
    tags.sort();
    assert_eq!(tags, ["multi", "v1"]);
    push(&theirs.hub, "library/a", "again", &two);
    drop(theirs);
    let ours = Served::at(&root, &[]);
    ours.await_ready();
    holds(&ours, "library/a", "again", &two);
}

fn blob_path(hub: &Served, blob: &Blob) -> std::path::PathBuf {
    let hex = blob.digest.hex();
    hub.tree()
        .join("blobs/sha256")
        .join(&hex[..2])
        .join(hex)
        .join("data")
}

/// What is not small stands where distribution puts it, and nothing of an upload stays.
#[test]
fn each_thing_stands_where_distribution_puts_it() {
    let dir = TempDir::new().expect("a folder");
    let hub = Served::at(dir.path(), &[]);
    let image = Image::made_of(&[Blob::of("{}"), Blob::noise(70_000, 121)]);
    hub.push("library/a", "v1", &image);
    let bytes = std::fs::read(blob_path(&hub, &image.blobs[1])).expect("bytes");
    assert!(bytes == image.blobs[1].bytes);
    for small in [&image.blobs[0], &image.manifest] {
        assert!(!blob_path(&hub, small).exists(), "it is in the catalog");
    }
    // distribution would take an empty folder for a registry without images, and collect all blobs.
    assert!(hub.tree().join("repositories").is_file());
    let sessions = dir.path().join("lighthouse/uploads");
    let left = std::fs::read_dir(sessions).expect("a folder").count();
    assert_eq!(left, 0, "a session outlived its upload");
}

/// Writes distribution's tree, as `registry tree` does: the next start reads it.
pub fn hand_over(path: &Path) {
    let root = Root::claim(path, Duration::from_secs(20)).expect("nobody else has it");
    let store = Store::open(&root, None).expect("a store");
    tree::write(&store, &root).expect("written");
}

/// The same, and there never was a catalog, as where version 0.1 has served.
pub fn hand_over_alone(path: &Path) {
    hand_over(path);
    std::fs::remove_file(path.join("lighthouse/catalog.sqlite")).expect("closed");
}

/// What power cuts and older registries left behind is no reason not to serve the rest.
#[test]
fn leftovers_do_no_harm() {
    let dir = TempDir::new().expect("a folder");
    let (image, other) = (Image::named("x"), Image::named("other"));
    let hub = Served::at(dir.path(), &[]);
    hub.push("a", "v1", &image);
    hub.push("a", "lost", &image);
    hub.push("a", "v2", &other);
    let repository = hub.tree().join("repositories/a");
    drop(hub);
    hand_over_alone(dir.path());
    let write = |path: &str, text: &str| {
        let path = repository.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let (hex, layer) = (image.manifest.digest.hex(), image.blobs[1].digest.hex());
    // Empty links: the path tells the digest, but not where a tag pointed.
    write(&format!("_manifests/revisions/sha256/{hex}/link"), "");
    write(&format!("_layers/sha256/{layer}/link"), "");
    write("_manifests/tags/lost/current/link", "");
    write("_manifests/tags/nonsense/current/link", "not a digest");
    write("_manifests/tags/.bad name/current/link", "x");
    // registry:2 deletes links and leaves their folders.
    let gone = repository
        .join("_manifests/revisions/sha256")
        .join(other.manifest.digest.hex());
    std::fs::remove_file(gone.join("link")).expect("there");
    write("_manifests/revisions/sha256/not-hex/link", "x");
    write("_uploads/not-a-session/data", "x");
    write("stray", "x");
    std::fs::create_dir_all(repository.join("_manifests/tags/empty")).expect("made");
    let hub = Served::at(dir.path(), &[]);
    hub.await_ready();
    holds(&hub, "a", "v1", &image);
    for tag in ["lost", "v2", "nonsense", "empty"] {
        hub.manifest("a", tag).refuses(404, "MANIFEST_UNKNOWN");
    }
    assert_eq!(hub.list("/v2/a/tags/list", "tags").0, ["v1"]);
    assert_eq!(hub.list("/v2/_catalog", "repositories").0, ["a"]);
    // Pushing again heals.
    hub.push("a", "lost", &image);
    hub.push("a", "v2", &other);
    holds(&hub, "a", "lost", &image);
    holds(&hub, "a", "v2", &other);
}

/// A blob whose bytes are gone is missing, and one that is cut is not passed off as whole; a push
/// brings it back.
#[test]
fn a_lost_blob_is_not_there_until_it_is_pushed_again() {
    let dir = TempDir::new().expect("a folder");
    let hub = Served::at(dir.path(), &[]);
    let image = Image::made_of(&[Blob::of("{}"), Blob::noise(70_000, 120)]);
    hub.push("a", "v1", &image);
    let layer = &image.blobs[1];
    let path = blob_path(&hub, layer);
    let target = format!("/v2/a/blobs/{}", layer.digest);
    let losses: [&dyn Fn(); 3] = [
        &|| std::fs::remove_file(&path).expect("there"),
        &|| std::fs::write(&path, &layer.bytes[1..]).expect("written"),
        &|| {
            std::fs::remove_file(&path).expect("there");
            std::fs::create_dir(&path).expect("a folder in its place");
        },
    ];
    for lose in losses {
        lose();
        let mount = format!("/v2/b/blobs/uploads/?mount={}&from=a", layer.digest);
        hub.ask(Ask::post(mount)).expect(202);
        hub.put_manifest("a", "v2", &image)
            .refuses(400, "MANIFEST_BLOB_UNKNOWN");
        hub.blob("a", layer).refuses(404, "BLOB_UNKNOWN");
        hub.head(&target).expect(404);
        if path.is_dir() {
            std::fs::remove_dir(&path).expect("empty");
        }
        hub.push_blob("a", layer);
        assert!(hub.blob("a", layer).expect(200).body == layer.bytes);
        hub.put_manifest("a", "v2", &image).expect(201);
    }
}
