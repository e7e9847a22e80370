//! Trees that are found beside a catalog that knows something already.

use std::fs;

use lighthouse::oci::Digest;
use lighthouse::store::{tag, tree};

use super::drawn::Tree;
use super::world::Image;
use super::{dump, folder, history, imported, repository, root, store, tagged, target, try_import};

/// A tree without the mark of a hand-over: what the catalog says of a tag stands.
#[test]
fn a_tree_that_was_not_handed_over_is_merged_and_ours_wins() {
    let (one, two, three) = (
        Image::named("one"),
        Image::named("two"),
        Image::named("three"),
    );
    let tree = Tree::new();
    tree.push("a", &["stays", "moves", "goes"], &one);
    let first = imported(tree.path());
    let guard = folder(tree.path());
    assert!(
        fs::read_to_string(&guard)
            .expect("a file")
            .contains("registry tree")
    );
    let at = store(tree.path());
    at.write(|tx| tag::delete(tx, &repository("a"), &tagged("goes"), None))
        .expect("deleted");
    drop(at);
    // Somebody puts the old folder back, and distribution goes on in it.
    fs::remove_file(&guard).expect("removed");
    fs::rename(first.aside.expect("moved"), &guard).expect("moved back");
    tree.push("a", &["moves", "new"], &two);
    tree.push("b", &["v1"], &three);
    let summary = imported(tree.path());
    assert_eq!((summary.manifests, summary.tags), (2, 2));
    assert_eq!((summary.differing, summary.removed), (2, 0));
    let at = store(tree.path());
    for (name, tag, image) in [
        ("a", "stays", Some(&one)),
        ("a", "moves", Some(&one)),
        ("a", "goes", None),
        ("a", "new", Some(&two)),
        ("b", "v1", Some(&three)),
    ] {
        let expected = image.map(|image| image.manifest.digest);
        assert_eq!(target(&at, name, tag), expected, "{name}:{tag}");
    }
    assert!(guard.is_file());
}

/// A tree with the mark is the truth; what the catalog remembers stays.
#[test]
fn a_tree_that_was_handed_over_is_the_truth() {
    let (one, two, three) = (
        Image::named("one"),
        Image::named("two"),
        Image::named("three"),
    );
    let drawn = Tree::new();
    drawn.push("a", &["stays", "moves", "goes"], &one);
    drawn.push("a", &["dangles"], &three);
    drawn.push("gone/whole", &["v1"], &one);
    imported(drawn.path());
    let at = store(drawn.path());
    let written = tree::write(&at, &root(drawn.path()))
        .expect("written")
        .expect("new");
    assert_eq!((written.repositories, written.tags), (2, 5));
    // Once is enough.
    assert_eq!(
        tree::write(&at, &root(drawn.path())).expect("an answer"),
        None
    );
    drop(at);
    // What distribution does, and its users.
    drawn.push("a", &["moves", "new"], &two);
    fs::remove_dir_all(drawn.repository("a").join("_manifests/tags/goes")).expect("removed");
    fs::remove_file(drawn.revision("a", &three.manifest.digest)).expect("removed");
    fs::remove_file(drawn.layer("a", &three.blobs[1].digest)).expect("removed");
    fs::remove_dir_all(drawn.repository("gone")).expect("removed");
    let summary = imported(drawn.path());
    assert_eq!((summary.manifests, summary.tags), (1, 2));
    let at = store(drawn.path());
    let digest = |image: &Image| -> Option<Digest> { Some(image.manifest.digest) };
    for (tag, moved) in [
        ("stays", vec![digest(&one)]),
        ("moves", vec![digest(&two), digest(&one)]),
        ("goes", vec![None, digest(&one)]),
        ("dangles", vec![None, digest(&three)]),
        ("new", vec![digest(&two)]),
    ] {
        assert_eq!(target(&at, "a", tag), moved[0], "{tag}");
        assert_eq!(history(&at, "a", tag), moved, "{tag}");
    }
    assert_eq!(target(&at, "gone/whole", "v1"), None);
    let layer = |index: usize| {
        let held = at.find_blob(&repository("a"), &three.blobs[index].digest);
        held.expect("an answer").is_some()
    };
    assert!(!layer(1) && layer(2));
    drop(at);
    let lines = dump(drawn.path());
    assert!(lines.contains(&"tree 0".into()) && lines.contains(&"repository gone/whole 0".into()));
    assert!(
        !lines.iter().any(|line| line.starts_with("change ")),
        "nobody pushed here"
    );
}

/// An empty tree beside a catalog that was handed over is all that there is; without the mark it
/// is nothing.
#[test]
fn an_unread_tree_is_not_written_over() {
    let drawn = Tree::new();
    drawn.push("a", &["v1"], &Image::named("one"));
    let fault = tree::write(&store(drawn.path()), &root(drawn.path())).expect_err("refused");
    assert!(fault.to_string().contains("was not read yet"), "{fault}");
    imported(drawn.path());
    fs::remove_file(folder(drawn.path())).expect("removed");
    fs::create_dir(folder(drawn.path())).expect("made");
    let summary = imported(drawn.path());
    assert_eq!((summary.removed, summary.aside), (0, None));
    assert!(target(&store(drawn.path()), "a", "v1").is_some());
}

/// A hand-over that ended between its mark and its folder, or whose folder was lost: what the
/// catalog knows is not given up for nothing.
#[test]
fn a_hand_over_without_a_tree_changes_nothing() {
    let drawn = Tree::new();
    drawn.push("a", &["v1"], &Image::named("one"));
    imported(drawn.path());
    let before = dump(drawn.path());
    tree::write(&store(drawn.path()), &root(drawn.path())).expect("written");
    fs::rename(
        folder(drawn.path()),
        folder(drawn.path()).with_extension("new"),
    )
    .expect("moved");
    try_import(drawn.path()).expect("nothing to read");
    assert_eq!(dump(drawn.path()), before);
    assert!(folder(drawn.path()).is_file());
    assert!(!folder(drawn.path()).with_extension("new").exists());
    assert!(
        tree::write(&store(drawn.path()), &root(drawn.path()))
            .expect("written")
            .is_some()
    );
}
