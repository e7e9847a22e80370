//! Commands on a store, as the program that people start: beside whoever writes it, and alone.
#![forbid(unsafe_code)]

#[path = "../status/abroad.rs"]
#[allow(dead_code)] // Nobody serves here.
mod abroad;
mod backup;
#[path = "../double/start.rs"]
#[allow(dead_code)] // Nobody kills it here.
mod double;
mod export;
#[path = "../store/fixture.rs"]
#[allow(dead_code)] // Commands need a part of it.
mod fixture;
mod ls;
mod status;
mod tree;
#[path = "../world/mod.rs"]
#[allow(dead_code, unused_imports)] // Images, and the program.
mod world;

use std::path::Path;

use abroad::Said;
use lighthouse::oci::Digest;
use lighthouse::store::pin::{self, Pin, State};
use lighthouse::store::restore::{self, Kept};
use lighthouse::store::{Store, scan};
use world::Image;
use world::program::{command, run};

/// Runs a command on a root directory that nothing travels from.
fn say(root: &Path, arguments: &[&str]) -> Said {
    let mut command = command(arguments);
    command.env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root);
    Said::from(run(&mut command))
}

/// Runs a command on a root directory whose blobs travel to a Kubo node, which nobody asks.
fn say_with_network(root: &Path, arguments: &[&str]) -> Said {
    let mut command = command(arguments);
    command
        .env("REGISTRY_STORAGE_KUBO_API", "http://127.0.0.1:1")
        .env("REGISTRY_STORAGE_KUBO_ROOTDIRECTORY", root);
    Said::from(run(&mut command))
}

/// Pushes an image with its blobs under tags; what it indexes is pushed before.
fn push(store: &Store, name: &str, tags: &[&str], image: &Image) {
    for blob in &image.blobs {
        fixture::push(store, name, &blob.bytes).expect("kept");
    }
    let new = fixture::pushed(name, &image.media_type, &image.manifest.bytes, tags);
    store.put_manifest(new, "").expect("kept");
}

/// Writes down how far content is on a network.
fn pin(store: &Store, digest: &Digest, pin: Pin) {
    let kept = Kept {
        digest: *digest,
        size: 0,
        network: pin.network.clone(),
        cid: pin.cid.clone().unwrap_or_default(),
        remote: None,
    };
    let put = store.write(move |tx| {
        restore::note_kept(tx, &kept)?;
        let found = scan::find(tx, &kept.digest)?.expect("it was noted");
        pin::put(tx, found.id, &pin)
    });
    assert!(put.expect("written"));
}

fn pinned(network: &str, cid: &str) -> Pin {
    Pin {
        network: network.into(),
        state: State::Pinned,
        cid: Some(cid.into()),
        profile: None,
        remote: None,
        attempts: 0,
        cause: None,
        due_at: None,
        confirmed_at: None,
        lost_at: None,
    }
}
