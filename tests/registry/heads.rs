//! Heads of requests that are no requests, and what hides in those that are (RFC 9112).

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::world::{Ask, Image, Place, Program, Served};

/// It was refused in the form that clients read, and the connection is over.
#[track_caller]
fn refused(hub: &Served, bytes: impl AsRef<[u8]>, status: u16) {
    let mut line = hub.line();
    line.say(&bytes);
    let shown = String::from_utf8_lossy(bytes.as_ref()).into_owned();
    let answer = line
        .try_hear("GET")
        .unwrap_or_else(|err| panic!("{err}: {shown:.200?}"));
    assert_eq!(answer.status, status, "{shown:.200?}: {answer}");
    let answer = answer.refuses(status, "UNSUPPORTED");
    assert_eq!(answer.header("Connection"), "close");
    line.ends();
}

#[test]
fn a_head_that_can_be_read_in_two_ways_is_refused() {
    let hub = Served::on(Place::Disk);
    for head in [
        "GET /v2/ HTTP/1.1",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\n folded: x",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nX : y",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nX Y: z",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\n: z",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nno colon",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nX: y\0z",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 5",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nX: y\rZ: w",
        "GET /v2/ HTTP/1.1\r\nHost: é",
        "GET /v2/é HTTP/1.1\r\nHost: a",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 6",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: +5",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: ",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked",
        "PUT /v2/ HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\nContent-Length: 5",
        "GET /v2/ HTTP/2.0\r\nHost: a",
        "GET /v2/ HTTP/1.2\r\nHost: a",
        "GET /v2/ HTTP/2.0 HTTP/1.1\r\nHost: a",
        "GET  /v2/ HTTP/1.1\r\nHost: a",
        "GET /v2/\tx HTTP/1.1\r\nHost: a",
        "GET /v2/\r\nHost: a",
        "GET",
        "",
        "\r\nGET /v2/ HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        refused(&hub, format!("{head}\r\n\r\n"), 400);
    }
    hub.get("/v2/").expect(200);
}

/// A TLS record of that length, as it begins with a client's hello (RFC 8446, section 5.1).
fn hello(length: u16) -> Vec<u8> {
    let mut record = vec![0x16, 3, 1];
    record.extend(length.to_be_bytes());
    record.extend([1, 0, 0, 0, 3, 3].iter().cycle().take(length.into()));
    record
}

#[test]
fn a_tls_hello_is_answered_in_plain_http() {
    let hub = Served::on(Place::Disk);
    let mut ends_a_head = hello(200);
    ends_a_head[50..54].copy_from_slice(b"\r\n\r\n");
    let mut zero_rtt = hello(300);
    zero_rtt.extend([0x17; 5000]);
    for said in [
        hello(250),
        hello(1800),
        hello(1 << 14),
        [hello(100), hello(9000)].concat(),
        ends_a_head,
        zero_rtt,
        vec![0x16, 1, 2, 3, 4, 5],
    ] {
        let mut line = hub.line();
        line.say(&said);
        told_to_speak_plainly(&line.read_to_end());
    }
    // What comes in pieces, and what is cut.
    let mut line = hub.line();
    for piece in hello(700).chunks(300) {
        line.say(piece);
    }
    told_to_speak_plainly(&line.read_to_end());
    for cut in [1, 4, 5, 100] {
        let mut line = hub.line();
        line.say(&hello(700)[..cut]);
        line.hush();
        told_to_speak_plainly(&line.read_to_end());
    }
    hub.get("/v2/").expect(200);
}

/// A close while bytes are on their way would be a reset, which takes the answer along on its way
/// through some networks.
#[test]
fn what_comes_right_behind_a_hello_meets_no_reset() {
    let hub = Served::on(Place::Disk);
    let mut resets = 0;
    for _ in 0..100 {
        let mut line = hub.line();
        line.say(hello(250));
        told_to_speak_plainly(&line.read_to_end());
        let said = [(); 4].map(|()| line.try_say([0x17; 3000]));
        resets += usize::from(said.iter().any(Result::is_err));
    }
    // Nobody is waited for for long, and this thread may have to wait for its turn.
    assert!(resets < 50, "{resets}");
}

/// docker, containerd, skopeo, crane and others try TLS first. Go's clients fall back to plain HTTP
/// when the answer begins with `HTTP/`, and only then.
#[track_caller]
fn told_to_speak_plainly(answer: &[u8]) {
    let answer = String::from_utf8_lossy(answer);
    let begins = "HTTP/1.0 400 Bad Request\r\n";
    assert!(answer.starts_with(begins), "{answer:?}");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer:?}");
    assert!(
        answer.ends_with("this port speaks plain HTTP, not TLS\n"),
        "{answer:?}"
    );
}

#[test]
fn tls_hellos_are_one_line_of_the_log_a_minute() {
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[]);
    for _ in 0..50 {
        let mut line = hub.line();
        line.say(hello(250));
        told_to_speak_plainly(&line.read_to_end());
    }
    hub.get("/v2/").expect(200);
    hub.logged("response completed");
    let log = hub.log();
    let lines = log.iter().filter(|line| line.contains("TLS"));
    assert_eq!(lines.count(), 1, "{log:#?}");
}

#[test]
fn a_client_of_tls_learns_that_this_is_http() {
    let hub = Served::on(Place::Disk);
    let url = format!("https://{}/v2/", hub.address);
    let error = ureq::get(&url).call().expect_err("no TLS here").to_string();
    // An answer that is no TLS, and not a connection that broke.
    assert!(error.contains("corrupt message"), "{error}");
}

#[test]
fn a_head_without_an_end_is_too_large() {
    let hub = Served::on(Place::Disk);
    let long = "x".repeat(40_000);
    for head in [
        format!("GET /v2/ HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
        format!("GET /v2/{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!(
            "GET /v2/ HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: y\r\n".repeat(8000)
        ),
        long,
    ] {
        refused(&hub, head, 431);
    }
    // What a browser or a proxy may add is no reason.
    let ask = Ask::get("/v2/").with("Cookie", "x".repeat(20_000));
    hub.ask(ask).expect(200);
}

#[test]
fn a_head_may_come_in_pieces() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("socket");
    let unix = [
        ("HTTP_NET", "unix"),
        ("HTTP_ADDR", path.to_str().expect("UTF-8")),
    ];
    for hub in [Served::on(Place::Disk), Served::with(Place::Disk, &unix)] {
        let mut line = hub.line();
        for piece in [
            "G",
            "ET /v2/ HT",
            "TP/1.1\r\nHost: a\r\n",
            "X: y\r\n\r",
            "\n",
        ] {
            line.say(piece);
            // The registry has to see the pieces one by one; no event tells that it has.
            std::thread::sleep(Duration::from_millis(20));
        }
        line.hear("GET").expect(200);
    }
}

#[test]
fn heads_cost_little_memory() {
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[]);
    let half = format!("GET /v2/ HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(31_000));
    let mut lines: Vec<_> = (0..200).map(|_| hub.line()).collect();
    for line in &mut lines {
        line.say(&half);
    }
    hub.get("/v2/").expect(200);
    for line in &mut lines {
        // More than any socket buffers; it ends before all of it is taken.
        let _ = line.try_say("x".repeat(1 << 20));
    }
    hub.get("/v2/").expect(200);
    let status = std::fs::read_to_string(format!("/proc/{}/status", hub.pid())).expect("alive");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak");
    let peak: u64 = peak
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    assert!(peak < 64 << 10, "{peak} KiB");
}

#[test]
fn nothing_in_a_request_becomes_a_header() {
    let hub = Served::on(Place::Disk);
    let image = Image::named("x");
    hub.push("a", "v1", &image);
    let evil = "%0d%0aX-Evil:%201%0d%0a%0d%0a";
    for ask in [
        Ask::get(format!("/v2/{evil}/tags/list")),
        Ask::get(format!("/v2/a/manifests/{evil}")),
        Ask::get(format!("/v2/a/tags/list?n=1&last={evil}")),
        Ask::get(format!("/v2/_catalog?n=1&last={evil}")),
        Ask::get(format!(
            "/v2/a/referrers/{}?artifactType={evil}",
            image.digest()
        )),
        Ask::post(format!(
            "/v2/a/blobs/uploads/?mount={}&from={evil}",
            image.digest()
        )),
        Ask::post(format!("/v2/a/blobs/uploads/?digest={evil}")),
        Ask::put(format!("/v2/a/manifests/{}?tag={evil}", image.digest())).body("{}"),
        Ask::get("/v2/a/manifests/v1").with("If-None-Match", "\"\\r\\nX-Evil: 1\""),
        Ask::put("/v2/a/manifests/v1")
            .with("Content-Type", "a\\r\\nX-Evil: 1")
            .body("{}"),
    ] {
        let answer = hub.ask(ask.clone());
        assert!(
            answer.find("X-Evil").is_none(),
            "{}: {answer}",
            ask.head_text()
        );
        assert!(answer.status < 500, "{}: {answer}", ask.head_text());
    }
}

#[test]
fn no_path_leaves_the_root() {
    let dir = TempDir::new().expect("a folder");
    let root = dir.path().join("deep/root");
    std::fs::create_dir_all(&root).expect("a folder");
    std::fs::write(dir.path().join("secret"), "secret").expect("written");
    let hub = Served::at(&root, &[]);
    let image = Image::named("x");
    hub.push("a", "v1", &image);
    let digest = image.digest();
    for up in [
        "..",
        "../..",
        "%2e%2e",
        "%2e%2e/%2e%2e",
        "..%2f..",
        "%252e%252e",
        ".%2e/",
        "a/../../..",
        "..%5c..",
        "%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret",
        "a%00",
        "/",
        "//secret",
        "%c0%ae%c0%ae/secret",
        "a/./b",
        ".",
        "a/_manifests",
        "a/_layers/sha256",
    ] {
        for ask in [
            Ask::get(format!("/{up}/secret")),
            Ask::get(format!("/v2/{up}")),
            Ask::get(format!("/v2/{up}/tags/list")),
            Ask::get(format!("/v2/{up}/manifests/v1")),
            Ask::get(format!("/v2/a/manifests/{up}")),
            Ask::get(format!("/v2/a/blobs/sha256:{up}")),
            Ask::get(format!("/v2/a/blobs/uploads/{up}")),
            Ask::get(format!("/v2/a/referrers/{up}")),
            Ask::post(format!("/v2/{up}/blobs/uploads/")),
            Ask::put(format!("/v2/a/manifests/{up}")).body(image.manifest.bytes.clone()),
            Ask::put(format!("/v2/{up}/manifests/v1")).body(image.manifest.bytes.clone()),
            Ask::put(format!("/v2/a/manifests/{digest}?tag={up}"))
                .body(image.manifest.bytes.clone()),
            Ask::patch(format!("/v2/a/blobs/uploads/{up}")).body("x"),
            Ask::delete(format!("/v2/a/blobs/uploads/{up}")),
            Ask::delete(format!("/v2/a/manifests/{up}")),
        ] {
            let answer = hub.ask(ask.clone());
            let refused = (400..500).contains(&answer.status);
            assert!(
                refused && !answer.body.ends_with(b"secret"),
                "{}: {answer}",
                ask.head_text()
            );
        }
        // A mount from no repository is an upload like others; what is no text is no query.
        let mount = format!("/v2/a/blobs/uploads/?mount={digest}&from={up}");
        let status = if up.contains("%c0") { 400 } else { 202 };
        hub.ask(Ask::post(mount)).expect(status);
    }
    assert_eq!(names(dir.path()), ["deep", "secret"]);
    assert_eq!(names(&dir.path().join("deep")), ["root"]);
    holds_what_was_pushed(&hub, &root);
}

/// One image in one repository, and no name that a request made up.
fn holds_what_was_pushed(hub: &Served, root: &Path) {
    assert_eq!(names(root), ["docker", "lighthouse"]);
    let mut ours = names(&root.join("lighthouse"));
    // Copies of the catalog, as soon as the first of the day is made.
    ours.retain(|name| name != "backups");
    let catalog = ["catalog.sqlite", "catalog.sqlite-shm", "catalog.sqlite-wal"];
    assert_eq!(
        ours,
        [&catalog[..], &["lock", "reserve", "uploads"]].concat()
    );
    assert_eq!(names(&root.join("lighthouse/uploads")), [""; 0]);
    assert_eq!(names(&hub.tree()), ["blobs", "repositories"]);
    assert_eq!(hub.list("/v2/_catalog", "repositories").0, ["a"]);
}

/// What is in a folder, in order.
fn names(path: &Path) -> Vec<OsString> {
    let entries = std::fs::read_dir(path).expect("a folder");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("a name").file_name())
        .collect();
    names.sort();
    names
}
