//! Pinning on a node that speaks Kubo's RPC: one that answers as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use lighthouse::store::pin::State;
use tempfile::TempDir;

use crate::fixture::{Run, cid, config};
use crate::world::{Blob, await_some};

/// What a node was asked, and what it has.
#[derive(Default)]
struct Known {
    asked: Vec<String>,
    pins: Vec<String>,
    /// The CID that it answers the next upload with.
    adds: String,
}

/// A node that keeps pins alone.
struct Node {
    url: String,
    known: Arc<Mutex<Known>>,
}

impl Node {
    fn start() -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = Arc::clone(&known);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let known = Arc::clone(&shared);
                thread::spawn(move || drop(answer(stream.expect("a client"), &known)));
            }
        });
        Node { url, known }
    }

    fn count(&self, path: &str) -> usize {
        let known = self.known.lock().expect("no panic");
        known
            .asked
            .iter()
            .filter(|asked| asked.contains(path))
            .count()
    }

    fn set(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().expect("no panic"));
    }
}

/// Answers the one request of a connection.
fn answer(stream: TcpStream, known: &Mutex<Known>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut target, mut length) = (String::new(), 0);
    reader.read_line(&mut target)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.starts_with("expect:") {
            reader
                .get_mut()
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if line.is_empty() {
            break;
        }
    }
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
    let mut known = known.lock().expect("no panic");
    known.asked.push(target.clone());
    let arg = target.split("arg=").nth(1).unwrap_or_default();
    let arg = arg.split(['&', ' ']).next().unwrap_or_default().to_owned();
    let is_pinned = known.pins.contains(&arg);
    let (status, body) = match target.split(['?', ' ']).nth(1).unwrap_or_default() {
        "/api/v0/add" => {
            let added = known.adds.clone();
            known.pins.push(added.clone());
            (
                "200 OK",
                format!(r#"{{"Name":"x","Hash":"{added}","Size":"1"}}"#),
            )
        }
        "/api/v0/pin/ls" if is_pinned => (
            "200 OK",
            format!(r#"{{"Keys":{{"{arg}":{{"Type":"recursive"}}}}}}"#),
        ),
        "/api/v0/pin/ls" => (
            "500 Internal Server Error",
            format!(r#"{{"Message":"path '{arg}' is not pinned","Code":0}}"#),
        ),
        _ => ("200 OK", "{}".into()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    let head = format!("{head}Connection: close\r\n\r\n{body}");
    reader.get_mut().write_all(head.as_bytes())
}

#[test]
fn a_node_pins_what_it_is_given_and_is_asked_again() {
    let (node, dir) = (Node::start(), TempDir::new().expect("a folder"));
    let settings = BTreeMap::from([("STORAGE_KUBO_API".to_owned(), node.url.clone())]);
    let run = Run::start(&dir, &config(&settings), "kubo");
    let blob = Blob::noise((1 << 20) + 1, 90);

    // One that gives it another CID is not believed.
    node.set(|known| known.adds = cid(&Blob::noise(1, 91)));
    run.push(&blob);
    let pin = run.fails(&blob, "was expected");
    assert_eq!(pin.state, State::Failed);
    node.set(|known| known.adds = cid(&blob));
    run.reaches(&blob, State::Pinned);

    // Asked for again: first it is there, then it is not, and travels again.
    let adds = node.count("/add?");
    let questions = node.count("/pin/ls");
    run.make_due(&blob);
    run.is_confirmed(&blob);
    assert!(node.count("/pin/ls") > questions);
    assert_eq!(node.count("/add?"), adds);
    node.set(|known| known.pins.clear());
    run.make_due(&blob);
    await_some("an upload", || (node.count("/add?") > adds).then_some(()));
    run.reaches(&blob, State::Pinned);
}
