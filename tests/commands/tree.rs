//! `registry tree`: the way back.

use std::fs;

use lighthouse::disk::Root;
use lighthouse::store::import;
use tempfile::TempDir;

use super::world::Image;
use super::{fixture, pin, pinned, push, say, say_with_network};

#[test]
fn a_tree_is_written_from_what_the_catalog_says() {
    let dir = TempDir::new().expect("a folder");
    let store = fixture::open(dir.path());
    let image = Image::named("one");
    push(&store, "a/b", &["v1"], &image);
    drop(store);
    let said = say(dir.path(), &["tree"]).ends(0);
    let told = "wrote 1 repositories with 1 manifests and 1 tags, and 4 small contents as files\n";
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", told));
    let tree = dir.path().join("docker/registry/v2");
    let link = tree.join("repositories/a/b/_manifests/tags/v1/current/link");
    assert_eq!(fs::read_to_string(link).expect("a link"), image.digest());
    let hex = image.manifest.digest.hex();
    let bytes = tree.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]));
    assert!(fs::read(bytes).expect("a file") == image.manifest.bytes);
    // The next start reads it again; until then, there is nothing to do.
    assert!(import::is_needed(&Root::open(dir.path()).expect("a root")));
    let said = say(dir.path(), &["tree"]).ends(0);
    assert!(said.err.contains("was written before"), "{}", said.err);
    assert_eq!(say(dir.path(), &["tree", "-q"]).ends(0).err, "");
}

#[test]
fn what_only_a_network_keeps_is_told() {
    let dir = TempDir::new().expect("a folder");
    let store = fixture::open(dir.path());
    let large = super::world::Blob::noise(100_000, 1);
    let image = Image::made_of(&[super::world::Blob::of("{}"), large.clone()]);
    push(&store, "a", &["v1"], &image);
    pin(&store, &large.digest, pinned("kubo", "bafkqaaa"));
    assert!(store.drop_copy(&large.digest).expect("an answer"));
    drop(store);
    let said = say_with_network(dir.path(), &["tree"]).ends(3);
    let warning = "warning: 1 blobs are on a content network alone";
    assert!(said.err.contains(warning), "{}", said.err);
}

#[test]
fn nothing_is_made_where_there_is_no_store() {
    let dir = TempDir::new().expect("a folder");
    let said = say(dir.path(), &["tree"]).ends(2);
    assert!(
        said.err.contains("there is no catalog here"),
        "{}",
        said.err
    );
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
    let said = say(&dir.path().join("nowhere"), &["tree"]).ends(2);
    assert!(said.err.starts_with("error: open "), "{}", said.err);
}
