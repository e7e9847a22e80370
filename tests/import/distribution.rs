//! From distribution and back, with distribution's own garbage collector on the way.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lighthouse::oci::{Manifest, Reference};
use lighthouse::store::blob::{Content, NewBlob};
use lighthouse::store::manifest::NewManifest;
use lighthouse::store::pin::{self, NewPin};
use lighthouse::store::{Store, import, manifest, tag, tree, upload};
use tempfile::TempDir;

use super::world::distribution::{Distribution, collect_garbage, push};
use super::world::{Ask, Hub, Image};
use super::{history, imported, repository, root, store, tagged, target};

/// Pushes to a store as its clients' requests would.
fn push_here(store: &Store, name: &str, tag: &str, image: &Image) {
    let kubo = || NewPin {
        network: "kubo".into(),
        cid: None,
    };
    for blob in &image.blobs {
        let session = blob.digest.hex() + tag;
        let (id, at) = (session.clone(), repository(name));
        let limits = upload::Limits {
            total: 100,
            of_client: 100,
        };
        let started = store.note(move |tx| upload::start(tx, &id, &at, "127.0.0.1", limits));
        started.expect("a session");
        let kept = store.put_blob(NewBlob {
            repository: repository(name),
            digest: blob.digest,
            content: Content::Bytes(Arc::from(&blob.bytes[..])),
            session,
            ends_session: true,
            actor: None,
            pins: vec![kubo()],
        });
        kept.expect("kept");
    }
    let parsed = Manifest::parse(&image.manifest.bytes, Some(&image.media_type)).expect("good");
    let needs = parsed.blobs.iter().map(|blob| blob.digest).collect();
    let kept = store.put_manifest(
        NewManifest {
            repository: repository(name),
            digest: image.manifest.digest,
            media_type: image.media_type.clone(),
            content: Content::Bytes(Arc::from(&image.manifest.bytes[..])),
            referrer: None,
            needs,
            required: Vec::new(),
            tags: vec![tagged(tag)],
            actor: Some("alice".into()),
            pins: vec![kubo()],
        },
        "",
    );
    kept.expect("kept");
}

#[track_caller]
fn serves(hub: &Hub, name: &str, tag: &str, image: &Image) {
    for reference in [tag, &image.digest()] {
        let ask = Ask::get(format!("/v2/{name}/manifests/{reference}"));
        let got = hub.ask(ask.with("Accept", &image.media_type)).expect(200);
        assert!(got.body == image.manifest.bytes, "{name}:{reference}");
    }
    for blob in &image.blobs {
        assert!(hub.blob(name, blob).expect(200).body == blob.bytes);
    }
}

#[track_caller]
fn holds(path: &Path, name: &str, tag: &str, image: &Image) {
    let at = store(path);
    assert_eq!(
        target(&at, name, tag),
        Some(image.manifest.digest),
        "{name}:{tag}"
    );
    for blob in &image.blobs {
        let found = at
            .find_blob(&repository(name), &blob.digest)
            .expect("an answer");
        assert!(found.is_some(), "{name} lost {}", blob.digest);
    }
}

/// How many blobs are files.
fn files(path: &Path) -> usize {
    let prefixes = fs::read_dir(path.join("docker/registry/v2/blobs/sha256")).expect("blobs");
    let folders = prefixes.flat_map(|prefix| fs::read_dir(prefix.expect("an entry").path()));
    folders.flatten().count()
}

/// What is pushed to distribution at first.
fn begin(theirs: &Hub, [one, two, three]: [&Image; 3], index: &Image) {
    push(theirs, "library/a", "v1", one);
    push(theirs, "library/a", "v2", two);
    push(theirs, "library/a", "multi", index);
    push(theirs, "library/a", "goes", three);
    theirs
        .delete(format!("/v2/library/a/manifests/{}", three.digest()))
        .expect(202);
    theirs.ask(Ask::post("/v2/b/blobs/uploads/")).expect(202);
}

#[test]
fn there_and_back_again_loses_nothing() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("root");
    let [one, two, three, four, five] = ["one", "two", "three", "four", "five"].map(Image::named);
    let index = Image::index(&[&one, &two]);
    let Some(theirs) = Distribution::at(dir.path(), &path) else {
        return;
    };
    begin(&theirs.hub, [&one, &two, &three], &index);
    drop(theirs);

    let summary = imported(&path);
    assert_eq!(
        (summary.manifests, summary.tags, summary.uploads),
        (3, 3, 1)
    );
    let before = files(&path);
    assert_eq!(
        collect_garbage(dir.path(), &path),
        Some(false),
        "it collects"
    );
    assert_eq!(files(&path), before);
    holds(&path, "library/a", "multi", &index);
    let at = store(&path);
    push_here(&at, "library/a", "v1", &four);
    at.write(|tx| tag::delete(tx, &repository("library/a"), &tagged("v2"), None))
        .expect("gone");
    assert!(tree::write(&at, &root(&path)).expect("written").is_some());
    drop(at);

    assert_eq!(collect_garbage(dir.path(), &path), Some(true));
    let theirs = Distribution::at(dir.path(), &path).expect("it was there");
    serves(&theirs.hub, "library/a", "v1", &four);
    serves(&theirs.hub, "library/a", "multi", &index);
    theirs.hub.manifest("library/a", "v2").expect(404);
    push(&theirs.hub, "library/a", "v1", &five);
    push(&theirs.hub, "c", "v1", &three);
    theirs
        .hub
        .delete(format!("/v2/library/a/manifests/{}", index.digest()))
        .expect(202);
    drop(theirs);
    assert_eq!(collect_garbage(dir.path(), &path), Some(true));

    imported(&path);
    holds(&path, "library/a", "v1", &five);
    holds(&path, "c", "v1", &three);
    let at = store(&path);
    assert_eq!(target(&at, "library/a", "multi"), None);
    let found = at.read(|tx| {
        let four = Reference::Digest(four.manifest.digest);
        manifest::find(tx, &repository("library/a"), &four)
    });
    assert!(
        found.expect("an answer").is_some(),
        "an untagged manifest is one, too"
    );
    let digests = [&five, &four, &one].map(|image| Some(image.manifest.digest));
    assert_eq!(history(&at, "library/a", "v1"), digests);
    let pins = at.read(|tx| pin::of_digest(tx, &four.manifest.digest));
    assert_eq!(pins.expect("an answer").len(), 1);
}

/// A root directory that distribution never saw: its collector refuses all the same, and so does
/// a push that would make a tree beside the catalog.
#[test]
fn distribution_does_no_harm_where_it_does_not_belong() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("root");
    fs::create_dir(&path).expect("made");
    assert!(!import::is_needed(&root(&path)));
    imported(&path);
    let at = store(&path);
    push_here(&at, "a", "v1", &Image::named("one"));
    let Some(is_collected) = collect_garbage(dir.path(), &path) else {
        return;
    };
    assert!(!is_collected);
    let theirs = Distribution::at(dir.path(), &path).expect("it was there");
    theirs
        .hub
        .ask(Ask::post("/v2/a/blobs/uploads/"))
        .expect(500);
}
