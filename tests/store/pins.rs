//! What follows from what networks keep: copies that may be dropped, images that are complete,
//! and what a network has to be told of.

use std::fs;

use lighthouse::oci::Digest;
use lighthouse::store::blob::Place;
use lighthouse::store::pin::{self, Pin, State};
use lighthouse::store::{blob, copy, sqlite};

use super::{Fixture, digest, manifest, repository};

const HOME: &str = "home";

impl Fixture {
    /// Tells the network of all that is here, and gives what is due there.
    fn due(&self) -> Vec<pin::Due> {
        let enqueued = self
            .store
            .write(|tx| pin::enqueue_next(tx, HOME, 1000))
            .expect("enqueued");
        assert!(!enqueued, "there is no more");
        self.store
            .read(|tx| pin::due(tx, HOME, 1000))
            .expect("an answer")
    }

    /// Notes how far a blob is.
    fn set(&self, digest: &Digest, state: State) -> Vec<String> {
        let digest = *digest;
        let row = self
            .store
            .read(|tx| blob::number(tx, &digest))
            .expect("an answer")
            .expect("a row");
        let pin = Pin {
            network: HOME.into(),
            state,
            cid: Some("bafy".into()),
            ..Pin::default()
        };
        let complete = self.store.write(move |tx| {
            assert!(pin::put(tx, row, &pin)?, "it was enqueued");
            pin::complete_of(tx, HOME, row)
        });
        let complete = complete.expect("written");
        complete.into_iter().map(|image| image.name).collect()
    }

    fn copies(&self) -> (u64, Vec<Digest>) {
        self.store
            .read(|tx| {
                let oldest = copy::oldest(tx, 100)?;
                Ok((copy::size(tx)?, oldest.iter().map(|c| c.digest).collect()))
            })
            .expect("an answer")
    }

    fn place(&self, digest: &Digest) -> Option<Place> {
        self.store
            .find_blob(&repository("a"), digest)
            .expect("an answer")
            .map(|blob| blob.place)
    }
}

fn large(seed: u8) -> Vec<u8> {
    vec![seed; 100_000 + usize::from(seed)]
}

#[test]
fn files_that_a_network_keeps_are_counted_and_leave_by_their_last_use() {
    let at = Fixture::new();
    let files = [1, 2, 3].map(|seed| at.push("a", &large(seed)).expect("kept"));
    let small = at.push("a", b"small").expect("kept");
    assert_eq!(at.due().len(), 4);
    assert_eq!(at.copies(), (0, vec![]), "nobody else has them");
    for file in &files {
        at.set(file, State::Pinned);
    }
    at.set(&small, State::Pinned);
    assert_eq!(at.copies(), (300_006, files.to_vec()), "rows are no copies");

    // A use counts once a minute: these were listed just now.
    at.store.note_use(&files[0]).expect("noted");
    assert_eq!(at.copies().1, files);
    let first = files[0];
    let row = at.store.read(|tx| blob::number(tx, &first)).expect("a row");
    let since = sqlite::now();
    while sqlite::now() == since {
        std::thread::yield_now();
    }
    at.store
        .note(move |tx| copy::touch(tx, row.expect("a row")))
        .expect("noted");
    assert_eq!(at.copies().1, [files[1], files[2], files[0]]);

    // Whoever is not kept any more is no copy, nor whoever is gone, nor a manifest.
    at.set(&files[1], State::Failed);
    assert_eq!(at.copies().0, 200_004);
    assert!(at.store.drop_copy(&files[2]).expect("dropped"));
    assert_eq!(at.copies(), (100_001, vec![files[0]]));
    let mut new = manifest("a", &large(1), &[]);
    new.content = lighthouse::store::blob::Content::File(100_001);
    let path = at.store.files().upload_path("m");
    fs::write(path, large(1)).expect("written");
    at.store.put_manifest(new, "m").expect("a manifest");
    assert_eq!(at.copies(), (0, vec![]));
    assert!(at.reopen().copies().1.is_empty());
}

#[test]
fn what_no_network_keeps_any_more_is_nowhere_until_it_is_found_again() {
    let at = Fixture::new();
    let file = at.push("a", &large(7)).expect("kept");
    at.due();
    at.set(&file, State::Pinned);
    assert!(at.store.drop_copy(&file).expect("dropped"));
    assert_eq!(at.place(&file), Some(Place::Network));
    at.set(&file, State::Failed);
    assert_eq!(at.place(&file), None, "a push may bring it");
    at.set(&file, State::Pinned);
    assert_eq!(at.place(&file), Some(Place::Network));

    // Fetched from there, it is a copy once more.
    fs::write(at.store.files().upload_path("fetch"), large(7)).expect("written");
    at.store
        .put_back("fetch", &file, large(7).len() as u64)
        .expect("put back");
    assert_eq!(at.place(&file), Some(Place::File));
    assert_eq!(at.copies(), (100_007, vec![file]));
    assert!(!at.store.files().upload_path("fetch").exists());
}

#[test]
fn an_image_is_complete_with_the_last_of_what_it_needs() {
    let at = Fixture::new();
    let layers = [1, 2].map(|seed| at.push("a", &large(seed)).expect("kept"));
    let mut image = manifest("a", b"image", &["v1"]);
    image.needs = vec![layers[0], layers[1], digest(b"not here")];
    at.store.put_manifest(image, "").expect("kept");
    let mut index = manifest("a", b"index", &["all", "latest"]);
    index.needs = vec![digest(b"image")];
    at.store.put_manifest(index, "").expect("kept");
    assert_eq!(at.due().len(), 4);
    let missing = |digest: Digest| {
        let missing = at.store.read(|tx| pin::missing(tx, HOME, &digest, 100));
        missing.expect("an answer").len()
    };
    assert_eq!((missing(digest(b"index")), missing(layers[0])), (4, 1));
    assert_eq!(at.set(&layers[0], State::Pinned), [""; 0]);
    assert_eq!(at.set(&digest(b"index"), State::Pinned), [""; 0]);
    assert_eq!(at.set(&digest(b"image"), State::Pinned), [""; 0]);
    let names = at.set(&layers[1], State::Pinned);
    assert_eq!(names, ["a:v1", "a:all", "a:latest"]);
    assert_eq!(missing(digest(b"index")), 0);
}

#[test]
fn a_network_is_told_of_what_is_held_once() {
    let at = Fixture::new();
    let held = at.push("a", b"held").expect("kept");
    let given_up = at.push("a", b"given up").expect("kept");
    at.store
        .write(move |tx| blob::delete(tx, &repository("a"), &given_up, None))
        .expect("deleted");
    let due: Vec<_> = at.due().iter().map(|due| due.digest).collect();
    assert_eq!(due, [held]);
    let count = |at: &Fixture| {
        let waiting = at.store.read(|tx| pin::count_waiting(tx, HOME, 100));
        waiting.expect("an answer")
    };
    assert_eq!(count(&at), 1);
    at.set(&held, State::Pinned);
    assert_eq!((at.due().len(), count(&at)), (0, 0));
    // Pages go on where the last one ended.
    for n in 0..5 {
        let bytes = [n];
        at.store
            .put_manifest(manifest("a", &bytes, &["t"]), "")
            .expect("kept");
    }
    let mut pages = 0;
    while at
        .store
        .write(|tx| pin::enqueue_next(tx, HOME, 2))
        .expect("enqueued")
    {
        pages += 1;
        assert!(pages < 10);
    }
    assert_eq!(at.due().len(), 5);
}

#[test]
fn a_session_that_is_written_to_is_not_purged() {
    let at = Fixture::new();
    for session in ["idle", "busy"] {
        at.start_upload("a", session);
        fs::write(at.store.files().upload_path(session), b"x").expect("written");
    }
    let later = sqlite::now() + 1000;
    let lease = at.store.lease_upload("busy").expect("nobody writes");
    assert!(at.store.lease_upload("busy").is_none(), "one at a time");
    let purge = |session, before| at.store.purge_upload(session, before).expect("an answer");
    assert!(!purge("idle", 1), "it is not that old");
    assert!(!purge("busy", later));
    assert!(purge("idle", later) && !purge("idle", later));
    assert!(!at.store.files().upload_path("idle").exists());
    assert!(at.store.files().upload_path("busy").exists());
    drop(lease);
    assert!(purge("busy", later));
}
