//! Journeys to a real IPFS node, and what a node says wrongly with what becomes of it.
//!
//! The journeys need a node: `tests/ipfs/node run 5101 8180 cargo test --test kubo -- --ignored`
//! installs one, and runs them with `IPFS_API` and `IPFS_GATEWAY`.

use lighthouse::cid::{Cid, Import, Unixfs};
use lighthouse::fault::{Fault, Trouble};
use lighthouse::gateway::Gateway;
use lighthouse::kubo::Kubo;
use lighthouse::outward::fault_within;
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// Content that no other `seed` gives, and its CID.
fn content(size: usize, seed: u64) -> (Vec<u8>, Cid) {
    let mut state = seed;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(size)
    .collect();
    let mut unixfs = Unixfs::new(Import::KUBO);
    unixfs.write(&bytes);
    (bytes, unixfs.finish().cid)
}

fn node() -> (Kubo, Gateway) {
    let url = |name| env::var(name).expect("a node runs, and IPFS_API and IPFS_GATEWAY say where");
    let kubo = Kubo::new(&url("IPFS_API"), None).expect("an address");
    (kubo, Gateway::new(&url("IPFS_GATEWAY"), &[]))
}

fn whole(mut body: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).expect("the body is whole");
    bytes
}

#[test]
#[ignore = "needs a node"]
fn content_of_all_sizes_gets_our_cid_and_comes_back() {
    let (kubo, gateway) = node();
    assert!(!kubo.version().expect("a version").version.is_empty());
    gateway.check().expect("the gateway is up");
    for size in [0, 1, MIB, MIB + 1, 3 * MIB, 100 * MIB] {
        let (bytes, cid) = content(size, 1);
        let length = size as u64;
        kubo.add("a name", &cid, length, &bytes[..])
            .expect("the CID is ours");
        assert!(
            kubo.is_pinned(&cid).expect("an answer"),
            "{size} bytes are pinned"
        );
        assert_eq!(kubo.size(&cid).expect("a length"), length);
        assert!(
            whole(kubo.cat(&cid, 0..length).expect("readable")) == bytes,
            "{size} by RPC"
        );
        let body = gateway.read(&cid, length, 0..length).expect("readable");
        assert!(whole(body) == bytes, "{size} by the gateway");
        if size > 1 {
            let (start, end) = (size / 3, size - 1);
            let range = start as u64..end as u64;
            let body = kubo.cat(&cid, range.clone()).expect("readable");
            assert!(whole(body) == bytes[start..end], "a range of {size} by RPC");
            let body = gateway.read(&cid, length, range).expect("readable");
            assert!(
                whole(body) == bytes[start..end],
                "a range of {size} by the gateway"
            );
        }
    }
}

#[test]
#[ignore = "needs a node"]
fn pins_come_and_go() {
    let (kubo, _) = node();
    let (bytes, cid) = content(MIB + 7, 2);
    kubo.unpin(&cid).expect("nothing to give up is no fault");
    assert!(!kubo.is_pinned(&cid).expect("an answer"));
    kubo.add("a name", &cid, bytes.len() as u64, &bytes[..])
        .expect("added");
    kubo.add("a name", &cid, bytes.len() as u64, &bytes[..])
        .expect("added again");
    assert!(kubo.is_pinned(&cid).expect("an answer"));
    kubo.unpin(&cid).expect("given up");
    assert!(!kubo.is_pinned(&cid).expect("an answer"));
    kubo.pin(&cid, "a name", Duration::from_secs(20))
        .expect("its blocks are still there");
    assert!(kubo.is_pinned(&cid).expect("an answer"));
}

#[test]
#[ignore = "needs a node"]
fn what_is_asked_for_wrongly_is_refused() {
    let (kubo, _) = node();
    let (bytes, cid) = content(2 * MIB, 3);
    let (_, other) = content(2 * MIB, 4);
    let lied = trouble(kubo.add("a name", &other, bytes.len() as u64, &bytes[..]));
    assert!(matches!(&lied, Trouble::Lied { received, .. } if *received == cid.to_string()));
    // More bytes than the file has.
    let mut body = kubo.cat(&cid, 0..3 * MIB as u64).expect("it begins");
    let cut = body
        .read_to_end(&mut Vec::new())
        .expect_err("it ends early");
    let cut = trouble(Err::<(), _>(fault_within(cut, |error| {
        panic!("no fault: {error}")
    })));
    assert!(
        matches!(cut, Trouble::Cut { received, .. } if received == 2 * MIB as u64),
        "{cut:?}"
    );
}

#[test]
fn a_node_counts_by_what_it_proves() {
    let (bytes, cid) = content(100, 5);
    let add = |answer: &'static str| {
        let kubo = Kubo::new(&answering(answer), Some("Bearer secret")).expect("an address");
        kubo.add("a name", &cid, 100, &bytes[..])
    };
    let unauthorized = add("401 -\r\nContent-Length: 0\r\n\r\n");
    assert!(matches!(trouble(unauthorized), Trouble::Unauthorized(_)));
    let denied = "403 -\r\nContent-Length: 20\r\n\r\n403 - Forbidden\n    ";
    assert!(matches!(trouble(add(denied)), Trouble::Forbidden(_)));
    let full = "500 -\r\nContent-Length: 36\r\n\r\n{\"Message\":\"disk full\",\"Type\":\"error\"}";
    let full = trouble(add(full));
    assert!(matches!(&full, Trouble::Overloaded { reason, .. } if reason.contains("disk full")));
    // A good start is no proof.
    let nothing = "200 -\r\nConnection: close\r\n\r\n{\"Name\":\"x\",\"Bytes\":100}\n";
    assert!(matches!(trouble(add(nothing)), Trouble::Protocol(_)));
    let failed = "200 -\r\nConnection: close\r\n\r\n{\"Name\":\"x\",\"Bytes\":100}\n\
                  {\"Message\":\"no space left\",\"Code\":0,\"Type\":\"error\"}\n";
    assert!(matches!(trouble(add(failed)), Trouble::Overloaded { .. }));
    let other = "200 -\r\nConnection: close\r\n\r\n{\"Name\":\"x\",\"Hash\":\
                 \"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku\",\"Size\":0}\n";
    assert!(matches!(trouble(add(other)), Trouble::Lied { .. }));
    assert!(matches!(trouble(add("")), Trouble::Unreachable(_)));
}

#[test]
fn a_pin_that_is_not_there_is_told_from_a_failure() {
    let (_, cid) = content(100, 6);
    let ask = |answer: &'static str| {
        Kubo::new(&answering(answer), None)
            .expect("an address")
            .is_pinned(&cid)
    };
    let absent = "500 -\r\nConnection: close\r\n\r\n{\"Message\":\"path 'x' is not pinned\"}";
    assert!(!ask(absent).expect("an answer"));
    let broken = "500 -\r\nConnection: close\r\n\r\n{\"Message\":\"datastore is closed\"}";
    assert!(matches!(trouble(ask(broken)), Trouble::Overloaded { .. }));
    let other = "200 -\r\nConnection: close\r\n\r\n{\"Keys\":{\
                 \"QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH\":{\"Type\":\"recursive\"}}}";
    assert!(!ask(other).expect("an answer"));
}

/// The URL of a node that gives one answer to its one client, after the request's head.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut reader = BufReader::new(&stream);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|len| len > 2) {
            line.clear();
        }
        if !answer.is_empty() {
            (&stream)
                .write_all(format!("HTTP/1.1 {answer}").as_bytes())
                .expect("sent");
        }
    });
    url
}

fn trouble<T: std::fmt::Debug>(result: Result<T, Fault>) -> Trouble {
    match result {
        Err(Fault::Neighbour { trouble, .. }) => trouble,
        other => panic!("not a neighbour's fault: {other:?}"),
    }
}
