//! `registry export` and `restore`: away with a store, and back from nothing.

use std::process::Stdio;

use lighthouse::cid::{Cid, Import, Unixfs};
use lighthouse::estuary::{Estuary, Upload};
use lighthouse::store::Store;
use lighthouse::store::pin::Pin;
use serde_json::json;

use super::abroad::Abroad;
use super::world::{Blob, Image, await_some};
use super::{fixture, pin, pinned, push};

/// Puts a blob on the network; its CID and Estuary's number for it.
fn put(abroad: &Abroad, blob: &Blob) -> (Cid, u64) {
    let estuary = Estuary::new(&abroad.double.main, &abroad.double.shuttles, "ESTuserARY");
    let mut unixfs = Unixfs::new(Import::ESTUARY);
    unixfs.write(&blob.bytes);
    let cid = unixfs.finish().cid;
    let open = || Ok(Box::new(std::io::Cursor::new(blob.bytes.clone())) as Box<dyn std::io::Read>);
    let upload = Upload {
        name: "anything",
        size: blob.bytes.len() as u64,
        cid,
        open: &open,
    };
    let content = estuary.expect("a token").add(&upload).expect("it is taken");
    (cid, content)
}

/// Pushes an image and has the network keep all of it.
fn push_pinned(abroad: &Abroad, store: &Store, name: &str, tags: &[&str], image: &Image) {
    push(store, name, tags, image);
    for blob in image.blobs.iter().chain([&image.manifest]) {
        let (cid, content) = put(abroad, blob);
        let new = Pin {
            remote: Some(content.to_string()),
            ..pinned("estuary", &cid.to_string())
        };
        pin(store, &blob.digest, new);
    }
}

/// A manifest that is no row, for it is large.
fn large(image: &Image) -> Image {
    let mut document: serde_json::Value =
        serde_json::from_slice(&image.manifest.bytes).expect("JSON");
    document["annotations"] = json!({"long": "x".repeat(100_000)});
    Image {
        blobs: image.blobs.clone(),
        ..Image::document(&image.media_type, &document)
    }
}

/// A root directory with images of all kinds, all of it on the network.
fn stored(abroad: &Abroad, root: &str) -> Store {
    let store = fixture::open(&abroad.root(root));
    let one = Image::made_of(&[Blob::of("{\"a\": 1}"), Blob::noise(200_000, 3)]);
    let two = large(&Image::named("two"));
    let index = Image::index(&[&one, &two]);
    let signature = Image::referring_to(&one, "application/vnd.test.signature");
    push_pinned(abroad, &store, "helloworld", &["one"], &one);
    push_pinned(abroad, &store, "helloworld", &["two", "second"], &two);
    push_pinned(abroad, &store, "helloworld", &["all"], &index);
    push_pinned(abroad, &store, "helloworld", &[], &signature);
    push_pinned(abroad, &store, "library/two", &["v1"], &two);
    store
}

#[track_caller]
fn export(abroad: &Abroad, root: &str) -> String {
    let said = abroad.say(root, &["export", "--cid"]).ends(0);
    assert_eq!(said.err, "");
    said.out.trim_end().to_owned()
}

#[test]
fn a_store_comes_back_from_a_cid() {
    let abroad = Abroad::new();
    let store = stored(&abroad, "old");
    // Beside its writer; and the same catalog makes the same bytes.
    let document = abroad.say("old", &["export"]).ends(0);
    let cid = export(&abroad, "old");
    let mut unixfs = Unixfs::new(Import::ESTUARY);
    unixfs.write(document.out.as_bytes());
    assert_eq!(cid, unixfs.finish().cid.to_string());
    drop(store);
    let listed = |root: &str| {
        let arguments = ["status", "--format", "json"];
        let mut told = abroad.say(root, &arguments).ends(0).json();
        // What a network keeps need not be here.
        for image in told["images"].as_array_mut().expect("a list") {
            for part in image["parts"].as_array_mut().expect("a list") {
                part["local"] = json!(null);
            }
        }
        told
    };
    let before = listed("old");
    std::fs::remove_dir_all(abroad.root("old")).expect("a folder");

    let rows = abroad.double.rows();
    let said = abroad.say("new", &["restore", &cid]).ends(0);
    assert_eq!(said.out, "");
    let summary = "restored 5 tags in 2 repositories, with 10 blobs and manifests";
    assert!(said.err.contains(summary), "{}", said.err);
    assert_eq!(listed("new"), before);
    assert_eq!(abroad.say("new", &["export"]).ends(0).out, document.out);
    assert_eq!(abroad.double.rows(), rows, "nothing was sent");
    let names = std::fs::read_dir(abroad.root("new").join("lighthouse")).expect("a folder");
    let names: Vec<_> = names
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert!(
        !names
            .iter()
            .any(|name| name.to_str().is_some_and(|it| it.starts_with("restore")))
    );
    // Once more, all is there.
    let said = abroad.say("new", &["restore", &cid, "--merge"]).ends(0);
    assert!(said.err.contains("restored 0 tags"), "{}", said.err);
    let said = abroad.say("new", &["restore", &cid]).ends(2);
    assert!(said.err.contains("is not empty"), "{}", said.err);
}

#[test]
fn a_restore_that_was_killed_goes_on() {
    let abroad = Abroad::new();
    let store = fixture::open(&abroad.root("old"));
    for number in 0..60 {
        let image = Image::named(&number.to_string());
        push_pinned(&abroad, &store, "many", &[&format!("v{number:02}")], &image);
    }
    let cid = export(&abroad, "old");
    let document = abroad.say("old", &["export"]).ends(0).out;
    // The length of the export, the export, 40 manifests, and no more.
    let orders = json!([
        {"on": "gateway", "server": 1, "times": 2 + 40, "fault": {"slow_ms": 1}},
        {"on": "gateway", "server": 1, "fault": "hang"},
    ]);
    abroad.double.set(json!({ "faults": orders }));
    let mut command = abroad.command("new", &["restore", &cid]);
    let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
    let count_here = || {
        let root = lighthouse::disk::Root::open(&abroad.root("new")).ok()?;
        let view = lighthouse::store::View::open(&root, None).ok()?;
        let (mut count, mut last) = (0, 0);
        while let Some(found) = view
            .read(|tx| lighthouse::store::scan::next(tx, last))
            .expect("an answer")
        {
            (count, last) = (count + 1, found.id);
        }
        Some(count)
    };
    await_some("some manifests", || count_here().filter(|count| *count > 7));
    child.kill().expect("it is at work");
    child.wait().expect("it is ours");
    assert!(abroad.root("new").join("lighthouse/restore").exists());
    let said = abroad.say("new", &["restore", "bafkqaaa"]);
    assert_ne!(said.code, Some(0), "{}", said.err);

    abroad.double.set(json!({}));
    let reads = || {
        let seen = abroad.double.seen();
        let requests = seen["requests"].as_array().expect("a list").iter();
        requests
            .filter(|request| request["server"] == 1)
            .filter(|request| {
                request["path"]
                    .as_str()
                    .is_some_and(|it| it.starts_with("/gw/"))
            })
            .count()
    };
    let before = reads();
    abroad.say("new", &["restore", &cid]).ends(0);
    let fetched = reads() - before;
    assert!(fetched < 2 + 60, "{fetched} reads, though some were here");
    assert_eq!(abroad.say("new", &["export"]).ends(0).out, document);
    assert!(!abroad.root("new").join("lighthouse/restore").exists());
}

#[test]
fn what_is_here_stays_as_it_is() {
    let abroad = Abroad::new();
    let store = stored(&abroad, "old");
    let cid = export(&abroad, "old");
    drop(store);
    let here = fixture::open(&abroad.root("here"));
    let (own, other) = (Image::named("own"), Image::named("other"));
    push_pinned(&abroad, &here, "mine", &["own"], &own);
    push_pinned(&abroad, &here, "helloworld", &["one"], &other);
    drop(here);
    let said = abroad.say("here", &["restore", &cid]).ends(2);
    assert!(
        said.err.contains("is not empty") && said.err.contains("--merge"),
        "{}",
        said.err
    );
    let said = abroad.say("here", &["restore", &cid, "--merge"]).ends(0);
    let stays = format!(
        "note: helloworld:one stays at {}; the export has",
        other.digest()
    );
    assert!(said.err.contains(&stays), "{}", said.err);
    let tags = abroad.say("here", &["ls", "helloworld", "-q"]).ends(0).out;
    assert_eq!(tags, "all\none\nsecond\ntwo\n");
    assert_eq!(
        abroad.say("here", &["ls", "mine", "-q"]).ends(0).out,
        "own\n"
    );
}

#[test]
fn what_is_not_pinned_is_said_so() {
    let abroad = Abroad::new();
    let store = fixture::open(&abroad.root("old"));
    push_pinned(
        &abroad,
        &store,
        "helloworld",
        &["one"],
        &Image::named("one"),
    );
    let two = Image::named("two");
    push(&store, "helloworld", &["two"], &two);
    let said = abroad.say("old", &["export", "--cid"]).ends(3);
    let cid = said.out.trim_end();
    let warning = format!(
        "warning: {} is not pinned: it is on this disk only",
        two.digest()
    );
    assert!(said.err.contains(&warning), "{}", said.err);
    assert!(
        said.err
            .contains("warning: 4 blobs and manifests can't be restored")
    );
    let said = abroad.say("new", &["restore", cid]).ends(3);
    let note = "note: helloworld:two is left out with its manifest\n";
    assert!(said.err.contains(note), "{}", said.err);
    assert_eq!(
        abroad.say("new", &["ls", "helloworld", "-q"]).ends(0).out,
        "one\n"
    );
}

#[test]
fn an_export_of_an_earlier_version_is_restored() {
    let abroad = Abroad::new();
    let image = Image::named("one");
    let mut contents = serde_json::Map::new();
    for blob in image.blobs.iter().chain([&image.manifest]) {
        let (cid, content) = put(&abroad, blob);
        let (size, cid) = (blob.bytes.len(), cid.to_string());
        let entry = json!({"size": size, "cid": cid, "state": "pinned", "content": content});
        contents.insert(blob.digest.to_string(), entry);
    }
    let digest = image.digest();
    let manifests = json!({ digest.as_str(): image.media_type });
    let mut blobs: Vec<_> = image
        .blobs
        .iter()
        .map(|blob| blob.digest.to_string())
        .collect();
    blobs.sort();
    let document = json!({
        "format": "lighthouse-catalog",
        "version": 1,
        "repositories": {
            "helloworld": {"tags": {"v1": digest}, "manifests": manifests, "blobs": blobs},
        },
        "contents": contents,
    });
    let (cid, _) = put(&abroad, &Blob::of(document.to_string()));
    abroad.say("new", &["restore", &cid.to_string()]).ends(0);
    let again = abroad.say("new", &["export"]).ends(0).json();
    assert_eq!(again, document);
}
