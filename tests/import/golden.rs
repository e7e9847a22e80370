//! A root directory as Lighthouse 0.1 left it; golden-0.1/README.md says how it was made.

use std::fs;
use std::path::Path;

use lighthouse::oci::{Digest, Reference};
use lighthouse::store::blob::Place;
use lighthouse::store::import::{self, Options, Progress};
use lighthouse::store::pin::{self, State};
use lighthouse::store::{Store, manifest, referrer, tree};
use tempfile::TempDir;

use super::{copy, dump, folder, repository, root, store, target};

fn golden() -> TempDir {
    let dir = TempDir::new().expect("a folder");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/golden-0.1/root");
    copy(&from, dir.path());
    dir
}

const ESTUARY: Options = Options {
    network: Some("estuary"),
    is_readonly: false,
};
const ONE: &str = "sha256:4778cd3fbeaf56a9fc05a9fd23e81c7a3e117f2b7b1ed34d2b810193f1956264";
const TWO: &str = "sha256:c472e9b80f972b531bb56dcd7d48edadfcd2e68e7fef15b59acac7aea8f63628";
const THREE: &str = "sha256:aed79d592000d89cd5a2a09d6fb493c62c083d0502c7f5b287251df2994104f3";
const SIGNATURE: &str = "sha256:fd5f97791ff7e53ce6374a3c7a298a97aca8af9c29c2d7ee6afa8b4ac73c8ea5";
const INDEX: &str = "sha256:668b0e330244dbf0755ee71e59e36ea82df4bbac598e4010d6a8535f216e906c";

fn digest(text: &str) -> Digest {
    text.parse().expect("a digest")
}

fn media_type(store: &Store, name: &str, reference: &str) -> String {
    let reference: Reference = reference.parse().expect("a reference");
    let found = store.read(|tx| manifest::find(tx, &repository(name), &reference));
    found.expect("an answer").expect("there").media_type
}

/// What its log had promised is there, and what it had deleted is not.
#[test]
fn a_root_of_version_0_1_is_read_with_its_log_and_its_pins() {
    let dir = golden();
    assert!(import::is_needed(&root(dir.path())));
    let at = root(dir.path());
    let summary = import::run(&store(dir.path()), &at, &ESTUARY, &Progress::default());
    let summary = summary.expect("imported").expect("whole");
    assert!(summary.replayed > 10, "{summary:?}");
    assert_eq!(
        (summary.repositories, summary.tags, summary.uploads),
        (3, 5, 1)
    );
    assert_eq!((summary.skipped, summary.removed), (0, 0));
    assert!(!dir.path().join("lighthouse/daybook-0").exists());
    let store = store(dir.path());
    for (name, tag, expected) in [
        ("library/a", "v1", Some(THREE)),
        ("library/a", "latest", Some(ONE)),
        ("library/a", "multi", Some(INDEX)),
        ("library/a", "docker", None),
        ("library/a", "gone", None),
        ("b/c.d/e", "v1", Some(TWO)),
        ("late", "v1", Some(THREE)),
    ] {
        assert_eq!(
            target(&store, name, tag),
            expected.map(digest),
            "{name}:{tag}"
        );
    }
    // Its bytes do not say what it is, a file beside its link does.
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(media_type(&store, "library/a", TWO), docker);
    let listed = store.read(|tx| {
        let (name, subject) = (repository("library/a"), digest(ONE));
        referrer::list(tx, &name, &subject, None, None, 10)
    });
    let listed = listed.expect("an answer");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].digest, digest(SIGNATURE));
    assert_eq!(
        listed[0].artifact_type.as_deref(),
        Some("application/vnd.example.signature")
    );
    on_its_network(&store);
}

/// The layers that had left the disk are where they were.
fn on_its_network(store: &Store) {
    let layer = lighthouse::oci::Digest::of(lighthouse::oci::Algorithm::Sha256, b"a layer of one");
    let found = store.find_blob(&repository("library/a"), &layer);
    let found = found.expect("an answer").expect("held");
    assert_eq!((found.place, found.size), (Place::Network, 14));
    let pins = |digest: &Digest| {
        store
            .read(|tx| pin::of_digest(tx, digest))
            .expect("an answer")
    };
    let [pin] = &pins(&layer)[..] else {
        panic!("one pin");
    };
    assert_eq!((&pin.network[..], pin.state), ("estuary", State::Pinned));
    assert!(
        pin.cid
            .as_deref()
            .is_some_and(|cid| cid.starts_with("bafk"))
    );
    assert!(pin.remote.is_some() && pin.due_at.is_none(), "{pin:?}");
    let [late] = &pins(&digest(THREE))[..] else {
        panic!("one pin");
    };
    assert_eq!(late.state, State::Queued);
    assert!(late.due_at.is_some());
}

/// Written again and read again it is the same, with what only 0.1 writes.
#[test]
fn a_root_of_version_0_1_goes_there_and_back() {
    let dir = golden();
    let root = root(dir.path());
    let run = |path: &Path| {
        let (store, root) = (store(path), super::root(path));
        let summary = import::run(&store, &root, &ESTUARY, &Progress::default());
        summary.expect("imported").expect("whole")
    };
    run(dir.path());
    let before = dump(dir.path());
    let written = tree::write(&store(dir.path()), &root)
        .expect("written")
        .expect("new");
    assert_eq!(
        (written.repositories, written.manifests, written.tags),
        (3, 7, 5)
    );
    assert!(written.remote > 0);
    let revision = folder(dir.path()).join("library/a/_manifests/revisions/sha256");
    let beside = revision.join(&TWO[7..]).join("mediatype");
    assert!(
        fs::read_to_string(beside)
            .expect("there")
            .contains("docker")
    );
    // Whatever 0.1 has to know of the network is in the tree: a new catalog learns it there.
    let again = golden();
    fs::remove_dir_all(again.path()).expect("removed");
    copy(dir.path(), again.path());
    fs::remove_dir_all(again.path().join("lighthouse")).expect("removed");
    run(again.path());
    let pins = |lines: Vec<String>| -> Vec<String> {
        lines
            .into_iter()
            .filter(|line| line.starts_with("pin estuary"))
            .collect()
    };
    let (left, right) = (pins(before.clone()), pins(dump(again.path())));
    assert_eq!((left.len(), right), (13, left));
    let summary = run(dir.path());
    assert_eq!(
        (summary.manifests, summary.tags, summary.removed),
        (0, 0, 0)
    );
    assert_eq!(dump(dir.path()), before);
}
