//! Away with a registry, and back from nothing: exports and restores, with Estuary as the double.
//! kubo.rs makes the same journey with a real IPFS node.
#![forbid(unsafe_code)]

#[path = "../status/abroad.rs"]
mod abroad;
#[path = "../double/start.rs"]
#[allow(dead_code)] // Another journey restarts it.
mod double;
mod kubo;
mod refusals;
#[path = "../world/mod.rs"]
#[allow(dead_code, unused_imports)] // These journeys need only a part of the world.
mod world;

use std::path::Path;
use std::process::Stdio;

use abroad::{Abroad, Said};
use lighthouse::cid::{Cid, Import, Unixfs};
use lighthouse::disk::Root;
use lighthouse::store::{View, scan};
use serde_json::{Value, json};
use world::{Blob, Hub, Image, Program};

/// What a registry was given: each image under its name.
struct Cargo(Vec<(&'static str, &'static str, Image)>);

impl Cargo {
    /// Images of all kinds, in two repositories.
    fn new() -> Cargo {
        let config = Blob::of(json!({ "author": "one" }).to_string());
        let large = Blob::noise((2 << 20) + 17, 3);
        let one = Image::made_of(&[config, large, Blob::noise(1234, 4)]);
        let two = Image::named("two");
        let index = Image::index(&[&one, &two]);
        let signature = Image::referring_to(&one, "application/vnd.test.signature");
        Cargo(vec![
            ("helloworld", "one", one.clone()),
            ("helloworld", "two", two.clone()),
            ("helloworld", "all", index),
            ("helloworld", "signature", signature),
            ("library/two", "v1", two),
        ])
    }

    /// So many images that nobody has.
    fn of(count: u64) -> Cargo {
        let names: Vec<&'static str> = (0..count)
            .map(|n| -> &'static str { format!("v{n}").leak() })
            .collect();
        let image = |name: &'static str| ("many", name, Image::named(name));
        Cargo(names.into_iter().map(image).collect())
    }

    /// Pushes everything, and waits until `status` says that it is pinned.
    fn push(&self, served: &Program, status: impl Fn() -> Said) {
        for (repository, tag, image) in &self.0 {
            served.push(repository, tag, image);
        }
        world::await_some("all to be pinned", || {
            (status().code == Some(0)).then_some(())
        });
    }

    /// Everything is there, as it was pushed.
    #[track_caller]
    fn is_at(&self, hub: &Hub) {
        for (repository, tag, image) in &self.0 {
            for reference in [tag.to_string(), image.digest()] {
                let answer = hub.manifest(repository, &reference).expect(200);
                assert_eq!(answer.header("Docker-Content-Digest"), image.digest());
                assert_eq!(answer.header("Content-Type"), image.media_type);
                assert!(answer.body == image.manifest.bytes, "{repository}:{tag}");
            }
            for blob in &image.blobs {
                let answer = hub.blob(repository, blob).expect(200);
                assert!(answer.body == blob.bytes, "{} of {tag}", blob.digest);
            }
        }
    }
}

/// Serves a root directory that fetches what it does not have.
fn serve(abroad: &Abroad, root: &str) -> Program {
    abroad.serve(root, |command| {
        command.env("REGISTRY_STORAGE_REDIRECT_DISABLE", "true");
    })
}

/// Exports to the network; the CID.
#[track_caller]
fn export(abroad: &Abroad, root: &str) -> String {
    let said = abroad.say(root, &["export", "--cid"]).ends(0);
    assert_eq!(said.err, "");
    let cid = said.out.strip_suffix('\n').expect("a line");
    cid.parse::<Cid>().expect("nothing but a CID");
    cid.to_owned()
}

fn is_gone(path: &Path) -> bool {
    !path.exists()
}

#[test]
fn a_registry_comes_back_from_a_cid() {
    let abroad = Abroad::new();
    let cargo = Cargo::new();
    let served = serve(&abroad, "old");
    cargo.push(&served, || abroad.say("old", &["status"]));

    // Beside its server.
    let document = abroad.say("old", &["export"]).ends(0);
    let mut unixfs = Unixfs::new(Import::ESTUARY);
    unixfs.write(document.out.as_bytes());
    let cid = export(&abroad, "old");
    assert_eq!(cid, unixfs.finish().cid.to_string());
    let rows = abroad.double.rows();
    assert_eq!(export(&abroad, "old"), cid);
    assert_eq!(abroad.double.rows(), rows, "it was there");
    drop(served);
    std::fs::remove_dir_all(abroad.root("old")).expect("a folder");

    let said = abroad.say("new", &["restore", &cid]).ends(0);
    assert_eq!(said.out, "");
    assert!(
        said.err.contains("restored 5 tags in 2 repositories"),
        "{}",
        said.err
    );
    assert!(is_gone(&abroad.root("new").join("lighthouse/restore")));
    let told = abroad
        .say("new", &["status", "--format", "json"])
        .ends(0)
        .json();
    let states = &told["totals"]["states"];
    assert_eq!(states["pinned"], told["totals"]["parts"]);
    assert_eq!(abroad.say("new", &["export"]).ends(0).out, document.out);

    let served = serve(&abroad, "new");
    let (_, _, one) = &cargo.0[0];
    let head = served.head(format!("/v2/helloworld/blobs/{}", one.blobs[1].digest));
    let head = head.expect(200);
    assert_eq!(head.header("Content-Length"), (2 << 20 | 17).to_string());
    assert!(head.header("X-Lighthouse-Cid").starts_with("bafybei"));
    cargo.is_at(&served);
    let referrers = served.get(format!("/v2/helloworld/referrers/{}", one.digest()));
    let listed = referrers.expect(200).json();
    let (_, _, signature) = &cargo.0[3];
    assert_eq!(listed["manifests"][0]["digest"], signature.digest());
    let mut names = served.list("/v2/_catalog", "repositories").0;
    names.sort();
    assert_eq!(names, ["helloworld", "library/two"]);
    assert_eq!(abroad.double.rows(), rows, "nothing has travelled again");
}

#[test]
fn clients_are_redirected_to_what_is_restored() {
    let abroad = Abroad::new();
    let served = serve(&abroad, "old");
    let image = Image::named("one");
    served.push("helloworld", "v1", &image);
    served.logged("helloworld:v1 is completely");
    abroad
        .say("new", &["restore", &export(&abroad, "old")])
        .ends(0);
    let restored = abroad.serve("new", |command| {
        command.env("REGISTRY_STORAGE_ESTUARY_CACHE_SIZE", "0");
    });
    let blob = &image.blobs[0];
    // Until the gateway has answered its first check, the registry fetches what is asked for.
    let answer = world::await_some("a redirect", || {
        let answer = restored.blob("helloworld", blob);
        (answer.status == 307).then_some(answer)
    });
    let location = answer.header("Location").to_owned();
    let mut there = ureq::get(location).call().expect("the gateway has it");
    let bytes = there.body_mut().read_to_vec().expect("whole");
    assert!(bytes == blob.bytes);
}

#[test]
fn the_newest_export_is_found_by_its_name() {
    let abroad = Abroad::new();
    let served = serve(&abroad, "old");
    let (one, two) = (Image::named("one"), Image::named("two"));
    served.push("helloworld", "one", &one);
    served.logged("helloworld:one is completely");
    let first = export(&abroad, "old");
    served.push("helloworld", "two", &two);
    served.logged("helloworld:two is completely");
    let second = export(&abroad, "old");
    assert_ne!(first, second);

    let said = abroad.say("new", &["restore"]).ends(0);
    assert!(
        said.err.starts_with(&format!("restoring {second}\n")),
        "{}",
        said.err
    );
    let restored = serve(&abroad, "new");
    Cargo(vec![("helloworld", "one", one), ("helloworld", "two", two)]).is_at(&restored);

    // One that was exported before is the newest once it is exported again.
    served.delete("/v2/helloworld/manifests/two").expect(405);
    let rows = abroad.double.rows();
    drop(served);
    abroad.say("third", &["restore", &first]).ends(0);
    assert_eq!(export(&abroad, "third"), first);
    assert_eq!(abroad.double.rows(), rows + 1);
    let said = abroad.say("fourth", &["restore"]).ends(0);
    assert!(
        said.err.starts_with(&format!("restoring {first}\n")),
        "{}",
        said.err
    );
}

#[test]
fn what_is_not_pinned_is_said_so() {
    let abroad = Abroad::new();
    let served = serve(&abroad, "old");
    let (one, two) = (Image::named("one"), Image::named("two"));
    served.push("helloworld", "one", &one);
    served.logged("helloworld:one is completely");
    abroad.double.fail("add", json!({"status": 400}));
    served.push("helloworld", "two", &two);
    world::await_some("all to have failed", || {
        let said = abroad.say("old", &["status", "--format", "json"]);
        (said.json()["totals"]["states"] == json!({"pinned": 4, "failed": 4})).then_some(())
    });
    drop(served);
    abroad.double.set(json!({}));

    let said = abroad.say("old", &["export", "--cid"]).ends(3);
    let cid = said.out.trim_end();
    cid.parse::<Cid>().expect("nothing but a CID");
    let refused = format!(
        "warning: {} is not pinned: the network refuses it",
        two.digest()
    );
    assert!(said.err.contains(&refused), "{}", said.err);
    assert!(
        said.err
            .contains("warning: 4 blobs and manifests can't be restored")
    );

    let said = abroad.say("new", &["restore", cid]).ends(3);
    assert!(
        said.err
            .contains("note: helloworld:two is left out with its manifest\n")
    );
    let restored = serve(&abroad, "new");
    Cargo(vec![("helloworld", "one", one)]).is_at(&restored);
    restored.manifest("helloworld", "two").expect(404);
    // The same push as ever mends it.
    served_again(&restored, &two);
}

/// Pushes an image of which the registry must have nothing.
#[track_caller]
fn served_again(hub: &Hub, image: &Image) {
    for blob in &image.blobs {
        let target = format!("/v2/helloworld/blobs/{}", blob.digest);
        hub.head(target).expect(404);
    }
    hub.push("helloworld", "two", image);
    let cargo = Cargo(vec![("helloworld", "two", image.clone())]);
    cargo.is_at(hub);
}

#[test]
fn an_export_waits_until_it_is_pinned_but_not_for_ever() {
    let abroad = Abroad::new();
    let served = serve(&abroad, "old");
    served.push("helloworld", "one", &Image::named("one"));
    served.logged("helloworld:one is completely");
    abroad
        .double
        .set(json!({"queued_ms": 400, "pinning_ms": 400}));
    let cid = export(&abroad, "old");
    served.push("helloworld", "two", &Image::named("two"));
    served.logged("helloworld:two is completely");

    abroad.double.set(json!({"queued_ms": 3_600_000}));
    let said = abroad
        .say("old", &["export", "--cid", "--wait", "1"])
        .ends(3);
    assert_ne!(said.out.trim_end(), cid);
    assert!(
        said.err
            .contains("warning: the export is on the network and not pinned yet")
    );
    let rows = abroad.double.rows();
    let again = abroad
        .say("old", &["export", "--cid", "--wait", "1"])
        .ends(3);
    assert_eq!(
        (again.out, abroad.double.rows()),
        (said.out, rows),
        "it is on its way"
    );

    abroad.double.set(json!({"fails": true}));
    let said = abroad
        .say("old", &["export", "--cid", "--wait", "9"])
        .ends(1);
    assert_eq!(said.out, "");
    let cause = "error: the export did not get through: Estuary content";
    assert!(said.err.contains(cause), "{}", said.err);
    assert!(said.err.contains("it could not be pinned"), "{}", said.err);
}

#[test]
fn an_export_is_put_there_once_and_by_nobody_who_lies() {
    let abroad = Abroad::new();
    let served = serve(&abroad, "old");
    served.push("helloworld", "one", &Image::named("one"));
    served.logged("helloworld:one is completely");
    // The answer is lost, and the export is there all the same.
    let late = json!({"on": "add", "times": 1, "fault": {"status_late": 504}});
    abroad.double.set(json!({ "faults": [late] }));
    let rows = abroad.double.rows();
    export(&abroad, "old");
    assert_eq!(abroad.double.rows(), rows + 1);

    abroad.double.set(json!({}));
    served.push("helloworld", "two", &Image::named("two"));
    served.logged("helloworld:two is completely");
    abroad.double.fail("add", json!({"cid": "bafkqaaa"}));
    let said = abroad
        .say("old", &["export", "--cid", "--wait", "9"])
        .ends(1);
    assert_eq!(said.out, "");
    assert!(
        said.err.contains("gave bafkqaaa where bafk"),
        "{}",
        said.err
    );
}

#[test]
fn a_restore_that_was_killed_goes_on() {
    let abroad = Abroad::new();
    let served = serve(&abroad, "old");
    let cargo = Cargo::of(60);
    cargo.push(&served, || abroad.say("old", &["status"]));
    let cid = export(&abroad, "old");

    // The length of the export, the export, 40 manifests, and no more.
    let orders = json!([
        {"on": "gateway", "server": 1, "times": 2 + 40, "fault": {"slow_ms": 1}},
        {"on": "gateway", "server": 1, "fault": "hang"},
    ]);
    abroad.double.set(json!({ "faults": orders }));
    let mut command = abroad.command("new", &["restore", &cid]);
    let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
    world::await_some("some manifests", || {
        (7 < manifests_in(&abroad.root("new"))).then_some(())
    });
    child.kill().expect("it is at work");
    child.wait().expect("it is ours");
    assert!(abroad.root("new").join("lighthouse/restore").exists());

    abroad.double.set(json!({}));
    let before = gateway_reads(&abroad.double.seen());
    abroad.say("new", &["restore", &cid]).ends(0);
    let fetched = gateway_reads(&abroad.double.seen()) - before;
    assert!(fetched < 2 + 60, "{fetched} reads, though some were here");
    assert!(is_gone(&abroad.root("new").join("lighthouse/restore")));
    cargo.is_at(&serve(&abroad, "new"));
}

/// How many manifests a restore has fetched into a root directory.
fn manifests_in(root: &Path) -> usize {
    let view = Root::open(root).and_then(|root| View::open(&root, None));
    // Its catalog may not be there yet.
    let Ok(view) = view else {
        return 0;
    };
    let (mut count, mut last) = (0, 0);
    while let Ok(Some(found)) = view.read(|tx| scan::next(tx, last)) {
        (count, last) = (count + 1, found.id);
    }
    count
}

/// How many requests the shuttle's gateway had.
fn gateway_reads(seen: &Value) -> usize {
    let requests = seen["requests"].as_array().expect("a list").iter();
    let is_read = |request: &&Value| {
        let path = request["path"].as_str();
        request["server"] == 1 && path.is_some_and(|path| path.starts_with("/gw/"))
    };
    requests.filter(is_read).count()
}
