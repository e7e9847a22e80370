//! What the catalog says after each kind of change.

use std::fs;
use std::sync::Barrier;
use std::thread;

use lighthouse::oci::{Descriptor, Digest, Reference, Refusal};
use lighthouse::store::blob::Place;
use lighthouse::store::pin::{self, NewPin, Pin, State};
use lighthouse::store::{
    Failure, blob, change, manifest as manifests, referrer, repository as names, tag as tags,
    upload,
};

use super::{Fixture, digest, manifest, repository, tag, tagged};

fn refusal<T: std::fmt::Debug>(result: Result<T, Failure>) -> Refusal {
    match result {
        Err(Failure::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn small_blobs_are_rows_and_large_ones_files() {
    let at = Fixture::new();
    let large = vec![7; 100_000];
    let (small, large) = (
        at.push("a", b"small").expect("kept"),
        at.push("a", &large).expect("kept"),
    );
    let at = at.reopen();
    let find = |digest| {
        at.store
            .find_blob(&repository("a"), &digest)
            .expect("an answer")
    };
    let row = find(small).expect("there");
    assert_eq!((row.place, row.size), (Place::Row, 5));
    let bytes = at
        .store
        .read(|tx| blob::bytes(tx, row.id))
        .expect("an answer");
    assert_eq!(bytes.as_deref(), Some(&b"small"[..]));
    let file = find(large).expect("there");
    assert_eq!((file.place, file.size), (Place::File, 100_000));
    assert!(
        at.store
            .open_blob(&large, 100_000)
            .expect("an answer")
            .is_some()
    );
    // No session is left, nor its file.
    let uploads = at.dir.path().join("lighthouse/uploads");
    assert_eq!(fs::read_dir(uploads).expect("a folder").count(), 0);
}

#[test]
fn a_blob_whose_file_is_not_what_it_was_is_not_here_until_it_is_pushed_again() {
    for harm in [
        (|path| fs::remove_file(path).expect("removed")) as fn(&std::path::Path),
        |path| fs::write(path, b"").expect("cut"),
    ] {
        let at = Fixture::new();
        let bytes = vec![1; 100_000];
        let digest = at.push("a", &bytes).expect("kept");
        harm(&at.store.files().blob_path(&digest));
        let find = || {
            at.store
                .find_blob(&repository("a"), &digest)
                .expect("an answer")
        };
        assert_eq!(find(), None);
        let mounted = at.store.write(move |tx| {
            blob::mount(tx, Some(&repository("a")), &repository("b"), &digest, None)
        });
        assert!(
            !mounted.expect("an answer"),
            "what is lost is mounted by nobody"
        );
        let mut needing = manifest("a", b"{}", &["v1"]);
        needing.required = vec![digest];
        let missing = refusal(at.store.put_manifest(needing, ""));
        assert_eq!(missing, Refusal::ManifestBlobUnknown(vec![digest]));
        at.push("a", &bytes).expect("kept again");
        assert!(find().is_some());
    }
}

#[test]
fn tags_point_to_manifests_and_remember_where_they_pointed() {
    let at = Fixture::new();
    at.store
        .put_manifest(manifest("a", b"one", &["v1", "latest"]), "")
        .expect("kept");
    at.store
        .put_manifest(manifest("a", b"two", &["latest"]), "")
        .expect("kept");
    at.store
        .put_manifest(manifest("a", b"two", &["latest"]), "")
        .expect("again");
    let find = |reference: Reference| {
        let found = at
            .store
            .read(|tx| manifests::find(tx, &repository("a"), &reference));
        found.expect("an answer").map(|found| found.digest)
    };
    let (one, two) = (digest(b"one"), digest(b"two"));
    assert_eq!(
        (find(tagged("v1")), find(tagged("latest"))),
        (Some(one), Some(two))
    );
    at.store
        .write(|tx| tags::delete(tx, &repository("a"), &tag("latest"), Some("alice")))
        .expect("deleted");
    assert_eq!(
        (find(tagged("latest")), find(Reference::Digest(two))),
        (None, Some(two))
    );
    let moved = at
        .store
        .read(|tx| tags::history(tx, &repository("a"), &tag("latest"), i64::MAX, 10));
    let moved: Vec<_> = moved
        .expect("an answer")
        .into_iter()
        .map(|entry| (entry.digest, entry.actor))
        .collect();
    assert_eq!(
        moved,
        [
            (None, Some("alice".into())),
            (Some(two), None),
            (Some(one), None)
        ]
    );
}

#[test]
fn a_manifest_goes_with_all_its_tags_and_each_change_is_noted() {
    let at = Fixture::new();
    at.store
        .put_manifest(manifest("a", b"one", &["v1", "latest"]), "")
        .expect("kept");
    let one = digest(b"one");
    let delete = || {
        at.store
            .write(move |tx| manifests::delete(tx, &repository("a"), &one, None))
    };
    delete().expect("deleted");
    for reference in [tagged("v1"), tagged("latest"), Reference::Digest(one)] {
        let found = at
            .store
            .read(|tx| manifests::find(tx, &repository("a"), &reference));
        assert_eq!(found.expect("an answer"), None, "{reference}");
    }
    assert!(matches!(refusal(delete()), Refusal::ManifestUnknown(_)));
    let changes = at
        .store
        .read(|tx| change::list(tx, 0, 100))
        .expect("an answer");
    let kinds: Vec<_> = changes.iter().map(|change| change.kind.as_str()).collect();
    let put = ["put-manifest", "put-tag", "put-tag"];
    let deleted = ["delete-tag", "delete-tag", "delete-manifest"];
    assert_eq!(kinds, [put, deleted].concat());
}

#[test]
fn a_repository_is_listed_while_it_holds_a_manifest() {
    let at = Fixture::new();
    at.push("only/blobs", b"x").expect("kept");
    for name in ["c", "a", "b"] {
        at.store
            .put_manifest(manifest(name, b"m", &[]), "")
            .expect("kept");
    }
    at.store
        .put_manifest(manifest("b", b"n", &[]), "")
        .expect("kept");
    let list = |last: &str, count| {
        at.store
            .read(|tx| names::list(tx, last, count))
            .expect("an answer")
    };
    assert_eq!(list("", 10), ["a", "b", "c"]);
    assert_eq!(list("a", 1), ["b"]);
    for bytes in [b"m", b"n"] {
        let digest = digest(bytes);
        at.store
            .write(move |tx| manifests::delete(tx, &repository("b"), &digest, None))
            .expect("deleted");
    }
    assert_eq!(list("", 10), ["a", "c"]);
}

#[test]
fn the_same_bytes_may_be_of_another_type_elsewhere() {
    let at = Fixture::new();
    at.store
        .put_manifest(manifest("a", b"m", &["v"]), "")
        .expect("kept");
    let mut other = manifest("b", b"m", &["v"]);
    other.media_type = "application/json".into();
    at.store.put_manifest(other, "").expect("kept");
    let kind = |name: &str| {
        let found = at
            .store
            .read(|tx| manifests::find(tx, &repository(name), &tagged("v")));
        found.expect("an answer").expect("there").media_type
    };
    assert_eq!(kind("a"), "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(kind("b"), "application/json");
}

#[test]
fn referrers_are_listed_by_page_and_by_type() {
    let at = Fixture::new();
    let subject = digest(b"subject");
    for number in 0..10_u8 {
        let mut new = manifest("a", &[number], &[]);
        let descriptor = Descriptor {
            media_type: new.media_type.clone(),
            digest: new.digest,
            size: 1,
            urls: None,
            annotations: Some([("n".to_owned(), number.to_string())].into()),
            artifact_type: Some(format!("application/x-{}", number % 2)),
            platform: None,
        };
        new.referrer = Some((subject, descriptor));
        at.store.put_manifest(new, "").expect("kept");
    }
    let list = |kind: Option<&str>, last: Option<Digest>, count| {
        let listed = at
            .store
            .read(|tx| referrer::list(tx, &repository("a"), &subject, kind, last.as_ref(), count));
        listed.expect("an answer")
    };
    let all = list(None, None, 100);
    assert_eq!(all.len(), 10);
    let mut paged = list(None, None, 4);
    while paged.len() < 10 {
        let last = paged.last().map(|descriptor| descriptor.digest);
        let page = list(None, last, 4);
        assert!(!page.is_empty() && page.len() <= 4);
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(list(Some("application/x-1"), None, 100).len(), 5);
    assert!(list(Some("application/x-2"), None, 100).is_empty());
    let first = all[0].digest;
    at.store
        .write(move |tx| manifests::delete(tx, &repository("a"), &first, None))
        .expect("deleted");
    assert_eq!(list(None, None, 100).len(), 9);
}

#[test]
fn a_session_ends_once_and_sessions_are_few() {
    let at = Fixture::new();
    at.start_upload("a", "one");
    let end = |name: &'static str| {
        at.store
            .note(move |tx| upload::end(tx, &repository(name), "one"))
    };
    assert!(
        !end("b").expect("an answer"),
        "a session is of one repository"
    );
    assert!(end("a").expect("an answer"));
    assert!(!end("a").expect("an answer"));
    let limits = upload::Limits {
        total: 3,
        of_client: 2,
    };
    let start = |id: &'static str, client: &'static str| {
        at.store
            .note(move |tx| upload::start(tx, id, &repository("a"), client, limits))
    };
    for (id, client) in [("1", "x"), ("2", "x"), ("3", "y")] {
        if id == "3" {
            assert!(matches!(
                refusal(start("more", "x")),
                Refusal::TooManyRequests(_)
            ));
        }
        start(id, client).expect("a place");
    }
    assert!(matches!(
        refusal(start("4", "z")),
        Refusal::TooManyRequests(_)
    ));
    let stale = at
        .store
        .read(|tx| upload::list_stale(tx, i64::MAX, 2))
        .expect("an answer");
    assert_eq!(stale.len(), 2);
}

#[test]
fn a_copy_is_dropped_once_a_network_keeps_the_blob() {
    let at = Fixture::new();
    let bytes = vec![9; 100_000];
    let session = "s";
    at.start_upload("a", session);
    fs::write(at.store.files().upload_path(session), &bytes).expect("written");
    let digest = digest(&bytes);
    let new = lighthouse::store::blob::NewBlob {
        repository: repository("a"),
        digest,
        content: lighthouse::store::blob::Content::File(100_000),
        session: session.into(),
        ends_session: true,
        actor: None,
        pins: vec![NewPin {
            network: "home".into(),
            cid: Some(("bafy".into(), "p".into())),
        }],
    };
    at.store.put_blob(new).expect("kept");
    assert!(
        !at.store.drop_copy(&digest).expect("an answer"),
        "nobody else has it"
    );
    let due = at
        .store
        .read(|tx| pin::due(tx, "home", 10))
        .expect("an answer");
    assert_eq!(
        (due.len(), due[0].digest, due[0].pin.state),
        (1, digest, State::Queued)
    );
    let pinned = Pin {
        state: State::Pinned,
        due_at: None,
        confirmed_at: Some(1),
        ..due[0].pin.clone()
    };
    let blob = due[0].blob;
    assert!(
        at.store
            .write(move |tx| pin::put(tx, blob, &pinned))
            .expect("written")
    );
    assert!(
        at.store
            .read(|tx| pin::due(tx, "home", 10))
            .expect("an answer")
            .is_empty()
    );
    assert!(at.store.drop_copy(&digest).expect("an answer"));
    let path = at.store.files().blob_path(&digest);
    assert!(!path.exists());
    let found = at
        .store
        .find_blob(&repository("a"), &digest)
        .expect("an answer")
        .expect("kept");
    assert_eq!((found.place, found.size), (Place::Network, 100_000));
    // A push brings it back to this disk.
    at.push("a", &bytes).expect("kept");
    assert!(path.exists());
    assert_eq!(
        at.store
            .read(|tx| pin::of_digest(tx, &digest))
            .expect("an answer")[0]
            .state,
        State::Pinned
    );
}

#[test]
fn changes_that_are_made_together_have_results_of_their_own() {
    let at = Fixture::new();
    let together = Barrier::new(40);
    let outcomes: Vec<bool> = thread::scope(|scope| {
        let push = |number: u8| {
            together.wait();
            let mut new = manifest("a", &[number], &["latest"]);
            if number.is_multiple_of(4) {
                new.required = vec![digest(b"nobody pushed this")];
            }
            at.store.put_manifest(new, "").is_ok()
        };
        let pushes: Vec<_> = (0..40)
            .map(|number| scope.spawn(move || push(number)))
            .collect();
        pushes
            .into_iter()
            .map(|push| push.join().expect("no panic"))
            .collect()
    });
    for (number, is_kept) in (0..40_u8).zip(outcomes) {
        assert_eq!(is_kept, !number.is_multiple_of(4), "{number}");
        let reference = Reference::Digest(digest(&[number]));
        let found = at
            .store
            .read(|tx| manifests::find(tx, &repository("a"), &reference));
        assert_eq!(found.expect("an answer").is_some(), is_kept, "{number}");
    }
}

#[test]
fn a_command_that_panics_takes_nothing_with_it() {
    let at = Fixture::new();
    let failed = at.store.write(|tx| -> Result<(), _> {
        tags::delete(tx, &repository("a"), &tag("x"), None).ok();
        panic!("on purpose")
    });
    assert!(
        matches!(failed, Err(Failure::Fault(fault)) if fault.to_string().contains("on purpose"))
    );
    at.store
        .put_manifest(manifest("a", b"m", &["v"]), "")
        .expect("it goes on");
}
