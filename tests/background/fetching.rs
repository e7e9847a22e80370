//! What only a network has is read from there, once, and never wrongly to a clean end.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Barrier, Mutex};

use lighthouse::estuary::{Estuary, Upload};
use lighthouse::fault::Fault;
use lighthouse::store::blob::Place;
use serde_json::json;

use crate::fixture::{Fixture, Run, cid};
use crate::world::{Blob, await_some};

/// A fixture whose blobs left the disk; what comes back may stay.
fn emptied(blobs: &[Blob]) -> Fixture {
    let at = Fixture::new().with("STORAGE_ESTUARY_CACHE_SIZE", "0");
    let run = at.run();
    for blob in blobs {
        run.push(blob);
    }
    for blob in blobs {
        run.comes_to(blob, Some(Place::Network));
    }
    drop(run);
    at.with("STORAGE_ESTUARY_CACHE_SIZE", "1TB")
}

/// One block, and a blob that goes out while it comes in.
fn small_and_large(seed: u64) -> [Blob; 2] {
    [Blob::noise(100_000, seed), Blob::noise(5 << 19, seed)]
}

/// The bytes of a blob, if they came to a clean end.
fn pull(run: &Run, blob: &Blob) -> Result<Vec<u8>, Fault> {
    let mut fetched = run
        .background
        .fetch(&blob.digest, blob.bytes.len() as u64)?;
    let mut bytes = Vec::new();
    let read = fetched.read_to_end(&mut bytes);
    read.map_err(|err| err.downcast::<Fault>().expect("a fault within"))?;
    Ok(bytes)
}

#[test]
fn many_who_ask_for_one_blob_have_it_fetched_once() {
    let [small, large] = small_and_large(70);
    let at = emptied(&[small.clone(), large.clone()]);
    let run = at.run();
    at.double.fail("gateway", json!({"slow_ms": 20}));
    for blob in [&small, &large] {
        let together = Barrier::new(40);
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    together.wait();
                    // Whoever comes when all is here finds the copy.
                    if run.place(blob) == Some(Place::Network) {
                        assert!(pull(&run, blob).expect("fetched") == blob.bytes);
                    }
                });
            }
        });
        assert_eq!(at.asked(&format!("/gw/ipfs/{}", cid(blob))), 1);
        assert_eq!(run.place(blob), Some(Place::File));
    }
    let uploads = run.store.files().uploads_like("").expect("listed");
    assert_eq!(uploads, [""; 0], "nothing is left over");
}

#[test]
fn a_part_is_given_of_what_is_verified_as_a_whole() {
    let blobs = small_and_large(71);
    let at = emptied(&blobs);
    let run = at.run();
    for blob in &blobs {
        let fetched = run.background.fetch(&blob.digest, blob.bytes.len() as u64);
        let fetched = fetched.expect("it begins");
        let file = fetched.verified().expect("verified");
        let mut part = [0; 100];
        file.read_exact_at(&mut part, 7).expect("read");
        assert_eq!(part, blob.bytes[7..107]);
    }
}

#[test]
fn what_has_no_room_here_passes_through() {
    let blobs = small_and_large(72);
    let at = emptied(&blobs).with("STORAGE_ESTUARY_CACHE_SIZE", "1KB");
    let run = at.run();
    for blob in &blobs {
        assert!(pull(&run, blob).expect("fetched") == blob.bytes);
        assert_eq!(run.place(blob), Some(Place::Network));
    }
}

#[test]
fn wrong_bytes_never_end_cleanly_and_the_next_source_is_asked() {
    let faults = [
        json!("flip"),
        json!("shorten"),
        json!("drop"),
        json!({"cut_after": 500}),
        json!({"body": [200, "<html>"]}),
        json!({"status": 504}),
        json!({"status": 404}),
    ];
    let blobs = small_and_large(73);
    let (at, other) = (emptied(&blobs), Fixture::new());
    for blob in &blobs {
        bring(&other, blob);
    }
    let run = at.run();
    for fault in &faults {
        at.double.fail("gateway", fault.clone());
        for blob in &blobs {
            assert!(pull(&run, blob).is_err(), "{fault}");
            let place = match fault == &json!({"status": 404}) {
                true => Place::Missing,
                false => Place::Network,
            };
            assert_eq!(run.place(blob), Some(place), "{fault}");
        }
    }
    drop(run);
    // The first gateway still fails, and the second is right: at once if nothing went out before
    // it was verified, else for those who ask again.
    let at = at.with("STORAGE_GATEWAY_0", &format!("{}/gw", other.double.main));
    let run = at.run();
    at.double.fail("gateway", json!("flip"));
    let [small, large] = &blobs;
    assert!(pull(&run, small).expect("verified") == small.bytes);
    let first = pull(&run, large);
    assert!(first.is_err() || first.is_ok_and(|bytes| bytes == large.bytes));
    if run.place(large) == Some(Place::Missing) {
        assert!(pull(&run, large).expect("the second") == large.bytes);
    }
    for blob in &blobs {
        run.comes_to(blob, Some(Place::File));
    }
}

/// Brings a blob to another Estuary.
fn bring(at: &Fixture, blob: &Blob) {
    let estuary = Estuary::new(&at.double.main, &[], "ESTuserARY").expect("a token");
    let open = || Ok(Box::new(std::io::Cursor::new(blob.bytes.clone())) as Box<_>);
    let (name, size) = (blob.digest.hex(), blob.bytes.len() as u64);
    let upload = Upload {
        name: &name,
        size,
        cid: cid(blob).parse().expect("a CID"),
        open: &open,
    };
    estuary.add(&upload).expect("added");
}

/// A gateway that never answers; what it was asked.
fn hanging() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let shared = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            // One who left has asked nothing.
            let _ = BufReader::new(&mut stream).read_line(&mut line);
            shared.lock().expect("no panic").push(line);
            held.push(stream);
        }
    });
    (url, asked)
}

#[test]
fn a_gateway_that_hangs_makes_nobody_wait_while_another_answers() {
    let blobs = small_and_large(74);
    let (at, (url, asked)) = (emptied(&blobs), hanging());
    let second = format!("{}/gw", at.double.main);
    let at = at
        .with(
            "STORAGE_ESTUARY_GATEWAY_PATTERN",
            &format!("{url}/ipfs/{{cid}}"),
        )
        .with("STORAGE_GATEWAY_0", &second);
    let run = at.run();
    await_some("the second gateway's first check", || {
        run.background.health().takes_clients(1).then_some(())
    });
    for blob in &blobs {
        assert!(pull(&run, blob).expect("fetched") == blob.bytes);
    }
    let asked = asked.lock().expect("no panic");
    for blob in &blobs {
        let was_asked = asked.iter().any(|line| line.contains(&cid(blob)));
        assert!(!was_asked, "{asked:?}");
    }
}
