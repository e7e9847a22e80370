//! `registry status` on a store.

use lighthouse::cid::Cid;
use lighthouse::store::pin::{Pin, State};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::world::{Blob, Image, Program};
use super::{fixture, pin, pinned, push, say, say_with_network};

/// A store with an index that has two tags, a referrer, and a blob that nobody needs.
fn stored() -> (TempDir, Image, Image) {
    let dir = TempDir::new().expect("a folder");
    let store = fixture::open(dir.path());
    let (one, two) = (Image::named("one"), Image::named("two"));
    let index = Image::index(&[&one, &two]);
    let referrer = Image::referring_to(&one, "application/vnd.test.signature");
    for image in [&one, &two, &referrer] {
        push(&store, "a/b", &[], image);
    }
    push(&store, "a/b", &["all", "also"], &index);
    push(&store, "c", &["v1"], &one);
    fixture::push(&store, "c", b"spare").expect("kept");
    (dir, one, referrer)
}

fn kinds(image: &Value) -> Vec<&str> {
    let parts = image["parts"].as_array().expect("a list").iter();
    parts
        .map(|part| part["kind"].as_str().expect("a text"))
        .collect()
}

#[test]
fn every_manifest_is_told_once_with_what_is_below_it() {
    let (dir, one, referrer) = stored();
    let told = say(dir.path(), &["status", "--format", "json"])
        .ends(0)
        .json();
    let images = told["images"].as_array().expect("a list");
    let names: Vec<_> = images
        .iter()
        .map(|image| (image["repository"].clone(), image["tags"].clone()))
        .collect();
    assert_eq!(
        names,
        [
            (json!("a/b"), json!(["all", "also"])),
            (json!("a/b"), json!([])),
            (json!("c"), json!(["v1"])),
            (json!("c"), json!([])),
        ]
    );
    let image = ["manifest", "config", "layer", "layer"];
    assert_eq!(kinds(&images[0]), [&["index"], &image[..], &image].concat());
    assert_eq!(images[1]["digest"], referrer.digest());
    assert_eq!(
        (kinds(&images[3]), &images[3]["digest"]),
        (vec!["blob"], &Value::Null)
    );
    // Two images, an index, a referrer with one blob, what they have in common once, a blob.
    assert_eq!(told["totals"]["parts"], 4 + 4 + 1 + 2 + 1);
    assert_eq!(told["totals"]["states"], json!({"local": 12}));
    assert_eq!(told["totals"]["images"], 3);

    let table = say(dir.path(), &["status", "a/b:also"]).ends(0).out;
    let titles = table.lines().next().expect("titles");
    let titles: Vec<_> = titles.split_whitespace().collect();
    assert_eq!(titles, ["IMAGE", "SIZE", "STATE"], "{table}");
    for indented in ["\n  index ", "\n    manifest ", "\n      config "] {
        assert!(table.contains(indented), "{indented:?} in {table}");
    }
    let by_digest = format!("a/b@{}", one.digest());
    let table = say(dir.path(), &["status", &by_digest]).ends(0).out;
    assert!(
        table.ends_with("1 image, 4 blobs and manifests, 705 B: 4 local\n"),
        "{table}"
    );
}

#[test]
fn what_is_asked_for_and_not_there_is_named() {
    let (dir, ..) = stored();
    for (wanted, cause) in [
        (
            "a/bb",
            "error: no repository \"a/bb\"; did you mean \"a/b\"?\n",
        ),
        (
            "nothing-like-it",
            "error: no repository \"nothing-like-it\"\n",
        ),
        ("nothing:v1", "error: no repository \"nothing\"\n"),
        (
            "a/b:al",
            "error: no image in a/b is called \"al\"; did you mean \"all\"?\n",
        ),
    ] {
        let said = say(dir.path(), &["status", wanted]).ends(1);
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", cause));
    }
}

#[test]
fn an_empty_root_directory_holds_nothing_and_none_is_no_registry() {
    let dir = TempDir::new().expect("a folder");
    let said = say(dir.path(), &["status"]).ends(0);
    assert!(
        said.out
            .ends_with("\n0 images, 0 blobs and manifests, 0 B\n"),
        "{said:?}"
    );
    let said = say(dir.path(), &["status", "--format", "json"]).ends(0);
    assert_eq!(said.json()["images"], json!([]));
    let said = say(&dir.path().join("nowhere"), &["status"]).ends(2);
    assert!(said.err.starts_with("error: open "), "{}", said.err);
    for arguments in [&["status"][..], &["ls"], &["export"]] {
        let said = say(&dir.path().join("nowhere"), arguments).ends(2);
        let cure = "nothing is served from here; use --config, or run it where the server runs";
        assert!(said.err.contains(cure), "{}", said.err);
    }
}

#[test]
fn pins_of_a_network_that_is_not_configured_are_pointed_out() {
    let dir = TempDir::new().expect("a folder");
    let store = fixture::open(dir.path());
    let image = Image::named("x");
    push(&store, "a", &["v1"], &image);
    assert_eq!(say(dir.path(), &["status"]).ends(0).err, "");
    pin(&store, &image.manifest.digest, pinned("kubo", "x"));
    drop(store);
    let warning = "this store has pins of kubo, and no network is configured";
    let said = say(dir.path(), &["status", "--format", "json"]).ends(0);
    assert!(
        said.err.starts_with(&format!("warning: {warning}")),
        "{said:?}"
    );
    assert_eq!(said.json()["images"].as_array().map(Vec::len), Some(1));
    let said = say_with_network(dir.path(), &["status"]);
    assert_eq!(said.err, "");
    let hub = Program::serve(dir.path(), &[]);
    assert!(hub.logged(warning).contains("WARN"));
}

#[test]
fn how_far_an_image_is_decides_how_it_ends() {
    let dir = TempDir::new().expect("a folder");
    let store = fixture::open(dir.path());
    let large = Blob::noise(100_000, 1);
    let image = Image::made_of(&[Blob::of("{}"), large.clone()]);
    push(&store, "a", &["v1"], &image);
    let cid = |digest: &lighthouse::oci::Digest| {
        Cid::raw(digest.hash().try_into().expect("sha256")).to_string()
    };
    let digests = [image.manifest.digest, image.blobs[0].digest, large.digest];
    let put = |state, cause: Option<&str>| {
        for digest in &digests {
            let cause = cause.map(str::to_owned);
            let new = Pin {
                state,
                cause,
                ..pinned("kubo", &cid(digest))
            };
            pin(&store, digest, new);
        }
    };
    for (state, code, word) in [
        (State::Queued, 3, "local"),
        (State::Uploading, 3, "uploading"),
        (State::Stored, 3, "stored"),
        (State::Failed, 1, "failed"),
        (State::Pinned, 0, "pinned"),
    ] {
        put(state, (state == State::Failed).then_some("it is full"));
        let said = say_with_network(dir.path(), &["status"]).ends(code);
        assert!(
            said.out.ends_with(&format!(" 100.5 kB: 3 {word}\n")),
            "{}",
            said.out
        );
        let causes = said.out.matches("\n    because: it is full").count();
        assert_eq!(causes > 0, state == State::Failed, "{}", said.out);
        assert_eq!(said.out.matches("  bafkrei").count(), 3, "{}", said.out);
    }
    // The network has what is not here any more.
    std::fs::remove_file(store.files().blob_path(&large.digest)).expect("there");
    let told = say_with_network(dir.path(), &["status", "--format", "json"]).ends(0);
    assert_eq!(told.json()["images"][0]["parts"][2]["local"], false);
    // Nobody has it.
    let told = say(dir.path(), &["status", "--format", "json"])
        .ends(1)
        .json();
    let part = &told["images"][0]["parts"][2];
    assert_eq!(
        (&part["state"], &part["size"]),
        (&json!("missing"), &json!(100_000))
    );
    let table = say(dir.path(), &["status"]).ends(1).out;
    assert!(table.contains("0 of 3 pinned"), "{table}");
}

#[test]
fn what_fills_many_pages_is_told_once() {
    let dir = TempDir::new().expect("a folder");
    let store = fixture::open(dir.path());
    for number in 0..250 {
        let image = Image::named(&number.to_string());
        let tag = format!("v{number:03}");
        push(&store, "many", &[&tag, &format!("x{number:03}")], &image);
        push(&store, &format!("r{number:03}"), &[], &image);
    }
    let told = say(dir.path(), &["status", "--format", "json"])
        .ends(0)
        .json();
    let images = told["images"].as_array().expect("a list");
    assert_eq!(images.len(), 500);
    let first: Vec<_> = images[..250]
        .iter()
        .map(|image| image["tags"][0].clone())
        .collect();
    let expected: Vec<_> = (0..250)
        .map(|number| json!(format!("v{number:03}")))
        .collect();
    assert_eq!(first, expected);
    assert_eq!(told["totals"]["parts"], 250 * 4);
    // Columns of a page stand under each other, and nothing is lost between two.
    let table = say(dir.path(), &["status", "many"]).ends(0).out;
    assert_eq!(table.lines().count(), 1 + 250 * 5 + 1);
}
