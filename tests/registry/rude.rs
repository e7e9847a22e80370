//! Clients that stall, vanish, lie about their bodies or ask for too much, while others go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lighthouse::oci::manifest::OCI_MANIFEST;
use tempfile::TempDir;

use crate::world::{Ask, Blob, Image, Line, Place, Program, Served, await_some};

/// While some stall, others are answered at once.
#[track_caller]
fn others_are_answered(hub: &Served) {
    let began = Instant::now();
    let image = Image::named("meanwhile");
    hub.push("others", "v1", &image);
    assert_eq!(
        hub.manifest("others", "v1").expect(200).body,
        image.manifest.bytes
    );
    let elapsed = began.elapsed();
    assert!(
        elapsed < Duration::from_secs(5),
        "others waited {elapsed:?}"
    );
}

#[test]
fn slow_heads_and_bodies_hold_nobody_up() {
    let hub = Served::on(Place::Disk);
    let location = hub.begin("a");
    let half = |ask: Ask| {
        let bytes = ask.bytes();
        let mut line = hub.line();
        line.say(&bytes[..bytes.len() - 10]);
        line
    };
    let mut slow = Vec::new();
    for n in 0..40 {
        slow.push(half(Ask::get("/v2/").with("X", "y")));
        let manifest = Ask::put(format!("/v2/a/manifests/v{n}")).with("Content-Type", OCI_MANIFEST);
        slow.push(half(manifest.body(vec![b' '; 900])));
        let manifest = Ask::put(format!("/v2/a/manifests/v{n}")).with("Content-Type", OCI_MANIFEST);
        slow.push(half(manifest.stream(vec![b' '; 5000])));
    }
    slow.push(half(Ask::patch(&location).body(vec![0; 50_000])));
    // Some ask for much and read nothing.
    let blob = Blob::noise(5_000_000, 73);
    hub.push_blob("a", &blob);
    for _ in 0..20 {
        let mut line = hub.line();
        line.say(Ask::get(format!("/v2/a/blobs/{}", blob.digest)).bytes());
        slow.push(line);
    }
    others_are_answered(&hub);
    drop(slow);
    others_are_answered(&hub);
}

/// A head has its time, whether it comes drop by drop or not at all; so has a small body.
#[test]
fn a_head_that_does_not_end_is_cut() {
    let hub = Served::on(Place::Disk);
    let patience = Duration::from_secs(45);
    let began = Instant::now();
    let line = || hub.line().patient(patience);
    let (mut silent, mut dripping, mut short) = (line(), line(), line());
    silent.say("GET /v2/ HTTP/1.1\r\nHost: a\r\n");
    let patch = Ask::patch(hub.begin("a")).body(vec![0; 700]).bytes();
    short.say(&patch[..patch.len() - 1]);
    dripping.say("GET /v2/ HTTP/1.1\r\nX: ");
    // A drop now and then, until nobody listens.
    while dripping.try_say("y").is_ok() {
        assert!(
            began.elapsed() < patience,
            "drop by drop it goes on for ever"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    silent.ends();
    short.hear("PATCH").refuses(400, "SIZE_INVALID");
    short.ends();
    assert!(began.elapsed() < patience);
}

/// One client has no more than its share of the places for bodies, whatever it does with them.
#[test]
fn too_many_bodies_at_a_time_are_told_to_come_back() {
    let hub = Served::on(Place::Disk);
    let begin = |_| {
        let patch = Ask::patch(hub.begin("a")).body(vec![0; 50_000]).bytes();
        let mut line = hub.line();
        line.say(&patch[..patch.len() - 10]);
        line
    };
    let mut slow: Vec<Line> = (0..48).map(begin).collect();
    let refused = await_some("all places to be taken", || {
        let answer = hub.ask(Ask::patch(hub.begin("a")).body("x"));
        (answer.status != 202).then_some(answer)
    });
    assert_eq!(
        refused
            .refuses(503, "TOOMANYREQUESTS")
            .header("Retry-After"),
        "2"
    );
    // Whoever only asks is served, and a place that is left is free again.
    hub.get("/v2/").expect(200);
    slow.pop();
    await_some("a place", || {
        let answer = hub.ask(Ask::patch(hub.begin("a")).body("x"));
        (answer.status == 202).then_some(())
    });
    drop(slow);
    await_some("all places", || {
        let lines: Vec<Line> = (0..40).map(begin).collect();
        let answer = hub.ask(Ask::patch(hub.begin("a")).body("x"));
        drop(lines);
        (answer.status == 202).then_some(())
    });
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let hub = Served::on(Place::Disk);
    let blob = Blob::noise(3_000_000, 70);
    hub.push_blob("a", &blob);
    let get = Ask::get(format!("/v2/a/blobs/{}", blob.digest)).bytes();
    let post = Ask::post(format!("/v2/a/blobs/uploads/?digest={}", blob.digest));
    let post = post.body(blob.bytes.clone()).bytes();
    for n in 0..60 {
        let mut line = hub.line();
        match n % 6 {
            0 => line.say(&get[..n]),
            1 => line.say(&get),
            2 => line.say(&post[..post.len() / 2]),
            3 => {
                line.say(&get);
                line.read(100_000);
            }
            4 => line.say(Ask::get("/v2/").bytes()),
            _ => {}
        }
        if n % 2 == 0 {
            line.reset();
        }
    }
    // Every place for a body is free again, and what was there is still there.
    await_some("the places", || {
        let answer = hub.ask(Ask::get(format!("/v2/a/blobs/{}", blob.digest)));
        (answer.status == 200).then(|| assert!(answer.body == blob.bytes))
    });
    others_are_answered(&hub);
}

/// Scanners, and health checks of some load balancers, reset what they have just opened.
#[test]
fn connections_that_are_reset_at_once_hold_nobody_up() {
    let hub = Served::on(Place::Disk);
    // A wait for each of them would be longer than the patience of whoever comes after.
    for _ in 0..900 {
        hub.line().reset();
    }
    hub.get("/v2/").expect(200);
    let stopped = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..50_000 {
                hub.line().reset();
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        // Each on a connection of its own.
        for _ in 0..100 {
            hub.get("/v2/").expect(200);
        }
        stopped.store(true, Ordering::Relaxed);
    });
}

/// The library alone aborts the process here, for want of memory.
#[test]
fn a_body_of_a_hundred_gigabytes_that_never_comes_is_no_matter() {
    let hub = Served::on(Place::Disk);
    for target in [
        "/v2/A/manifests/v1",
        "/v2/a/manifests/v1",
        "/v2/a/blobs/uploads/01234567-89ab-4def-8123-456789abcdef?digest=sha256:abc",
        "/nowhere",
    ] {
        let mut line = hub.line();
        let head =
            format!("PUT {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000\r\n\r\n");
        line.say(&head);
        let answer = line.hear("PUT");
        assert!((400..500).contains(&answer.status), "{answer}");
        assert_eq!(answer.header("Connection"), "close");
        drop(line);
        let mut line = hub.line();
        line.say(&head);
        line.reset();
    }
    let begun = hub.ask(Ask::post("/v2/a/blobs/uploads/").with("Connection", "close"));
    begun.expect(202);
    others_are_answered(&hub);
}

/// An answer to somebody who still sends must not be lost with what is sent.
#[test]
fn an_early_answer_gets_through() {
    let hub = Served::on(Place::Disk);
    let body = vec![0; 5_000_000];
    for ask in [
        Ask::put("/v2/A/manifests/v1"),
        Ask::put("/v2/a/manifests/v1"),
    ] {
        for ask in [ask.clone().body(body.clone()), ask.stream(body.clone())] {
            let mut line = hub.line();
            line.say(ask.bytes());
            let answer = line.hear("PUT");
            assert!([400, 413].contains(&answer.status), "{answer}");
            line.ends();
        }
    }
}

#[test]
fn a_body_that_is_shorter_than_declared_is_refused() {
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[]);
    let image = Image::named("x");
    hub.push_blobs("a", &image);
    let blob = Blob::noise(700, 71);
    let post = Ask::post(format!("/v2/a/blobs/uploads/?digest={}", blob.digest));
    let put = Ask::put("/v2/a/manifests/v1").with("Content-Type", OCI_MANIFEST);
    let large = Ask::put("/v2/a/manifests/v1").with("Content-Type", OCI_MANIFEST);
    for ask in [
        post.clone().body(blob.bytes.clone()),
        put.clone().body(image.manifest.bytes.clone()),
        large.body(vec![b' '; 5000]),
        post.stream(blob.bytes.clone()),
        put.stream(image.manifest.bytes.clone()),
    ] {
        for missing in [1, 100] {
            let bytes = ask.bytes();
            let mut line = hub.line();
            line.say(&bytes[..bytes.len() - missing]);
            line.hush();
            let answer = line.hear(&ask.method).expect(400);
            // A stream that is cut in a chunk ends as if it were whole, and is not what it
            // should be.
            if ask.declares_length() {
                answer.refuses(400, "SIZE_INVALID");
            }
            line.ends();
        }
    }
    hub.logged("600 of 700 bytes came");
    hub.logged("4900 of 5000 bytes came");
    hub.blob("a", &blob).refuses(404, "BLOB_UNKNOWN");
    hub.manifest("a", "v1").refuses(404, "MANIFEST_UNKNOWN");
}

#[test]
fn a_body_that_is_longer_than_declared_is_cut_there() {
    let hub = Served::on(Place::Disk);
    for size in [1, 700, 5000] {
        let blob = Blob::noise(size, 72);
        let post = Ask::post(format!("/v2/a/blobs/uploads/?digest={}", blob.digest));
        let mut bytes = post.body(blob.bytes.clone()).bytes();
        bytes.extend(b"more than was declared");
        let mut line = hub.line();
        line.say(&bytes);
        line.hear("POST").expect(201);
        // The rest is no request.
        if let Ok(answer) = line.try_hear("GET") {
            answer.refuses(400, "UNSUPPORTED");
        }
        assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
    }
}

#[test]
fn chunks_that_are_none_are_refused() {
    let hub = Served::on(Place::Disk);
    let blob = Blob::of("hello");
    for body in [
        "x\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\r\nhel",
        "5\r\nhello\r\n",
        "",
    ] {
        let head = format!(
            "POST /v2/a/blobs/uploads/?digest={} HTTP/1.1\r\nHost: a\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            blob.digest
        );
        let mut line = hub.line();
        line.say(head + body);
        line.hush();
        let answer = line.hear("POST");
        assert_eq!(answer.status, 400, "{body:?}: {answer}");
        line.ends();
        hub.blob("a", &blob).refuses(404, "BLOB_UNKNOWN");
    }
}
