//! Reading through gateways, with Estuary's as the one that gives everything but the truth.

use crate::{Blob, World, trouble};
use lighthouse::fault::{Fault, Trouble};
use lighthouse::gateway::{Gateway, Gateways};
use lighthouse::outward::fault_within;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

#[test]
fn contents_of_all_sizes_get_our_cid_and_come_back() {
    let world = World::new(0);
    let gateway = Gateway::new(&format!("{}/gw", world.double.main), &[]);
    for size in [0, 1, 1 << 20, (1 << 20) + 1, 5 << 20] {
        let blob = Blob::new(size);
        world.add(&blob).expect("added with our CID");
        let mut body = gateway
            .read(&blob.cid, blob.size(), 0..blob.size())
            .expect("readable");
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).expect("whole");
        assert!(bytes == blob.bytes, "{size} bytes come back");
    }
}

#[test]
fn the_gateway_gives_ranges() {
    let world = World::new(0);
    let blob = Blob::new(3 << 20);
    world.add(&blob).expect("added");
    let gateway = Gateway::new(&format!("{}/gw/ipfs/{{cid}}", world.double.main), &[]);
    for range in [
        0..1,
        0..blob.size(),
        1_000_000..2_000_000,
        blob.size() - 1..blob.size(),
    ] {
        let mut body = gateway
            .read(&blob.cid, blob.size(), range.clone())
            .expect("readable");
        assert_eq!(body.size(), range.end - range.start);
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).expect("whole");
        assert!(
            bytes == blob.bytes[range.start as usize..range.end as usize],
            "{range:?}"
        );
    }
}

#[test]
fn the_gateway_is_followed_to_its_shuttles_but_nowhere_else() {
    let world = World::new(1);
    let blob = Blob::new(1 << 20);
    world.add(&blob).expect("added at the shuttle");
    let base = format!("{}/gw", world.double.main);
    let read = |gateway: &Gateway| gateway.read(&blob.cid, blob.size(), 0..blob.size());
    let unrelated = Gateway::new(&base, &[]);
    assert!(matches!(
        trouble(read(&unrelated).map(|_| ())),
        Trouble::Missing(_)
    ));
    let related = Gateway::new(&base, &world.double.shuttles);
    let body = read(&related).expect("readable");
    assert!(body.url().starts_with(&world.double.shuttles[0]));

    // What is not pinned yet is redirected to strangers.
    let strangers = TcpListener::bind("127.0.0.1:0").expect("a port");
    let elsewhere = format!("http://{}", strangers.local_addr().expect("bound"));
    world
        .double
        .set(json!({"queued_ms": 3_600_000, "elsewhere": elsewhere}));
    assert!(matches!(
        trouble(read(&related).map(|_| ())),
        Trouble::Missing(_)
    ));
    strangers.set_nonblocking(true).expect("a socket");
    assert!(strangers.accept().is_err(), "nobody went there");

    world.double.fail("gateway", json!({"redirect": "/get/x"}));
    assert!(matches!(
        trouble(read(&related).map(|_| ())),
        Trouble::Protocol(_)
    ));
}

#[test]
fn a_gateway_that_gives_something_else_is_found_out() {
    let world = World::new(0);
    let blob = Blob::new(3 << 20);
    world.add(&blob).expect("added");
    let gateway = Gateway::new(&format!("{}/gw", world.double.main), &[]);
    let read = |range| -> Result<Vec<u8>, Fault> {
        let mut body = gateway.read(&blob.cid, blob.size(), range)?;
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)
            .map_err(|error| fault_within(error, |error| panic!("no fault within: {error}")))?;
        Ok(bytes)
    };
    let (all, some) = (0..blob.size(), 10..20);
    world.double.fail("gateway", json!("shorten"));
    assert!(matches!(trouble(read(all.clone())), Trouble::Lied { .. }));
    world.double.fail("gateway", json!("no_range"));
    assert!(matches!(trouble(read(some)), Trouble::Lied { .. }));
    world.double.fail("gateway", json!({"cut_after": 1 << 20}));
    let cut = trouble(read(all.clone()));
    assert!(
        matches!(
            cut,
            Trouble::Cut {
                received: 1_048_576,
                ..
            }
        ),
        "{cut:?}"
    );
    world
        .double
        .fail("gateway", json!({"body": [200, "<html>Sorry</html>"]}));
    assert!(matches!(trouble(read(all.clone())), Trouble::Lied { .. }));
    world.double.fail("gateway", json!({"status": 504}));
    assert!(matches!(
        trouble(read(all.clone())),
        Trouble::Overloaded { status: 504, .. }
    ));
    world.double.fail("gateway", json!({"status": 404}));
    assert!(matches!(trouble(read(all.clone())), Trouble::Missing(_)));
    // Changed bytes are for the one who hashes to find.
    world.double.fail("gateway", json!("flip"));
    let flipped = read(all).expect("as many bytes");
    assert_eq!(
        flipped
            .iter()
            .zip(&blob.bytes)
            .filter(|(a, b)| a != b)
            .count(),
        1
    );
}

#[test]
fn gateways_are_asked_in_turn_and_checked() {
    let (first, second) = (World::new(0), World::new(0));
    let blob = Blob::new(1000);
    second.add(&blob).expect("added");
    let gateway = |world: &World| Gateway::new(&format!("{}/gw", world.double.main), &[]);
    let gateways = Gateways(vec![gateway(&first), gateway(&second), gateway(&first)]);
    let mut readings = gateways.read(blob.cid, blob.size(), 0..blob.size());
    let missing = readings.next().expect("the first gateway").map(|_| ());
    assert!(matches!(trouble(missing), Trouble::Missing(_)));
    let body = readings
        .next()
        .expect("the second gateway")
        .expect("readable");
    assert!(body.url().starts_with(&second.double.main));
    assert_eq!(
        first.double.seen()["requests"].as_array().map(Vec::len),
        Some(1)
    );

    let clients = gateway(&first).check();
    let clients = clients.expect("alive, though it has nothing");
    assert_eq!(
        clients, None,
        "it sends those who ask for nothing of its own elsewhere"
    );
    for (status, alive) in [(404, true), (429, false), (502, false), (504, false)] {
        first.double.fail("gateway", json!({"status": status}));
        assert_eq!(gateway(&first).check().is_ok(), alive, "{status}");
    }
}

/// What clients are not to be told of a gateway that answers the probe with that head; its own
/// address is OWN there, and is written in the configuration as `host`.
fn checked(host: &str, head: &str) -> Option<String> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let head = head.replace("OWN", &format!("127.0.0.1:{port}"));
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("asked");
        let _ = stream.read(&mut [0; 4096]).expect("a question");
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).expect("answered");
    });
    let gateway = Gateway::new(&format!("http://{host}:{port}"), &[]);
    let found = gateway.check().expect("it is up");
    answering.join().expect("it answered");
    found
}

#[test]
fn clients_are_sent_to_no_gateway_that_they_can_not_follow() {
    let long = format!("302 Found\r\nLocation: file:///{}", "x".repeat(60_000));
    let secret = "302 Found\r\nLocation: http://bob:secret@gw.test/ipfs/x?token=secret";
    for (head, cause) in [
        ("302 Found\r\nLocation: file:///etc/passwd", "file:///etc"),
        ("302 Found\r\nLocation: ftp://gw.test/x", "ftp://gw.test/x"),
        ("302 Found\r\nLocation: http://gw.test/\u{e9}", "302"),
        ("302 Found\r\nLocation: x y", "302"),
        ("302 Found", "302"),
        ("304 Not Modified", "304"),
        ("300 Multiple Choices\r\nLocation: https://gw.test/x", "300"),
        ("500 Internal Server Error", "500"),
        ("501 Not Implemented", "501"),
        ("302 Found\r\nLocation: http://OWN/x", "leads to"),
        ("302 Found\r\nLocation: //OWN/x", "leads to"),
        (secret, "gw.test"),
        (&long, "file:///"),
    ] {
        for host in ["127.0.0.1", "localhost"] {
            let told = checked(host, head).unwrap_or_else(|| panic!("{host} {head:.100}"));
            assert!(told.contains(cause), "{host} {head:.100}: {told}");
            assert!(told.len() < 2000, "{head:.100}: {} bytes", told.len());
            assert!(!told.contains("secret"), "{told}");
        }
    }
    for head in [
        "302 Found\r\nLocation: https://dweb.link/ipfs/bafkqaaa",
        "307 Temporary Redirect\r\nLocation: http://gw.test:81/",
        "200 OK",
        "404 Not Found",
    ] {
        assert_eq!(checked("127.0.0.1", head), None, "{head}");
    }
}

/// A line of the log stays one that can be read, whatever a gateway says.
#[test]
fn what_a_gateway_says_is_clipped() {
    let world = World::new(0);
    let long = "x".repeat(60_000);
    let to = format!("/gw/ipfs/{long}");
    world.double.fail("gateway", json!({"redirect": to}));
    let gateway = Gateway::new(&format!("{}/gw", world.double.main), &[]);
    let blob = Blob::new(10);
    let fault = gateway.read(&blob.cid, 10, 0..10).map(|_| ());
    let fault = fault.expect_err("it leads on and on").to_string();
    assert!(fault.len() < 2000, "{} bytes", fault.len());
}
