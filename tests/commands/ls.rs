//! `registry ls`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lighthouse::oci::manifest::OCI_INDEX;
use serde_json::json;
use tempfile::TempDir;

use super::abroad::Said;
use super::world::{Blob, Image};
use super::{fixture, pin, pinned, push, say, say_with_network};

fn of_platform(architecture: &str, variant: Option<&str>) -> Image {
    let config = json!({"os": "linux", "architecture": architecture, "variant": variant});
    let layer = Blob::of(format!("a layer for {architecture}"));
    Image::made_of(&[Blob::of(config.to_string()), layer])
}

/// An index that says what its manifests run on, and lists an attestation.
fn index(images: &[(&Image, &str, Option<&str>)]) -> Image {
    let entry = |(image, architecture, variant): &(&Image, &str, Option<&str>)| {
        let mut entry = image.manifest.descriptor(&image.media_type);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        if let Some(variant) = variant {
            entry["platform"]["variant"] = json!(variant);
        }
        if *architecture == "unknown" {
            entry["platform"]["os"] = json!("unknown");
        }
        entry
    };
    let manifests: Vec<_> = images.iter().map(entry).collect();
    let document = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
    Image::document(OCI_INDEX, &document)
}

/// A store with an image for two platforms, and what was built.
struct Stored {
    dir: TempDir,
    images: [Image; 3],
    index: Image,
}

impl Stored {
    fn new() -> Stored {
        let dir = TempDir::new().expect("a folder");
        let store = fixture::open(dir.path());
        let (amd64, arm) = (of_platform("amd64", None), of_platform("arm", Some("v7")));
        let attestation = Image::named("attestation");
        for image in [&amd64, &arm, &attestation] {
            push(&store, "library/app", &[], image);
        }
        let index = index(&[
            (&amd64, "amd64", None),
            (&arm, "arm", Some("v7")),
            (&attestation, "unknown", None),
        ]);
        push(&store, "library/app", &["latest"], &index);
        push(&store, "library/app", &["arm"], &arm);
        push(&store, "other", &[], &amd64);
        fixture::push(&store, "only/blobs", b"x").expect("kept");
        let images = [amd64, arm, attestation];
        Stored { dir, images, index }
    }

    fn ls(&self, arguments: &[&str]) -> Said {
        say(self.dir.path(), &[&["ls"], arguments].concat())
    }
}

#[test]
fn repositories_are_listed() {
    let stored = Stored::new();
    let said = stored.ls(&[]).ends(0);
    let table = "REPOSITORY   MANIFESTS\nlibrary/app          4\nother                1\n";
    assert_eq!((said.out.as_str(), said.err.as_str()), (table, ""));
    assert_eq!(stored.ls(&["-q"]).ends(0).out, "library/app\nother\n");
    let told = stored.ls(&["--format", "json"]).ends(0).json();
    let other = json!({"repository": "other", "manifests": 1});
    assert_eq!(told["repositories"][1], other);
}

#[test]
fn tags_are_listed_with_what_they_point_to() {
    let stored = Stored::new();
    let names = stored.ls(&["library/app", "-q"]).ends(0).out;
    assert_eq!(names, "arm\nlatest\n");
    let told = stored.ls(&["library/app", "--format", "json"]).ends(0);
    let told = told.json();
    let latest = &told["tags"][1];
    let digest = json!(stored.index.digest());
    assert_eq!(
        (&latest["tag"], &latest["digest"]),
        (&json!("latest"), &digest)
    );
    assert_eq!(latest["platforms"], json!(["linux/amd64", "linux/arm/v7"]));
    let images = stored.images.iter();
    let parts = images.flat_map(|image| image.blobs.iter().chain([&image.manifest]));
    let parts = parts.chain([&stored.index.manifest]);
    let size: usize = parts.map(|blob| blob.bytes.len()).sum();
    assert_eq!(
        (&latest["size"], &latest["state"]),
        (&json!(size), &json!("local"))
    );
    let pushed = latest["pushed"].as_str().expect("a time");
    assert!(
        pushed.starts_with("20") && pushed.ends_with('Z'),
        "{pushed}"
    );
    assert_eq!(told["tags"][0]["platforms"], json!(["linux/arm/v7"]));
    let table = stored.ls(&["library/app"]).ends(0).out;
    assert!(table.starts_with("TAG "), "{table}");
    assert!(
        table.contains(" linux/amd64,linux/arm/v7  local\n"),
        "{table}"
    );
    // It is there, and has no tag.
    assert_eq!(stored.ls(&["other", "-q"]).ends(0).out, "");
}

#[test]
fn a_repository_that_is_not_there_is_named() {
    let stored = Stored::new();
    for (name, code, cause) in [
        (
            "otter",
            1,
            "error: no repository \"otter\"; did you mean \"other\"?\n",
        ),
        ("only/blobs", 1, "error: no repository \"only/blobs\"\n"),
        ("Other", 2, "not a repository name"),
    ] {
        let said = stored.ls(&[name]).ends(code);
        assert!(said.err.contains(cause), "{}", said.err);
        assert_eq!(said.out, "");
    }
}

#[test]
fn how_far_a_tag_is_on_the_network_is_listed() {
    let dir = TempDir::new().expect("a folder");
    let store = fixture::open(dir.path());
    let image = Image::named("one");
    push(&store, "a", &["v1"], &image);
    let state = || {
        let told = say_with_network(dir.path(), &["ls", "a", "--format", "json"]).ends(0);
        told.json()["tags"][0]["state"].clone()
    };
    assert_eq!(state(), "local");
    pin(&store, &image.manifest.digest, pinned("kubo", "bafy"));
    assert_eq!(state(), "1 of 4 pinned");
    for blob in &image.blobs {
        pin(&store, &blob.digest, pinned("kubo", "bafy"));
    }
    assert_eq!(state(), "pinned");
}

#[test]
fn what_was_pushed_before_is_listed_beside_whoever_pushes() {
    let dir = TempDir::new().expect("a folder");
    let store = fixture::open(dir.path());
    let pushed = AtomicUsize::new(0);
    thread::scope(|scope| {
        let pushes = scope.spawn(|| {
            for number in 0..300 {
                let image = Image::named(&number.to_string());
                push(&store, "a", &[&format!("v{number:03}")], &image);
                pushed.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut is_last = false;
        while !is_last {
            is_last = pushes.is_finished();
            let before = pushed.load(Ordering::SeqCst);
            let listed = say(dir.path(), &["ls", "a", "-q"]);
            if before == 0 {
                continue;
            }
            let listed = listed.ends(0).out;
            let listed: Vec<&str> = listed.lines().collect();
            let expected: Vec<String> = (0..listed.len())
                .map(|number| format!("v{number:03}"))
                .collect();
            assert_eq!(listed, expected);
            assert!(listed.len() >= before, "{} of {before}", listed.len());
        }
        pushes.join().expect("no panic");
    });
}
