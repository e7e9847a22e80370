//! What a restore does not do, or does not do twice.

use std::process::Stdio;

use lighthouse::cid::{Import, Unixfs};
use lighthouse::estuary::{Estuary, Upload};
use serde_json::json;

use crate::abroad::Abroad;
use crate::world::program::run;
use crate::world::{Image, Program};
use crate::{Cargo, export, is_gone, serve};

/// Puts anything on the network; its CID.
fn put(abroad: &Abroad, bytes: Vec<u8>) -> String {
    let estuary = Estuary::new(&abroad.double.main, &abroad.double.shuttles, "ESTuserARY");
    let mut unixfs = Unixfs::new(Import::ESTUARY);
    unixfs.write(&bytes);
    let cid = unixfs.finish().cid;
    let open = || Ok(Box::new(std::io::Cursor::new(bytes.clone())) as Box<dyn std::io::Read>);
    let upload = Upload {
        name: "anything",
        size: bytes.len() as u64,
        cid,
        open: &open,
    };
    estuary.expect("a token").add(&upload).expect("it is taken");
    cid.to_string()
}

/// A registry with an image on the network, and the export of it.
fn exported(abroad: &Abroad) -> (Program, Image, String) {
    let served = serve(abroad, "old");
    let image = Image::named("one");
    served.push("helloworld", "one", &image);
    served.logged("helloworld:one is completely");
    let cid = export(abroad, "old");
    (served, image, cid)
}

#[test]
fn what_is_not_the_export_is_not_restored() {
    let abroad = Abroad::new();
    let (_served, _, cid) = exported(&abroad);
    for (fault, cause) in [
        (json!("flip"), format!("where {cid} was expected")),
        (json!("shorten"), format!("where {cid} was expected")),
        (json!({"status": 500}), "failed (500)".into()),
    ] {
        abroad.double.fail("gateway", fault.clone());
        let said = abroad.say("new", &["restore", &cid]).ends(2);
        assert!(said.err.contains(&cause), "{fault}: {}", said.err);
        assert!(is_gone(
            &abroad.root("new").join("lighthouse/catalog.sqlite")
        ));
    }
    abroad.double.set(json!({}));
    for (bytes, cause) in [
        (b"hello".to_vec(), "it is no export of a catalog"),
        (
            br#"{"format": "lighthouse-catalog", "version": 9}"#.to_vec(),
            "version 9, and this program reads version 1",
        ),
        (
            br#"{"format": "lighthouse-catalog", "version": 1, "contents": {},
                "repositories": {"../../up": {"tags": {}, "manifests": {}, "blobs": []}}}"#
                .to_vec(),
            "\"../../up\" is not a repository name",
        ),
        (
            vec![b' '; (64 << 20) + 1],
            "67108865 bytes, where at most 67108864 are read",
        ),
    ] {
        let said = abroad
            .say("new", &["restore", &put(&abroad, bytes)])
            .ends(2);
        assert!(said.err.contains(cause), "{cause}: {}", said.err);
    }
    assert!(is_gone(
        &abroad.root("new").join("lighthouse/catalog.sqlite")
    ));
    abroad.say("new", &["restore", &cid]).ends(0);
}

#[test]
fn a_manifest_that_does_not_come_is_fetched_by_the_next_try() {
    let abroad = Abroad::new();
    let (_served, image, _) = exported(&abroad);
    let second = Image::named("two");
    _served.push("helloworld", "two", &second);
    _served.logged("helloworld:two is completely");
    let cid = export(&abroad, "old");
    // The length, the export, and of three tries for each manifest the first two.
    let order =
        |times, fault| json!({"on": "gateway", "server": 1, "times": times, "fault": fault});
    let faults = [
        order(1, json!({"slow_ms": 1})),
        order(1, json!({"slow_ms": 1})),
        json!({"on": "gateway", "server": 1, "fault": "flip"}),
    ];
    abroad.double.set(json!({ "faults": faults }));
    let said = abroad.say("new", &["restore", &cid]).ends(1);
    assert!(
        said.err
            .contains(&format!("error: {} could not be fetched", image.digest()))
    );
    assert!(
        said.err.contains("run the same command again"),
        "{}",
        said.err
    );
    assert!(abroad.root("new").join("lighthouse/restore").exists());

    abroad.double.set(json!({}));
    let other = put(&abroad, b"another".to_vec());
    let said = abroad.say("new", &["restore", &other]).ends(2);
    assert!(
        said.err
            .contains(&format!("a restore of {cid} has begun here")),
        "{}",
        said.err
    );
    abroad.say("new", &["restore", &cid]).ends(0);
    let cargo = [("helloworld", "one", image), ("helloworld", "two", second)];
    Cargo(cargo.into()).is_at(&serve(&abroad, "new"));
}

#[test]
fn a_registry_that_holds_something_is_only_added_to() {
    let abroad = Abroad::new();
    let (served, image, cid) = exported(&abroad);
    let (own, other) = (Image::named("own"), Image::named("other"));
    let here = serve(&abroad, "here");
    here.push("helloworld", "one", &other);
    here.push("mine", "own", &own);
    here.logged("mine:own is completely");

    let said = abroad.say("here", &["restore", &cid, "--merge"]).ends(2);
    assert!(said.err.contains("another server is using it"));
    here.push("mine", "still", &own);
    drop(here);
    let said = abroad.say("here", &["restore", &cid]).ends(2);
    assert!(
        said.err.contains("is not empty") && said.err.contains("--merge"),
        "{}",
        said.err
    );

    let said = abroad.say("here", &["restore", &cid, "--merge"]).ends(0);
    let stays = format!("helloworld:one stays at {}; the export has", other.digest());
    assert!(said.err.contains(&stays), "{}", said.err);
    let here = serve(&abroad, "here");
    let cargo = vec![("helloworld", "one", other), ("mine", "own", own)];
    Cargo(cargo).is_at(&here);
    let answer = here.manifest("helloworld", &image.digest()).expect(200);
    assert!(answer.body == image.manifest.bytes);
    drop(served);
}

#[test]
fn without_a_network_there_is_nothing_to_restore_from() {
    let abroad = Abroad::new();
    let local = |arguments: &[&str]| {
        let mut command = crate::world::program::command(arguments);
        let root = abroad.root("local");
        command.env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root);
        crate::abroad::Said::from(run(&mut command))
    };
    std::fs::create_dir(abroad.root("local")).expect("a folder");
    assert!(
        local(&["export", "--cid"])
            .ends(2)
            .err
            .contains("needs a content network")
    );
    let empty = local(&["export"]).ends(0).json();
    assert_eq!(empty["format"], "lighthouse-catalog");
    assert!(
        local(&["restore"])
            .ends(2)
            .err
            .contains("needs the content network")
    );
    let said = abroad.say("new", &["restore"]).ends(2);
    assert!(
        said.err
            .contains("no pinned export is called \"my-registry\""),
        "{}",
        said.err
    );
    let mut nameless = abroad.command("new", &["restore"]);
    nameless.env_remove("REGISTRY_STORAGE_ESTUARY_EXPORT_NAME");
    let said = crate::abroad::Said::from(run(&mut nameless)).ends(2);
    assert!(
        said.err.contains("say which CID to restore"),
        "{}",
        said.err
    );
    assert!(
        abroad
            .say("new", &["restore", "Qmx"])
            .ends(2)
            .err
            .contains("not a usable CID")
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let abroad = Abroad::new();
    let (_served, ..) = exported(&abroad);
    let mut command = abroad.command("old", &["export"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let ended = child.wait().expect("it is ours");
    assert_eq!(ended.code(), Some(0));
}
