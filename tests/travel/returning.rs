//! Images on their way back: what left this disk is read from the network, in three ways.

use lighthouse::estuary::{Estuary, Upload};
use lighthouse::store::pin::State;
use serde_json::{Value, json};

use crate::station::{Station, cid, follow, push, range};
use crate::world::{Ask, Blob, Hub, await_some};

/// One block, and a blob that goes out while it comes in.
fn small_and_large(seed: u64) -> [Blob; 2] {
    [Blob::noise(100_000, seed), Blob::noise(5 << 19, seed)]
}

/// A station whose blobs left the disk, and whose registry fetches them itself.
fn emptied(blobs: &[Blob], station: Station) -> Station {
    let station = station.without_cache();
    let hub = station.serve();
    for blob in blobs {
        push(&hub, "app", blob).expect(201);
    }
    for blob in blobs {
        station.leaves(blob);
    }
    drop(hub);
    let all = "STORAGE_ESTUARY_CACHE_SIZE";
    station
        .with(all, "1TB")
        .with("STORAGE_REDIRECT_DISABLE", "true")
}

/// The bytes of a blob, if they came to a clean end.
fn pull(hub: &Hub, blob: &Blob) -> Option<Vec<u8>> {
    let mut line = hub.line();
    line.say(Ask::get(format!("/v2/app/blobs/{}", blob.digest)).bytes());
    line.try_hear("GET")
        .ok()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.body)
}

/// Brings a blob to another Estuary.
fn bring(station: &Station, blob: &Blob) {
    let estuary = Estuary::new(&station.double.main, &[], "ESTuserARY").expect("a token");
    let open = || Ok(Box::new(std::io::Cursor::new(blob.bytes.clone())) as Box<_>);
    let (name, size) = (blob.digest.hex(), blob.bytes.len() as u64);
    let cid = cid(blob).parse().expect("a CID");
    estuary
        .add(&Upload {
            name: &name,
            size,
            cid,
            open: &open,
        })
        .expect("added");
}

#[test]
fn a_pull_is_sent_to_the_gateway_and_a_head_is_not() {
    let blobs = small_and_large(60);
    let station = emptied(&blobs, Station::new(0)).without_cache();
    let station = station.with("STORAGE_REDIRECT_DISABLE", "false");
    let hub = station.serve();
    for blob in &blobs {
        let target = format!("/v2/app/blobs/{}", blob.digest);
        let answer = await_some("the gateway's first check", || {
            Some(hub.get(&target)).filter(|answer| answer.status == 307)
        });
        let gateway = format!("{}/gw/ipfs/{}", station.double.main, cid(blob));
        assert_eq!(answer.header("Location"), gateway);
        assert_eq!(answer.header("X-Lighthouse-Cid"), cid(blob));
        assert_eq!(
            answer.header("Docker-Content-Digest"),
            blob.digest.to_string()
        );
        assert_eq!(follow(&answer, None).expect(200).body, blob.bytes);
        let part = range(&hub, "app", blob, "bytes=10-19").expect(307);
        assert_eq!(
            follow(&part, Some("bytes=10-19")).expect(206).body,
            blob.bytes[10..20]
        );
    }
    // Either was pulled through the gateway's redirect, or before its first check by us.
    let asked = station.asked("/gw/ipfs/bafy") + station.asked("/gw/ipfs/bafkrei");
    for blob in &blobs {
        let head = hub
            .head(format!("/v2/app/blobs/{}", blob.digest))
            .expect(200);
        assert_eq!(head.header("Content-Length"), blob.bytes.len().to_string());
        assert_eq!(head.header("X-Lighthouse-Cid"), cid(blob));
    }
    let asked_then = station.asked("/gw/ipfs/bafy") + station.asked("/gw/ipfs/bafkrei");
    assert_eq!(asked_then, asked, "a HEAD stays in the house");
}

#[test]
fn what_is_fetched_is_kept_again() {
    let blobs = small_and_large(61);
    let station = emptied(&blobs, Station::new(0));
    let hub = station.serve();
    for blob in &blobs {
        let target = format!("/v2/app/blobs/{}", blob.digest);
        let got = hub.get(&target).expect(200);
        assert!(got.body == blob.bytes);
        assert_eq!(got.header("X-Lighthouse-Cid"), cid(blob));
        assert!(station.is_here(blob));
        let asked = station.asked(&format!("/gw/ipfs/{}", cid(blob)));
        assert!(hub.get(&target).expect(200).body == blob.bytes);
        assert_eq!(asked, station.asked(&format!("/gw/ipfs/{}", cid(blob))));
    }
}

#[test]
fn a_part_is_given_of_what_is_verified_as_a_whole() {
    let blobs = small_and_large(62);
    let station = emptied(&blobs, Station::new(0));
    let hub = station.serve();
    for blob in &blobs {
        let last = blob.bytes.len() - 1;
        for _ in 0..2 {
            // From afar, and then from the copy.
            let part = range(&hub, "app", blob, &format!("bytes=7-{last}")).expect(206);
            assert!(part.body == blob.bytes[7..]);
            assert!(station.is_here(blob));
        }
        range(&hub, "app", blob, &format!("bytes={}-", last + 1)).expect(416);
    }
    // Outside of what is not here.
    let absent = Blob::noise(100_000, 63);
    let station = emptied(std::slice::from_ref(&absent), Station::new(0));
    range(&station.serve(), "app", &absent, "bytes=100000-").expect(416);
    assert_eq!(station.asked(&format!("/gw/ipfs/{}", cid(&absent))), 0);
}

#[test]
fn shuttles_that_only_estuary_knows_are_read_too() {
    let blobs = small_and_large(64);
    let station = emptied(&blobs, Station::new(2));
    let hub = station.serve();
    for blob in &blobs {
        assert_eq!(station.contents(blob)[0]["location"], "SHUTTLE1HANDLE");
        assert!(pull(&hub, blob).as_ref() == Some(&blob.bytes));
    }
}

/// Wherever the gateway fails in that way, nothing wrong ends cleanly or stays here.
fn misleads(fault: &Value, seed: u64) {
    let blobs = small_and_large(seed);
    let station = emptied(&blobs, Station::new(0));
    let hub = station.serve();
    station.double.fail("gateway", fault.clone());
    for blob in &blobs {
        assert!(pull(&hub, blob).is_none(), "{fault}");
        let part = range(&hub, "app", blob, "bytes=1-2");
        assert!(part.status >= 500, "{fault}: {part}");
        assert!(!station.is_here(blob), "{fault}");
        assert_eq!(station.pin(blob).expect("one").state, State::Pinned);
    }
    drop(hub);

    // Another gateway gives the right bytes: at once if they could be verified before they went
    // out, else to those who ask again.
    let other = Station::new(0);
    blobs.iter().for_each(|blob| bring(&other, blob));
    let station = station.with("STORAGE_GATEWAY_0", &format!("{}/gw", other.double.main));
    let hub = station.serve();
    let [small, large] = &blobs;
    assert!(pull(&hub, small).as_ref() == Some(&small.bytes), "{fault}");
    let first = pull(&hub, large);
    assert!(
        first.is_none() || first.as_ref() == Some(&large.bytes),
        "{fault}"
    );
    assert!(pull(&hub, large).as_ref() == Some(&large.bytes), "{fault}");
    assert!(station.is_here(small) && station.is_here(large));
}

#[test]
fn wrong_bytes_never_end_cleanly_and_the_next_gateway_is_asked() {
    let faults = [
        json!("flip"),
        json!("shorten"),
        json!("drop"),
        json!({"cut_after": 500}),
        json!({"body": [200, "<html>Welcome</html>"]}),
        json!({"status": 404}),
        json!({"status": 429}),
        json!({"status": 504}),
        json!({"redirect": "http://127.0.0.1:1/ipfs/x"}),
    ];
    std::thread::scope(|scope| {
        for (fault, seed) in faults.iter().zip(70..) {
            scope.spawn(move || misleads(fault, seed));
        }
    });
}

#[test]
fn a_gateway_that_is_cut_is_read_on_elsewhere() {
    let blob = Blob::noise(5 << 19, 90);
    let station = emptied(std::slice::from_ref(&blob), Station::new(0));
    let other = Station::new(0);
    bring(&other, &blob);
    let station = station.with("STORAGE_GATEWAY_0", &format!("{}/gw", other.double.main));
    station
        .double
        .fail("gateway", json!({"cut_after": 1 << 20}));
    let hub = station.serve();
    assert!(
        pull(&hub, &blob).as_ref() == Some(&blob.bytes),
        "at the first try"
    );
    let each = [&station, &other].map(|one| one.asked(&format!("/gw/ipfs/{}", cid(&blob))));
    assert_eq!(each, [1, 1], "each gateway is asked once");
}

#[test]
fn what_the_network_lost_is_looked_for_by_pulls_and_can_be_pushed_again() {
    let blob = Blob::noise(100_000, 92);
    let station = emptied(std::slice::from_ref(&blob), Station::new(0)).without_cache();
    let hub = station.serve();
    let target = format!("/v2/app/blobs/{}", blob.digest);
    let lose = |hub: &Hub| {
        hub.head(&target).expect(200);
        station.double.fail("gateway", json!({"status": 404}));
        hub.get(&target).expect(503);
        hub.get(&target).expect(503);
        hub.head(&target).expect(404);
        station.double.set(json!({}));
    };
    lose(&hub);
    assert!(hub.get(&target).expect(200).body == blob.bytes);
    station.leaves(&blob);
    lose(&hub);
    // Nor is it mounted, nor here after a restart.
    let from = format!("mount={}&from=app", blob.digest);
    hub.ask(Ask::post(format!("/v2/other/blobs/uploads/?{from}")))
        .expect(202);
    drop(hub);
    let hub = station.serve();
    hub.head(&target).expect(404);
    push(&hub, "app", &blob).expect(201);
    station.leaves(&blob);
    hub.head(&target).expect(200);
    assert_eq!(station.contents(&blob).len(), 1, "it was found there");
}

#[test]
fn a_gateway_that_is_not_well_gets_no_clients() {
    let blob = Blob::noise(100_000, 91);
    let station = emptied(std::slice::from_ref(&blob), Station::new(0));
    let station = station
        .without_cache()
        .with("STORAGE_REDIRECT_DISABLE", "false")
        .with("HEALTH_STORAGEDRIVER_ENABLED", "true")
        .with("HEALTH_STORAGEDRIVER_INTERVAL", "1s");
    let hub = station.serve();
    let target = format!("/v2/app/blobs/{}", blob.digest);
    let status = |wanted: u16| {
        await_some("the next check", || {
            Some(hub.get(&target).status).filter(|status| *status == wanted)
        });
    };
    status(307);
    station.double.fail("gateway", json!({"status": 503}));
    // Nobody else has it, which is told as a failure, and not as a 404.
    status(503);
    station.double.set(json!({}));
    await_some("it to be well again", || {
        let answer = hub.get(&target);
        assert!([200, 307, 503].contains(&answer.status), "{answer}");
        (answer.status == 307).then_some(())
    });
}
