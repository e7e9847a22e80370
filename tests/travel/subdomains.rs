//! A gateway that redirects to its subdomains, as Kubo's does where it is written as `localhost`:
//! no client's resolver knows `CID.ipfs.localhost`.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use lighthouse::store::pin::State;

use crate::station::{Station, cid, push};
use crate::world::{Blob, await_some};

/// Serves contents by their CIDs until the test ends; its port.
fn gateway(contents: HashMap<String, Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that left is none of its worries.
            let _ = answer(&stream, port, &contents);
        }
    });
    port
}

/// Answers one request, and closes.
fn answer(
    mut stream: &TcpStream,
    port: u16,
    contents: &HashMap<String, Vec<u8>>,
) -> io::Result<()> {
    let lines = BufReader::new(stream).lines();
    let head: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let path = head.first().and_then(|line| line.split(' ').nth(1));
    let path = path.unwrap_or_default();
    let host = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("host").then_some(value)
    });
    let host = host.unwrap_or_default();
    let (cid, is_subdomain) = match host.split_once(".ipfs.localhost:") {
        Some((cid, _)) => (cid, true),
        None => (path.trim_start_matches("/ipfs/"), false),
    };
    if host.starts_with("localhost:") {
        let to = format!("http://{cid}.ipfs.localhost:{port}/");
        let head = "HTTP/1.1 301 Moved Permanently\r\nConnection: close\r\nContent-Length: 0";
        return write!(stream, "{head}\r\nLocation: {to}\r\n\r\n");
    }
    let empty = Vec::new();
    let content = match (is_subdomain, path, cid) {
        (true, "/", "bafkqaaa") | (false, _, "bafkqaaa") => Some(&empty),
        (true, "/", _) | (false, ..) => contents.get(cid),
        (true, ..) => None,
    };
    let (status, body) = match content {
        Some(content) => ("200 OK", &content[..]),
        None => (
            "404 Not Found",
            &b"failed to resolve: block was not found locally"[..],
        ),
    };
    let len = body.len();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())
}

/// Blobs that are only on the network, and a station that reads them at that gateway.
fn station(seed: u64) -> (Station, [Blob; 2], u16) {
    let blobs = [Blob::noise(100_000, seed), Blob::noise(5 << 19, seed)];
    let contents = blobs.iter().map(|blob| (cid(blob), blob.bytes.clone()));
    let port = gateway(contents.collect());
    (Station::new(0).without_cache(), blobs, port)
}

#[test]
fn a_gateway_that_redirects_gets_no_clients_and_is_read_through_us() {
    for pattern in [
        "http://localhost:PORT/ipfs/{cid}",
        "http://{cid}.ipfs.localhost:PORT",
    ] {
        let (station, blobs, port) = station(100);
        let pattern = pattern.replace("PORT", &port.to_string());
        let station = station
            .with("STORAGE_ESTUARY_GATEWAY_PATTERN", &pattern)
            .with("HEALTH_STORAGEDRIVER_ENABLED", "true")
            .with("HEALTH_STORAGEDRIVER_INTERVAL", "1s");
        let hub = station.run();
        for blob in &blobs {
            push(&hub, "app", blob).expect(201);
            station.reaches(blob, State::Pinned);
            station.leaves(blob);
        }
        let told = hub.logged("blobs come through this registry instead");
        assert!(told.contains("127.0.0.1"), "the cure is named: {told}");
        for _ in 0..2 {
            for blob in &blobs {
                assert!(hub.blob("app", blob).expect(200).body == blob.bytes);
                station.leaves(blob);
            }
        }
        let log = hub.log();
        let told = log.iter().filter(|line| line.contains("instead")).count();
        assert_eq!(told, 1, "once, and not with every pull: {log:#?}");
    }
}

#[test]
fn a_client_is_sent_to_the_first_gateway_that_it_can_follow() {
    let (station, blobs, port) = station(101);
    let direct = format!("http://127.0.0.1:{port}");
    let station = station
        .with(
            "STORAGE_ESTUARY_GATEWAY_PATTERN",
            &format!("http://localhost:{port}/ipfs/{{cid}}"),
        )
        .with("STORAGE_GATEWAY_0", &direct);
    let hub = station.run();
    for blob in &blobs {
        push(&hub, "app", blob).expect(201);
        station.leaves(blob);
        let target = format!("/v2/app/blobs/{}", blob.digest);
        hub.logged("blobs come through this registry instead");
        let answer = await_some("the second gateway's first check", || {
            let answer = hub.get(&target);
            (answer.status == 307).then_some(answer)
        });
        assert_eq!(
            answer.header("Location"),
            format!("{direct}/ipfs/{}", cid(blob))
        );
    }
}
