//! Pushing blobs in chunks (distribution-spec, "Pushing a blob in chunks", "Resuming an
//! upload").

use crate::world::{Ask, Blob, Served, await_some};

journeys!(
    chunks_come_in_order,
    a_chunk_out_of_order_is_refused_and_the_session_survives,
    a_chunk_says_what_it_is,
    the_last_chunk_comes_with_the_end,
    an_upload_that_was_cut_goes_on_from_what_came,
    a_declared_body_that_is_too_short_leaves_the_session,
    two_clients_cannot_write_one_session,
    the_end_may_be_repeated_after_a_cut,
);

fn chunk(location: &str, bytes: &[u8], first: usize) -> Ask {
    let range = format!("{first}-{}", first + bytes.len() - 1);
    Ask::patch(location)
        .with("Content-Range", range)
        .body(bytes)
}

/// How far an upload has come, as a client learns it.
#[track_caller]
fn status(hub: &Served, location: &str) -> String {
    let status = hub.get(location).expect(204);
    assert_eq!(status.header("Location"), location);
    assert!(status.find("Docker-Upload-UUID").is_some());
    status.header("Range").to_owned()
}

fn end(location: &str, blob: &Blob) -> Ask {
    Ask::put(format!("{location}?digest={}", blob.digest))
}

fn chunks_come_in_order(hub: &Served) {
    let blob = Blob::noise(10_000, 30);
    let location = hub.begin("a");
    assert_eq!(status(hub, &location), "0-0");
    for (n, bytes) in blob.bytes.chunks(3000).enumerate() {
        let first = n * 3000;
        let answer = hub.ask(chunk(&location, bytes, first)).expect(202);
        let range = format!("0-{}", first + bytes.len() - 1);
        assert_eq!(answer.header("Range"), range);
        assert_eq!(answer.header("Location"), location);
        assert_eq!(status(hub, &location), range);
    }
    hub.ask(end(&location, &blob)).expect(201);
    assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
}

fn a_chunk_out_of_order_is_refused_and_the_session_survives(hub: &Served) {
    let blob = Blob::noise(9000, 31);
    let location = hub.begin("a");
    // Not even the first one may begin anywhere else.
    let early = hub.ask(chunk(&location, &blob.bytes[3000..6000], 3000));
    assert_eq!(
        early.refuses(416, "BLOB_UPLOAD_INVALID").header("Range"),
        "0-0"
    );
    hub.ask(chunk(&location, &blob.bytes[..3000], 0))
        .expect(202);
    for first in [0, 2999, 3001, 6000] {
        let refused = hub.ask(chunk(&location, &blob.bytes[6000..], first));
        let refused = refused.refuses(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(refused.header("Range"), "0-2999", "{first}");
        assert_eq!(status(hub, &location), "0-2999");
    }
    let last = end(&location, &blob).with("Content-Range", "6000-8999");
    hub.ask(last.body(&blob.bytes[6000..]))
        .refuses(416, "BLOB_UPLOAD_INVALID");
    hub.ask(chunk(&location, &blob.bytes[3000..], 3000))
        .expect(202);
    hub.ask(end(&location, &blob)).expect(201);
    assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
}

fn a_chunk_says_what_it_is(hub: &Served) {
    let blob = Blob::noise(6000, 32);
    let location = hub.begin("a");
    for malformed in ["x", "0", "5-1", "-5", "0-99999999999999999999", "bytes */5"] {
        let patch = Ask::patch(&location).with("Content-Range", malformed);
        hub.ask(patch.body("x")).refuses(400, "BLOB_UPLOAD_INVALID");
    }
    // It says 3000 bytes, and has fewer or more.
    for (size, streamed) in [(2000, false), (4000, false), (2000, true), (4000, true)] {
        let patch = Ask::patch(&location).with("Content-Range", "0-2999");
        let bytes = &blob.bytes[..size];
        let patch = if streamed {
            patch.stream(bytes)
        } else {
            patch.body(bytes)
        };
        hub.ask(patch).refuses(400, "SIZE_INVALID");
        assert_eq!(status(hub, &location), "0-0", "{size} {streamed}");
    }
    // The form of RFC 9110 is known as well; a chunk may come as a stream.
    let patch = Ask::patch(&location).with("Content-Range", "bytes 0-2999/*");
    hub.ask(patch.body(&blob.bytes[..3000])).expect(202);
    let patch = Ask::patch(&location).with("Content-Range", "3000-5999");
    hub.ask(patch.stream(&blob.bytes[3000..])).expect(202);
    hub.ask(end(&location, &blob)).expect(201);
    assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
}

fn the_last_chunk_comes_with_the_end(hub: &Served) {
    let blob = Blob::noise(9000, 33);
    for range in [Some("3000-8999"), None] {
        let location = hub.begin("a");
        hub.ask(chunk(&location, &blob.bytes[..3000], 0))
            .expect(202);
        let mut put = end(&location, &blob);
        if let Some(range) = range {
            put = put.with("Content-Range", range);
        }
        hub.ask(put.body(&blob.bytes[3000..])).expect(201);
        assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
    }
}

/// Nobody tells the registry where a stream would have ended; what came is what counts.
fn an_upload_that_was_cut_goes_on_from_what_came(hub: &Served) {
    let blob = Blob::noise(200_000, 34);
    let location = hub.begin("a");
    let patch = Ask::patch(&location).stream(blob.bytes.clone()).bytes();
    let mut line = hub.line();
    line.say(&patch[..patch.len() / 2]);
    line.reset();
    // The session is busy until the registry has noticed.
    let kept = await_some("the cut to be noticed", || {
        let kept = match status(hub, &location).strip_prefix("0-") {
            Some("0") => 0,
            Some(last) => last.parse::<usize>().expect("a number") + 1,
            None => panic!("not a range"),
        };
        let answer = hub.ask(chunk(&location, &blob.bytes[kept..], kept));
        (answer.status == 202).then_some(kept)
    });
    assert!(kept < 200_000);
    hub.ask(end(&location, &blob)).expect(201);
    assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
}

fn a_declared_body_that_is_too_short_leaves_the_session(hub: &Served) {
    let blob = Blob::noise(60_000, 35);
    for came in [0, 1, 500, 50_000] {
        let location = hub.begin("a");
        let patch = Ask::patch(&location).body(blob.bytes.clone()).bytes();
        let mut line = hub.line();
        line.say(&patch[..patch.len() - 60_000 + came]);
        line.hush();
        line.hear("PATCH").refuses(400, "SIZE_INVALID");
        let expected = format!("0-{}", came.saturating_sub(1));
        assert_eq!(status(hub, &location), expected);
        hub.ask(Ask::patch(&location).body(&blob.bytes[came..]))
            .expect(202);
        hub.ask(end(&location, &blob)).expect(201);
        assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
    }
}

fn two_clients_cannot_write_one_session(hub: &Served) {
    let blob = Blob::noise(60_000, 36);
    let location = hub.begin("a");
    let patch = Ask::patch(&location).body(blob.bytes.clone()).bytes();
    let mut first = hub.line();
    first.say(&patch[..patch.len() - 10_000]);
    // The first one has begun as soon as its bytes show.
    await_some("the first writer", || {
        (status(hub, &location) != "0-0").then_some(())
    });
    let second = hub.ask(Ask::patch(&location).body(blob.bytes.clone()));
    second.refuses(409, "BLOB_UPLOAD_INVALID");
    let put = end(&location, &blob).body(blob.bytes.clone());
    hub.ask(put).refuses(409, "BLOB_UPLOAD_INVALID");
    hub.delete(&location).refuses(409, "BLOB_UPLOAD_INVALID");
    first.say(&patch[patch.len() - 10_000..]);
    first.hear("PATCH").expect(202);
    hub.ask(end(&location, &blob)).expect(201);
    assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
}

/// regctl repeats its PUT after a cut; on 416 it asks how far it came, and goes on from there.
fn the_end_may_be_repeated_after_a_cut(hub: &Served) {
    let blob = Blob::noise(60_000, 37);
    let location = hub.begin("a");
    let put = end(&location, &blob)
        .with("Content-Range", "0-59999")
        .body(blob.bytes.clone());
    let bytes = put.bytes();
    let mut line = hub.line();
    line.say(&bytes[..bytes.len() - 20_000]);
    line.hush();
    line.hear("PUT").refuses(400, "SIZE_INVALID");
    let again = hub.ask(put).refuses(416, "BLOB_UPLOAD_INVALID");
    assert_eq!(again.header("Range"), "0-39999");
    assert_eq!(status(hub, &location), "0-39999");
    let rest = end(&location, &blob).with("Content-Range", "40000-59999");
    hub.ask(rest.body(&blob.bytes[40_000..])).expect(201);
    assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
}
