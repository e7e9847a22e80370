//! Trees that power cuts, older registries and enemies left.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use lighthouse::oci::manifest::SIZE_MAX;
use lighthouse::store::import::{Options, Progress};
use lighthouse::store::{blob, import, manifest};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use super::drawn::Tree;
use super::world::{Blob, Image};
use super::{folder, imported, repository, root, store, target, try_import};

/// What is done to a tree with `a:v1` and `a:v2`, two images, of which `b:v1` is another copy.
struct Case {
    what: &'static str,
    harm: fn(&Tree, &Image),
    /// What is left of `a:v1`: its tag, its manifest, and its blobs.
    left: (bool, bool, usize),
    skipped: u64,
}

const fn case(
    what: &'static str,
    left: (bool, bool, usize),
    skipped: u64,
    harm: fn(&Tree, &Image),
) -> Case {
    Case {
        what,
        harm,
        left,
        skipped,
    }
}

const ALL: (bool, bool, usize) = (true, true, 3);
const NO_TAG: (bool, bool, usize) = (false, true, 3);
const NO_MANIFEST: (bool, bool, usize) = (false, false, 3);
const NO_LAYER: (bool, bool, usize) = (true, true, 2);

fn replace(path: &Path, with: impl FnOnce(&Path)) {
    fs::remove_file(path).expect("there");
    with(path);
}

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
}

/// Moves something out of the root, and has a link lead there.
fn lead_out(path: &Path) {
    let outside = tempfile::tempdir().expect("a folder").keep();
    let moved = outside.join("moved");
    fs::rename(path, &moved).expect("moved");
    symlink(&moved, path).expect("a link");
}

const CASES: &[Case] = &[
    case("nothing", ALL, 0, |_, _| {}),
    case("an empty link to a blob", ALL, 0, |tree, image| {
        tree.write(tree.layer("a", &image.blobs[1].digest), "");
    }),
    case("an empty link to a manifest", ALL, 0, |tree, image| {
        tree.write(tree.revision("a", &image.manifest.digest), "");
    }),
    case("a link of zeros", ALL, 0, |tree, image| {
        tree.write(tree.revision("a", &image.manifest.digest), [0; 71]);
    }),
    case("a tag's empty link", NO_TAG, 1, |tree, _| {
        tree.write(tree.tag("a", "v1"), "");
    }),
    case("a tag's link of zeros", NO_TAG, 1, |tree, _| {
        tree.write(tree.tag("a", "v1"), [0; 71]);
    }),
    case("a tag's garbage", NO_TAG, 1, |tree, _| {
        tree.write(tree.tag("a", "v1"), b"sha256:no digest\xff");
    }),
    case("a tag that points nowhere", NO_TAG, 0, |tree, _| {
        let other = Blob::of("never pushed").digest;
        tree.write(tree.tag("a", "v1"), other.to_string());
    }),
    // Where the path tells the digest, that is enough; for a manifest its bytes do, too.
    case("a manifest's garbage", ALL, 0, |tree, image| {
        tree.write(tree.revision("a", &image.manifest.digest), "garbage");
    }),
    case("another one's link", ALL, 0, |tree, image| {
        let other = image.blobs[2].digest;
        tree.write(tree.layer("a", &image.blobs[1].digest), other.to_string());
    }),
    case("a link that was deleted", NO_LAYER, 0, |tree, image| {
        fs::remove_file(tree.layer("a", &image.blobs[1].digest)).expect("there");
    }),
    case("a manifest without bytes", NO_MANIFEST, 0, |tree, image| {
        fs::remove_file(tree.blob(&image.manifest.digest)).expect("there");
    }),
    case("an emptied manifest", NO_MANIFEST, 1, |tree, image| {
        tree.write(tree.blob(&image.manifest.digest), "");
    }),
    case("a changed manifest", NO_MANIFEST, 1, |tree, image| {
        let mut bytes = image.manifest.bytes.clone();
        bytes[9] ^= 1;
        tree.write(tree.blob(&image.manifest.digest), bytes);
    }),
    case("a giant manifest", NO_MANIFEST, 1, |tree, image| {
        let file = File::create(tree.blob(&image.manifest.digest)).expect("made");
        file.set_len(SIZE_MAX + 1).expect("long");
    }),
    case("a giant link", NO_TAG, 0, |tree, _| {
        let file = File::create(tree.tag("a", "v1")).expect("made");
        file.set_len(1 << 40).expect("long");
    }),
    case("a blob without bytes", NO_LAYER, 0, |tree, image| {
        fs::remove_file(tree.blob(&image.blobs[1].digest)).expect("there");
    }),
    case("an emptied blob", NO_LAYER, 1, |tree, image| {
        tree.write(tree.blob(&image.blobs[1].digest), "");
    }),
    case("a pipe as a link", NO_TAG, 0, |tree, _| {
        replace(&tree.tag("a", "v1"), pipe);
    }),
    case("a pipe as a manifest", NO_MANIFEST, 0, |tree, image| {
        replace(&tree.blob(&image.manifest.digest), pipe);
    }),
    case("a pipe as a blob", NO_LAYER, 0, |tree, image| {
        replace(&tree.blob(&image.blobs[1].digest), pipe);
    }),
    case("a socket as a blob", NO_LAYER, 0, |tree, image| {
        // Its address is shorter than a blob's path may be.
        let (dir, path) = (
            tempfile::tempdir().expect("a folder"),
            tree.blob(&image.blobs[1].digest),
        );
        let socket = dir.path().join("socket");
        drop(UnixListener::bind(&socket).expect("bound"));
        fs::remove_file(&path).expect("there");
        if fs::rename(&socket, &path).is_err() {
            pipe(&path);
        }
    }),
    case("a pipe as cid and mediatype", ALL, 0, |tree, image| {
        let digest = &image.manifest.digest;
        pipe(&tree.blob(digest).with_file_name("cid"));
        pipe(&tree.revision("a", digest).with_file_name("mediatype"));
    }),
    case(
        "a manifest's bytes elsewhere",
        NO_MANIFEST,
        0,
        |tree, image| {
            lead_out(&tree.blob(&image.manifest.digest));
        },
    ),
    case("a blob's bytes elsewhere", NO_LAYER, 0, |tree, image| {
        lead_out(&tree.blob(&image.blobs[1].digest));
    }),
    case("a blob's folder elsewhere", NO_LAYER, 0, |tree, image| {
        lead_out(
            tree.blob(&image.blobs[1].digest)
                .parent()
                .expect("a folder"),
        );
    }),
    case("a link elsewhere", NO_TAG, 0, |tree, _| {
        lead_out(&tree.tag("a", "v1"));
    }),
    case("a tag's folder elsewhere", NO_TAG, 0, |tree, _| {
        lead_out(&tree.repository("a").join("_manifests/tags/v1"));
    }),
    case("a folder where a link should be", NO_TAG, 0, |tree, _| {
        replace(&tree.tag("a", "v1"), |path| {
            fs::create_dir(path).expect("made")
        });
    }),
    case("a file where a folder should be", NO_TAG, 0, |tree, _| {
        let tag = tree.repository("a").join("_manifests/tags/v1");
        fs::remove_dir_all(&tag).expect("there");
        fs::write(tag, "x").expect("written");
    }),
    case("strays", ALL, 0, |tree, _| {
        let at = tree.repository("a");
        tree.write(at.join("_manifests/tags/.bad name/current/link"), "x");
        tree.write(at.join("_manifests/revisions/sha256/not-hex/link"), "x");
        tree.write(at.join("_manifests/revisions/md5/00/link"), "x");
        tree.write(at.join("_layers/stray"), "x");
        tree.write(at.join("stray"), "x");
        tree.write(
            tree.repository("Upper/_manifests/tags/v1/current/link"),
            "x",
        );
        tree.write(tree.repository("_odd/_manifests/tags/v1/current/link"), "x");
        fs::create_dir_all(at.join("_manifests/tags/empty")).expect("made");
        symlink("..", at.join("round")).expect("a link");
    }),
    case("folders without end", ALL, 0, |tree, _| {
        let deep = "d/".repeat(500) + "_layers";
        // Deeper than a path can say in one go.
        let mut at = tree.repository("a");
        for name in deep.split('/') {
            at.push(name);
            if at.as_os_str().len() > 4000 {
                break;
            }
            fs::create_dir(&at).expect("made");
        }
    }),
];

#[test]
fn what_is_broken_is_not_there_and_the_rest_is() {
    for case in CASES {
        let tree = Tree::new();
        let (one, two) = (Image::named("one"), Image::named("two"));
        tree.push("a", &["v1"], &one);
        tree.push("a", &["v2"], &two);
        (case.harm)(&tree, &one);
        let summary = imported(tree.path());
        let store = store(tree.path());
        let digest = one.manifest.digest;
        let found = store.read(|tx| manifest::find(tx, &repository("a"), &digest.into_reference()));
        let blobs = one.blobs.iter().filter(|blob| {
            let held = store.find_blob(&repository("a"), &blob.digest);
            held.expect("an answer").is_some()
        });
        let left = (
            target(&store, "a", "v1") == Some(digest),
            found.expect("an answer").is_some(),
            blobs.count(),
        );
        assert_eq!(left, case.left, "{}", case.what);
        assert_eq!(
            target(&store, "a", "v2"),
            Some(two.manifest.digest),
            "{}",
            case.what
        );
        assert_eq!(summary.skipped, case.skipped, "{}", case.what);
        assert!(!import::is_needed(&root(tree.path())), "{}", case.what);
    }
}

trait IntoReference {
    fn into_reference(self) -> lighthouse::oci::Reference;
}

impl IntoReference for lighthouse::oci::Digest {
    fn into_reference(self) -> lighthouse::oci::Reference {
        lighthouse::oci::Reference::Digest(self)
    }
}

/// Docker's first manifests are kept as what they are, with what they are made of.
#[test]
fn schema_1_has_its_own_types() {
    let tree = Tree::new();
    let layer = Blob::of("a layer");
    let plain = json!({
        "schemaVersion": 1, "name": "old", "tag": "v1", "architecture": "amd64",
        "fsLayers": [{ "blobSum": layer.digest.to_string() }],
        "history": [{ "v1Compatibility": "{}" }],
    });
    let mut signed = plain.clone();
    signed["signatures"] = json!([{ "signature": "x" }]);
    for (tag, document) in [("plain", &plain), ("signed", &signed)] {
        let mut image = Image::document("", document);
        image.blobs.push(layer.clone());
        tree.push("old", &[tag], &image);
    }
    imported(tree.path());
    let store = store(tree.path());
    let media_type = |tag: &str| {
        let reference = tag.parse().expect("a tag");
        let found = store.read(|tx| manifest::find(tx, &repository("old"), &reference));
        found.expect("an answer").expect("there").media_type
    };
    let schema_1 = "application/vnd.docker.distribution.manifest.v1";
    assert_eq!(media_type("plain"), format!("{schema_1}+json"));
    assert_eq!(media_type("signed"), format!("{schema_1}+prettyjws"));
    drop(store);
    let needs = super::dump(tree.path());
    let needs = needs.iter().filter(|line| line.starts_with("needs "));
    assert_eq!(needs.count(), 2);
}

#[test]
fn large_manifests_stay_files_and_small_ones_become_rows() {
    let tree = Tree::new();
    let large = json!({ "schemaVersion": 2, "manifests": [], "annotations": {
        "long": "x".repeat(100_000),
    }});
    let (large, small) = (Image::document("", &large), Image::named("small"));
    tree.push("a", &["large"], &large);
    tree.push("a", &["small"], &small);
    imported(tree.path());
    let store = store(tree.path());
    let find = |tag: &str| {
        let reference = tag.parse().expect("a tag");
        let found = store.read(|tx| manifest::find(tx, &repository("a"), &reference));
        found.expect("an answer").expect("there")
    };
    let (large_found, small_found) = (find("large"), find("small"));
    assert_eq!(large_found.place, blob::Place::File);
    assert_eq!(large_found.size, large.manifest.bytes.len() as u64);
    assert_eq!(
        small_found.bytes.as_deref(),
        Some(&small.manifest.bytes[..])
    );
}

/// A start with `maintenance.readonly` looks, and leaves every file where it is.
#[test]
fn whoever_only_looks_moves_nothing() {
    let tree = Tree::new();
    tree.push("a", &["v1"], &Image::named("one"));
    let (root, at) = (root(tree.path()), store(tree.path()));
    let options = Options {
        is_readonly: true,
        ..Options::default()
    };
    let summary = import::run(&at, &root, &options, &Progress::default());
    let summary = summary.expect("imported").expect("whole");
    assert_eq!((summary.tags, summary.aside), (1, None));
    assert!(target(&at, "a", "v1").is_some());
    assert!(folder(tree.path()).is_dir());
}

/// A log of version 0.1 that names a place outside its tree changes nothing.
#[test]
fn a_log_does_not_lead_out() {
    use sha2::{Digest as _, Sha256};
    for path in [
        "../outside",
        "/tmp/outside",
        "lighthouse/lock",
        "docker/registry/v2/../../../../outside",
        "docker/registry/v2/blobs/away/x",
    ] {
        let tree = Tree::new();
        tree.push("a", &["v1"], &Image::named("one"));
        let outside = tempfile::tempdir().expect("a folder");
        let away = tree.path().join("docker/registry/v2/blobs/away");
        symlink(outside.path(), away).expect("a link");
        let entry = format!("put 1 {path}\nx").into_bytes();
        let (nonce, place) = ([7; 16], 64u64);
        let mut page = b"daybook\n".to_vec();
        page.extend(1u64.to_le_bytes());
        page.extend(nonce);
        page.extend(Sha256::digest(&page));
        page.extend((entry.len() as u64).to_le_bytes());
        let hash = Sha256::new()
            .chain_update(nonce)
            .chain_update(place.to_le_bytes());
        page.extend(hash.chain_update(&entry).finalize());
        page.extend(&entry);
        tree.write("lighthouse/daybook-0", page);
        let fault = try_import(tree.path()).expect_err(path).to_string();
        assert!(fault.contains("not its own"), "{path}: {fault}");
        assert!(folder(tree.path()).is_dir());
        assert_eq!(fs::read_dir(outside.path()).expect("a folder").count(), 0);
    }
}
