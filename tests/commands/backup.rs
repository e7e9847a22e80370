//! `registry backup`.

use std::fs;

use tempfile::TempDir;

use super::world::Image;
use super::{fixture, push, say};

#[test]
fn a_catalog_is_copied_beside_its_writer_and_served_from_the_copy() {
    let (dir, away) = (
        TempDir::new().expect("a folder"),
        TempDir::new().expect("a folder"),
    );
    let store = fixture::open(dir.path());
    push(&store, "a", &["v1"], &Image::named("one"));
    let copy = away.path().join("lighthouse/catalog.sqlite");
    fs::create_dir(away.path().join("lighthouse")).expect("a folder");
    let to = copy.to_str().expect("UTF-8");
    let said = say(dir.path(), &["backup", to]).ends(0);
    assert!(
        said.err.starts_with("copied ") && said.out.is_empty(),
        "{said:?}"
    );
    assert_eq!(say(dir.path(), &["backup", "-q", to]).ends(0).err, "");

    let listed = say(dir.path(), &["ls", "a"]).ends(0).out;
    assert_eq!(say(away.path(), &["ls", "a"]).ends(0).out, listed);
    // It goes on from there.
    push(
        &fixture::open(away.path()),
        "a",
        &["v2"],
        &Image::named("two"),
    );
    assert_eq!(say(away.path(), &["ls", "a", "-q"]).ends(0).out, "v1\nv2\n");
    assert_eq!(say(dir.path(), &["ls", "a", "-q"]).ends(0).out, "v1\n");
}

#[test]
fn what_can_not_be_copied_is_said() {
    let dir = TempDir::new().expect("a folder");
    let root = dir.path().to_str().expect("UTF-8");
    let to = format!("{root}/copy");
    let said = say(dir.path(), &["backup", &to]).ends(1);
    assert!(
        said.err.contains("catalog.sqlite"),
        "there is none: {}",
        said.err
    );
    let store = fixture::open(dir.path());
    push(&store, "a", &["v1"], &Image::named("one"));
    for (to, cause) in [
        (root.to_owned(), "it is a folder"),
        (
            format!("{root}/lighthouse/catalog.sqlite"),
            "it is the catalog itself",
        ),
        (format!("{root}/no/where"), "No such file or directory"),
    ] {
        let said = say(dir.path(), &["backup", &to]).ends(1);
        assert!(said.err.contains(cause), "{}", said.err);
    }
    assert_eq!(say(dir.path(), &["ls", "-q"]).ends(0).out, "a\n");
}
