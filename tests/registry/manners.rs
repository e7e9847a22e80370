//! Clients of every kind at a time: kept connections, bursts, pipelines, and heads with wishes
//! (RFC 9112; RFC 9110, section 10.1.1).

use lighthouse::oci::manifest::OCI_MANIFEST;

use crate::world::{Ask, Blob, Image, Line, Place, Served, await_some};

#[test]
fn a_connection_is_kept_and_closed_as_the_client_wishes() {
    let hub = Served::on(Place::Disk);
    let image = Image::named("x");
    hub.push("a", "v1", &image);
    let mut line = hub.line();
    for n in 0..50 {
        let answer = match n % 5 {
            0 => line.ask(&Ask::get("/v2/a/manifests/v1")).expect(200),
            1 => line.ask(&Ask::head("/v2/a/manifests/v1")).expect(200),
            2 => line.ask(&Ask::get("/v2/a/manifests/v2")).expect(404),
            3 => line
                .ask(&Ask::post("/v2/a/blobs/uploads/").body("ignored"))
                .expect(202),
            _ => line
                .ask(&Ask::put("/v2/a/manifests/v1").body("not JSON"))
                .expect(400),
        };
        assert_eq!(answer.find("Connection"), None);
    }
    let last = line
        .ask(&Ask::get("/v2/").with("Connection", "Close"))
        .expect(200);
    assert_eq!(last.header("Connection"), "close");
    line.ends();
}

#[test]
fn an_old_client_is_answered_and_closed() {
    let hub = Served::on(Place::Disk);
    for head in [
        "GET /v2/ HTTP/1.0\r\n\r\n",
        "GET /v2/ HTTP/1.0\r\nHost: a\r\n\r\n",
    ] {
        let mut line = hub.line();
        line.say(head);
        let answer = line.hear("GET").expect(200);
        assert_eq!(answer.header("Connection"), "close");
        line.ends();
    }
}

/// The Java and curl clients offer HTTP/2 with their first request; nobody has to take it.
#[test]
fn an_offer_to_upgrade_is_not_taken() {
    let hub = Served::on(Place::Disk);
    let offer = |ask: Ask| {
        let ask = ask
            .with("Connection", "Upgrade, HTTP2-Settings")
            .with("Upgrade", "h2c");
        ask.with("HTTP2-Settings", "AAMAAABkAAQAAP__")
    };
    let mut line = hub.line();
    let answer = line.ask(&offer(Ask::get("/v2/"))).expect(200);
    if answer.find("Connection").is_some() {
        line.ends();
    } else {
        line.ask(&Ask::get("/v2/")).expect(200);
    }
    for size in [5, 5000] {
        let blob = Blob::noise(size, 50);
        let location = hub.begin("a");
        let put = offer(Ask::put(format!("{location}?digest={}", blob.digest)));
        let mut line = hub.line();
        // What follows the body is none of the body.
        line.say(
            [
                &put.body(blob.bytes.clone()).bytes()[..],
                b"GET /v2/ HTTP/1.1",
            ]
            .concat(),
        );
        line.hear("PUT").expect(201);
        assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
    }
    let mut line = hub.line();
    let answer = line.ask(&offer(Ask::patch(hub.begin("a"))).stream("chunked"));
    assert!([202, 400].contains(&answer.status), "{answer}");
    if answer.status == 202 {
        assert_eq!(answer.header("Range"), "0-6");
    }
}

#[test]
fn a_client_that_waits_to_be_asked_is_asked() {
    let hub = Served::on(Place::Disk);
    let image = Image::named("x");
    hub.push_blobs("a", &image);
    for value in ["100-continue", "100-Continue"] {
        let put = Ask::put("/v2/a/manifests/v1").with("Content-Type", OCI_MANIFEST);
        let put = put.with("Expect", value).body(image.manifest.bytes.clone());
        let mut line = hub.line();
        line.say(put.head_bytes());
        line.hear("PUT").expect(100);
        line.say(&image.manifest.bytes);
        line.hear("PUT").expect(201);
        // It need not be asked, either.
        let answer = hub.line().ask(&put);
        answer.expect(100);
    }
    // A body that is refused is not asked for, and then not taken for a request.
    let put = Ask::put("/v2/A/manifests/v1").with("Expect", "100-continue");
    let mut line = hub.line();
    line.say(
        put.body("GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
            .head_bytes(),
    );
    line.hear("PUT")
        .refuses(400, "NAME_INVALID")
        .header("Connection");
    line.ends();
}

/// Five connections are one docker push; the library alone left some of them unserved.
#[test]
fn bursts_of_kept_connections_are_all_served() {
    let hub = Served::on(Place::Disk);
    let image = Image::named("x");
    hub.push("a", "v1", &image);
    let target = format!("/v2/a/blobs/{}", image.blobs[1].digest);
    for size in [5, 16, 64, 200] {
        let ask = || {
            let mut line = hub.line();
            for _ in 0..3 {
                line.ask(&Ask::get("/v2/a/manifests/v1")).expect(200);
                line.ask(&Ask::get("/v2/a/tags/list")).expect(200);
                // Bodies have fewer places; whoever finds none is told to come back.
                await_some("a place for a body", || {
                    let answer = line.ask(&Ask::get(&target));
                    if answer.status == 503 {
                        answer.header("Retry-After");
                        return None;
                    }
                    Some(answer.expect(200))
                });
            }
            line
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..size).map(|_| scope.spawn(ask)).collect();
            // Nobody leaves before all were served.
            let served: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
            assert!(served.iter().all(Result::is_ok), "{size}");
        });
    }
}

#[test]
fn many_idle_connections_hold_nobody_up() {
    let hub = Served::on(Place::Disk);
    let idle: Vec<Line> = (0..300).map(|_| hub.line()).collect();
    let mut used: Vec<Line> = (0..100).map(|_| hub.line()).collect();
    for line in &mut used {
        line.ask(&Ask::get("/v2/")).expect(200);
    }
    hub.push("a", "v1", &Image::named("x"));
    for line in &mut used {
        line.ask(&Ask::get("/v2/a/manifests/v1")).expect(200);
    }
    drop(idle);
}

/// A client that sends requests before it has the answers gets one answer for each connection at
/// least, whole, and sends the rest again; nothing hangs and nothing is mixed up.
#[test]
fn a_pipeline_is_served() {
    let hub = Served::on(Place::Disk);
    let blobs: Vec<Blob> = (0..6)
        .map(|n| Blob::noise(2_000_000 + n, n as u64))
        .collect();
    for blob in &blobs {
        hub.push_blob("a", blob);
    }
    let mut left = &blobs[..];
    while !left.is_empty() {
        let mut line = hub.line();
        let asks = left
            .iter()
            .map(|blob| Ask::get(format!("/v2/a/blobs/{}", blob.digest)));
        line.say(asks.flat_map(|ask| ask.bytes()).collect::<Vec<u8>>());
        let before = left.len();
        while let Some((blob, rest)) = left.split_first() {
            let answer = match line.try_hear("GET") {
                Ok(answer) => answer.expect(200),
                Err(err) => {
                    assert!(left.len() < before, "nothing came: {err}");
                    break;
                }
            };
            assert!(answer.body == blob.bytes);
            left = rest;
        }
    }
}

/// The same with bodies: what follows a body is neither lost in silence nor part of it.
#[test]
fn a_pipeline_of_bodies_is_served() {
    let hub = Served::on(Place::Disk);
    for size in [1, 700, 1500, 5000, 300_000] {
        let location = hub.begin("a");
        let patch = Ask::patch(&location).body(Blob::noise(size, 60).bytes);
        let mut line = hub.line();
        line.say(
            [
                patch.bytes(),
                Ask::get("/v2/").bytes(),
                Ask::get("/v2/").bytes(),
            ]
            .concat(),
        );
        let answer = line.hear("PATCH").expect(202);
        assert_eq!(answer.header("Range"), format!("0-{}", size - 1));
        match answer.find("Connection") {
            Some(_) => line.ends(),
            None => drop(line.hear("GET").expect(200)),
        }
    }
}

#[test]
fn a_head_never_has_a_body() {
    let hub = Served::on(Place::Disk);
    let image = Image::named("x");
    hub.push("a", "v1", &image);
    let mut line = hub.line();
    let digest = image.blobs[1].digest;
    for target in [
        "/v2/".to_owned(),
        "/v2/_catalog".into(),
        "/v2/a/tags/list".into(),
        "/v2/a/manifests/v1".into(),
        "/v2/a/manifests/v2".into(),
        "/v2/a/blobs/sha256:abc".into(),
        format!("/v2/a/blobs/{digest}"),
        format!("/v2/b/blobs/{digest}"),
        format!("/v2/a/referrers/{digest}"),
        hub.begin("a"),
        "/nowhere".into(),
    ] {
        for headers in [
            None,
            Some(("TE", "trailers, chunked;q=nan")),
            Some(("Range", "bytes=0-3")),
        ] {
            let mut ask = Ask::head(&target);
            if let Some((name, value)) = headers {
                ask = ask.with(name, value);
            }
            let head = line.ask(&ask);
            // A body would be taken for the next answer.
            let get = line.ask(&ask.by("GET"));
            assert_eq!(head.status, get.status, "{target}");
            assert_eq!(
                head.find("Content-Length"),
                get.find("Content-Length"),
                "{target}"
            );
        }
    }
}

/// Proxies and browsers ask what a URL can do (RFC 9110, sections 9.3.7 and 10.2.1).
#[test]
fn every_url_tells_its_methods() {
    let hub = Served::on(Place::Disk);
    let digest = Blob::of("never pushed").digest;
    let session = "01234567-89ab-4def-8123-456789abcdef";
    for (target, methods) in [
        ("/".to_owned(), "GET, HEAD, OPTIONS"),
        ("/v2/".to_owned(), "GET, HEAD, OPTIONS"),
        ("/v2/_catalog?n=1".to_owned(), "GET, HEAD, OPTIONS"),
        ("/v2/a/tags/list".to_owned(), "GET, HEAD, OPTIONS"),
        (format!("/v2/a/referrers/{digest}"), "GET, HEAD, OPTIONS"),
        (
            "/v2/a/manifests/v1".to_owned(),
            "GET, HEAD, PUT, DELETE, OPTIONS",
        ),
        (
            format!("/v2/a/blobs/{digest}"),
            "GET, HEAD, DELETE, OPTIONS",
        ),
        ("/v2/a/blobs/uploads/".to_owned(), "POST, OPTIONS"),
        (
            format!("/v2/a/blobs/uploads/{session}"),
            "GET, HEAD, PATCH, PUT, DELETE, OPTIONS",
        ),
    ] {
        let mut line = hub.line();
        let options = Ask::new("OPTIONS", &target);
        for options in [options.clone(), options.body("ignored")] {
            let answer = line.ask(&options).expect(200);
            assert_eq!(answer.header("Allow"), methods, "{target}");
            assert_eq!(answer.header("Content-Length"), "0");
        }
        let refused = line.ask(&Ask::new("TRACE", &target));
        let refused = refused.refuses(405, "UNSUPPORTED");
        assert_eq!(refused.header("Allow"), methods, "{target}");
    }
    // The server as a whole.
    let answer = hub.ask(Ask::new("OPTIONS", "*")).expect(200);
    let all = "GET, HEAD, POST, PATCH, PUT, DELETE, OPTIONS";
    assert_eq!(answer.header("Allow"), all);
    assert_eq!(answer.header("Content-Length"), "0");
    hub.ask(Ask::get("*")).refuses(404, "NAME_UNKNOWN");
    for target in ["/nowhere", "/v2/a/nowhere", "/v2/a/manifests"] {
        hub.ask(Ask::new("OPTIONS", target))
            .refuses(404, "NAME_UNKNOWN");
    }
}

/// A refusal needs no body, but who has it sends the next head, and that must not be taken for
/// the rest of the body.
#[test]
fn a_connection_goes_on_after_a_body_that_nobody_wanted() {
    let hub = Served::on(Place::Disk);
    let body = Blob::noise(8_300, 51).bytes;
    let refused = Ask::put("/v2/a/manifests/-").body(body.clone());
    std::thread::scope(|scope| {
        let go_on = || {
            let mut line = hub.line();
            for _ in 0..3000 {
                line.say(refused.head_bytes());
                line.say(&body);
                let answer = line.hear("PUT").expect(400);
                assert_eq!(answer.find("Connection"), None);
            }
        };
        for _ in 0..4 {
            scope.spawn(go_on);
        }
    });
}
