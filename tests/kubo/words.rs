//! What a node says: scripted, and held against what a real one says today.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use lighthouse::cid::Cid;
use lighthouse::fault::{Fault, Trouble};
use lighthouse::kubo::Kubo;
use serde_json::{Value, json};

use crate::home::ask;
use crate::{address, content, trouble};

const SECOND: Duration = Duration::from_secs(1);

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

/// Calls for content that a node does not have, and what it says, being offline.
const ABSENT: [(&str, &str); 5] = [
    ("pin/ls?arg=CID&type=all", "path 'CID' is not pinned"),
    ("pin/rm?arg=CID", "not pinned or pinned indirectly"),
    (
        "pin/add?arg=CID",
        "pin: block was not found locally (offline): ipld: could not find CID",
    ),
    (
        "cat?arg=CID",
        "block was not found locally (offline): ipld: could not find CID",
    ),
    (
        "files/stat?arg=/ipfs/CID",
        "block was not found locally (offline): ipld: could not find CID",
    ),
];
/// What it says to a call that it does not know, and its gateway to every call.
const UNKNOWN: &str = "404 page not found";

/// What each of our calls makes of an answer.
fn heard(call: &str, cid: &Cid, status: u16, said: &str) -> Result<Option<bool>, Fault> {
    let length = said.len();
    let answer = format!("{status} -\r\nContent-Length: {length}\r\n\r\n{said}");
    let kubo = Kubo::new(&answering(answer), None).expect("an address");
    match call.split('?').next().expect("a name") {
        "pin/ls" => kubo.is_pinned(cid).map(Some),
        "pin/rm" => kubo.unpin(cid).map(|()| None),
        "pin/add" => kubo.pin(cid, "a name", SECOND).map(|()| None),
        "cat" => kubo.cat(cid, 0..100).map(|_| None),
        "files/stat" => kubo.size(cid).map(|_| None),
        _ => kubo.version().map(|_| None),
    }
}

fn error(words: &str) -> Value {
    json!({"Message": words, "Code": 0, "Type": "error"})
}

#[test]
fn what_is_not_there_is_told_from_a_failure() {
    let (_, cid) = content(100, 6);
    let hear = |call: &str, words: &str| heard(call, &cid, 500, &error(words).to_string());
    for (call, words) in ABSENT {
        let words = words.replace("CID", &cid.to_string());
        match call.split('?').next().expect("a name") {
            "pin/ls" => assert_eq!(hear(call, &words).expect("an answer"), Some(false)),
            "pin/rm" => assert_eq!(hear(call, &words).expect("nothing to do"), None),
            _ => assert!(
                matches!(trouble(hear(call, &words)), Trouble::Missing(_)),
                "{call}"
            ),
        }
        let broken = trouble(hear(call, "datastore is closed"));
        assert!(matches!(broken, Trouble::Overloaded { .. }), "{call}");
        // Online it searches for as long as it may; and a file may lack a block in its middle.
        for words in [
            "pin: context deadline exceeded",
            "failed to fetch all nodes",
        ] {
            let absent = hear(call, words);
            match call.starts_with("pin/ls") {
                true => assert_eq!(absent.expect("no pin was found"), Some(false)),
                false => assert!(matches!(trouble(absent), Trouble::Missing(_)), "{call}"),
            }
        }
        // Another service listens there.
        for (status, said) in [(404, UNKNOWN), (405, "405 - Method Not Allowed")] {
            let other = trouble(heard(call, &cid, status, said));
            assert!(
                matches!(&other, Trouble::Protocol(what) if what.contains("RPC")),
                "{call}: {other:?}"
            );
        }
    }
}

#[test]
fn only_a_pin_of_the_whole_counts() {
    let (_, cid) = content(100, 6);
    let (_, root) = content(101, 6);
    let is_pinned = |key: String, kind: &str| {
        let said = json!({"Keys": {key: {"Type": kind, "Name": ""}}});
        let heard = heard("pin/ls", &cid, 200, &said.to_string());
        heard.expect("an answer").expect("yes or no")
    };
    let through = format!("indirect through {root}");
    for (kind, counts) in [
        ("recursive", true),
        ("indirect", true),
        (&through, true),
        ("direct", false),
    ] {
        assert_eq!(is_pinned(cid.to_string(), kind), counts, "{kind}");
        assert!(!is_pinned(root.to_string(), kind), "that of another");
    }
}

#[test]
#[ignore = "needs a node"]
fn a_node_of_today_says_so() {
    let api = address("IPFS_API");
    let (_, cid) = content(100, 60);
    for (call, words) in ABSENT {
        let cid = cid.to_string();
        let (status, said) = ask(&api, &call.replace("CID", &cid));
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let words = words.replace("CID", &cid);
        assert_eq!((status, said), (500, error(&words)), "{call}");
    }
    assert_eq!(ask(&api, "versions"), (404, UNKNOWN.into()));
}

/// The URL of a node that gives one answer to its one client, after the request's head.
fn answering(answer: impl Into<String>) -> String {
    let answer = answer.into();
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
