//! What `registry status` tells, beside a server and without one.
#![forbid(unsafe_code)]

mod abroad;
#[path = "../double/start.rs"]
#[allow(dead_code)] // Another journey restarts it.
mod double;
#[path = "../world/mod.rs"]
#[allow(dead_code, unused_imports)] // These journeys need only a part of the world.
mod world;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use abroad::{Abroad, Said};
use serde_json::{Value, json};
use world::program::{command, run};
use world::{Blob, Image, Place, Served};

/// An image of a configuration, a small layer, and one of more than a chunk.
fn image(seed: u64) -> Image {
    let config = Blob::of(json!({ "seed": seed }).to_string());
    let small = Blob::noise(1234, seed);
    let large = Blob::noise(3 << 20, seed + 1);
    Image::made_of(&[config, small, large])
}

/// The parts of an image as JSON has them, each `(kind, digest, state)`.
fn parts(image: &Value) -> Vec<(&str, &str, &str)> {
    let parts = image["parts"].as_array().expect("a list").iter();
    parts
        .map(|part| {
            let text = |name: &str| part[name].as_str().expect("a text");
            (text("kind"), text("digest"), text("state"))
        })
        .collect()
}

/// Every file below a folder with its bytes and when it was written, in order; of the catalog only
/// that it is there, for its server tidies it up.
fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>, SystemTime)> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("catalog.sqlite") {
                files.push((path, Vec::new(), SystemTime::UNIX_EPOCH));
                continue;
            }
            let written = path.metadata().and_then(|found| found.modified());
            let bytes = std::fs::read(&path).expect("a file");
            files.push((path, bytes, written.expect("a time")));
        }
    }
    files.sort();
    files
}

#[test]
fn a_pinned_image_is_told_beside_its_server() {
    let abroad = Abroad::new();
    abroad.double.set(json!({"deals": "active"}));
    let served = abroad.serve("here", |_| {});
    let image = image(1);
    served.push("helloworld", "v1", &image);
    served.logged("helloworld:v1 is completely on the content network");
    let before = tree(&abroad.root("here"));

    let table = abroad.say("here", &["status"]).ends(0);
    assert_eq!(table.err, "");
    let lines: Vec<&str> = table.out.lines().collect();
    assert_eq!(lines.len(), 7, "{}", table.out);
    let titles = ["IMAGE", "SIZE", "STATE", "CID", "DEALS"];
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), titles);
    assert!(lines[1].starts_with("helloworld:v1 "), "{}", table.out);
    assert!(lines[1].ends_with("3.1 MB  pinned"), "{}", table.out);
    let state = lines[0].find("STATE").expect("a title");
    for (line, kind) in lines[2..]
        .iter()
        .zip(["manifest", "config", "layer", "layer"])
    {
        assert!(line.trim_start().starts_with(kind), "{line}");
        assert!(line[state..].starts_with("pinned  bafkrei") || line.contains("  bafybei"));
        assert!(line.contains(" f01234 500000"), "{line}");
        assert!(line.ends_with(" active"), "{line}");
    }
    let totals = "1 image, 4 blobs and manifests, 3.1 MB: 4 pinned";
    assert_eq!(lines[6], totals);

    let told = abroad.say("here", &["status", "helloworld:v1", "--format", "json"]);
    let told = told.ends(0).json();
    let told = &told["images"][0];
    assert_eq!(
        (&told["repository"], &told["tags"]),
        (&json!("helloworld"), &json!(["v1"]))
    );
    let digests = image.blobs.iter().map(|blob| blob.digest.to_string());
    let digests: Vec<_> = std::iter::once(image.digest()).chain(digests).collect();
    let expected: Vec<_> = ["manifest", "config", "layer", "layer"]
        .into_iter()
        .zip(&digests)
        .map(|(kind, digest)| (kind, digest.as_str(), "pinned"))
        .collect();
    assert_eq!(parts(told), expected);
    let large = &told["parts"][3];
    assert_eq!(large["size"], 3 << 20);
    let header = served.blob("helloworld", &image.blobs[2]).expect(200);
    assert_eq!(large["cid"], header.header("X-Lighthouse-Cid"));
    assert_eq!(large["local"], true);
    assert_eq!(large["deals"][0]["miner"], "f01234");
    assert_eq!(large["deals"][0]["state"], "active");

    assert!(
        before == tree(&abroad.root("here")),
        "status changes nothing"
    );
}

#[test]
fn what_is_on_its_way_and_what_failed_has_its_own_exit_code() {
    let abroad = Abroad::new();
    abroad.double.set(json!({"queued_ms": 3_600_000}));
    let served = abroad.serve("here", |_| {});
    served.push("helloworld", "v1", &image(1));
    let states = || {
        let said = abroad.say("here", &["status", "--format", "json"]);
        (said.code, said.json()["totals"]["states"].clone())
    };
    world::await_some("all to be stored", || {
        (states() == (Some(3), json!({"stored": 4}))).then_some(())
    });

    let refused = json!([{"on": "add", "fault": {"cid": "bafkqaaa"}}]);
    abroad.double.set(json!({"faults": refused}));
    let second = image(7);
    served.push_blob("helloworld", &second.blobs[1]);
    let failed = world::await_some("a failure", || {
        let said = abroad.say("here", &["status", "--format", "json"]);
        (said.code == Some(1)).then(|| said.json())
    });
    let images = failed["images"].as_array().expect("a list");
    let spare = images.last().expect("blobs in no image");
    let digest = second.blobs[1].digest.to_string();
    assert_eq!(parts(spare), [("blob", digest.as_str(), "failed")]);
    assert_eq!(spare["digest"], Value::Null);
    let cause = spare["parts"][0]["cause"].as_str().expect("a cause");
    assert!(cause.contains("gave bafkqaaa where bafk"), "{cause}");

    let table = abroad.say("here", &["status"]).ends(1).out;
    assert!(table.contains("helloworld, in no image"), "{table}");
    assert!(
        table.contains("\n      because: Estuary http://"),
        "{table}"
    );
}

#[test]
fn what_is_lost_is_missing() {
    let abroad = Abroad::new();
    let served = abroad.serve("here", |_| {});
    let image = image(1);
    served.push("helloworld", "v1", &image);
    served.logged("completely on the content network");
    drop(served);
    let layer = image.blobs[2].digest.hex();
    let blob = format!("docker/registry/v2/blobs/sha256/{}/{layer}", &layer[..2]);
    let blob = abroad.root("here").join(blob);

    // The network has it.
    std::fs::remove_file(blob.join("data")).expect("it was there");
    let told = abroad.say("here", &["status", "--format", "json"]).ends(0);
    assert_eq!(told.json()["images"][0]["parts"][3]["local"], false);

    // Nobody knows of it.
    let catalog = abroad.root("here").join("lighthouse/catalog.sqlite");
    let catalog = rusqlite::Connection::open(catalog).expect("a database");
    let forgotten = catalog.execute(
        "delete from pins where blob = (select id from blobs where size = 3145728)",
        [],
    );
    assert_eq!(forgotten, Ok(1));
    drop(catalog);
    let told = abroad.say("here", &["status", "--format", "json"]).ends(1);
    let part = &told.json()["images"][0]["parts"][3];
    assert_eq!(
        (&part["state"], &part["size"]),
        (&json!("missing"), &json!(3 << 20))
    );
    let table = abroad.say("here", &["status"]).ends(1).out;
    assert!(table.contains("3 of 4 pinned"), "{table}");
}

#[test]
fn a_network_that_is_down_leaves_only_the_deals_unknown() {
    let mut abroad = Abroad::new();
    let served = abroad.serve("here", |_| {});
    served.push("helloworld", "v1", &image(1));
    served.logged("completely on the content network");
    let none = abroad.say("here", &["status"]).ends(0).out;
    assert_eq!(none.matches("  none\n").count(), 4, "{none}");

    abroad.double.kill();
    let said = abroad.say("here", &["status"]).ends(0);
    assert!(
        said.err
            .starts_with("note: not all deals are known: Estuary http://")
    );
    assert_eq!(said.out.matches("  -\n").count(), 4, "{}", said.out);
    let said = abroad.say("here", &["status", "--format", "json"]).ends(0);
    assert_eq!(said.json()["images"][0]["parts"][0]["deals"], Value::Null);
    assert!(
        said.json()["note"]
            .as_str()
            .is_some_and(|note| note.contains("Estuary"))
    );
}

/// A registry on this disk alone, with an index that has two tags, and a referrer.
struct OnDisk {
    served: Served,
    one: Image,
    referrer: Image,
}

impl OnDisk {
    fn new() -> OnDisk {
        let served = Served::on(Place::Disk);
        let (one, two) = (Image::named("one"), Image::named("two"));
        let index = Image::index(&[&one, &two]);
        let referrer = Image::referring_to(&one, "application/vnd.test.signature");
        for image in [&one, &two, &referrer] {
            served.push("a/b", &image.digest(), image);
        }
        served.push("a/b", "all", &index);
        served.push("a/b", "also", &index);
        served.push("c", "v1", &one);
        OnDisk {
            served,
            one,
            referrer,
        }
    }

    fn status(&self, arguments: &[&str]) -> Said {
        let mut command = command(&[&["status"], arguments].concat());
        let root = self.served.root();
        command.env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root);
        Said::from(run(&mut command))
    }
}

#[test]
fn every_manifest_is_told_once_with_what_is_below_it() {
    let disk = OnDisk::new();
    let told = disk.status(&["--format", "json"]).ends(0).json();
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
        ]
    );
    let below: Vec<_> = parts(&images[0])
        .into_iter()
        .map(|(kind, ..)| kind)
        .collect();
    let image = ["manifest", "config", "layer", "layer"];
    assert_eq!(below, [&["index"], &image[..], &image].concat());
    assert_eq!(images[1]["digest"], disk.referrer.digest());
    // Two images, an index, a referrer with one blob, and what they have in common once.
    assert_eq!(told["totals"]["parts"], 4 + 4 + 1 + 2);
    assert_eq!(told["totals"]["states"], json!({"local": 11}));

    let table = disk.status(&["a/b:also"]).ends(0).out;
    let titles = table.lines().next().expect("titles");
    let titles: Vec<_> = titles.split_whitespace().collect();
    assert_eq!(titles, ["IMAGE", "SIZE", "STATE"], "{table}");
    for indented in ["\n  index ", "\n    manifest ", "\n      config "] {
        assert!(table.contains(indented), "{indented:?} in {table}");
    }
    let by_digest = format!("a/b@{}", disk.one.digest());
    let table = disk.status(&[&by_digest]).ends(0).out;
    assert!(table.contains("1 image, 4 blobs"), "{table}");
}

#[test]
fn whoever_misspells_an_image_is_told_what_there_is() {
    let disk = OnDisk::new();
    for (wanted, cause) in [
        (
            "a/bb",
            "error: no repository \"a/bb\"; did you mean \"a/b\"?\n",
        ),
        (
            "nothing-like-it",
            "error: no repository \"nothing-like-it\"\n",
        ),
        (
            "a/b:al",
            "error: no image in a/b is called \"al\"; did you mean \"all\"?\n",
        ),
    ] {
        let said = disk.status(&[wanted]).ends(1);
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", cause));
    }
    let said = disk.status(&["127.0.0.1:5005/a/b"]).ends(2);
    assert!(said.err.contains("address: a/b"), "{}", said.err);
}

#[test]
fn an_empty_or_unreadable_root_directory_is_told_as_such() {
    let abroad = Abroad::new();
    let said = abroad.say("nowhere", &["status"]).ends(2);
    assert!(said.err.starts_with("error: open "), "{}", said.err);
    std::fs::create_dir(abroad.root("empty")).expect("a folder");
    let said = abroad.say("empty", &["status"]).ends(0);
    assert!(
        said.out
            .ends_with("\n0 images, 0 blobs and manifests, 0 B\n")
    );
    let help = abroad.say("empty", &["status", "--help"]).ends(0).out;
    assert!(
        help.contains("Exit codes:\n  0  all that was asked for is pinned"),
        "{help}"
    );
}
