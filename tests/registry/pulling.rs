//! Pulling blobs (distribution-spec, "Pulling blobs"; RFC 9110, "Range Requests").

use crate::world::{Ask, Blob, Served};

journeys!(
    the_registry_says_what_it_is,
    a_blob_is_pulled_whole,
    a_blob_is_pulled_in_parts,
    a_range_outside_the_blob_is_refused,
    an_empty_blob_is_a_blob,
    what_a_client_has_is_not_sent_again,
    a_blob_is_only_where_it_was_pushed,
    a_blob_of_many_mebibytes_comes_back_as_it_was,
    many_pull_at_a_time,
);

fn the_registry_says_what_it_is(hub: &Served) {
    for target in ["/v2/", "/v2", "/"] {
        let base = hub.get(target).expect(200);
        assert_eq!(
            base.header("Docker-Distribution-Api-Version"),
            "registry/2.0"
        );
        assert_eq!(base.json(), serde_json::json!({}));
        assert!(base.find("Date").is_some());
        assert!(hub.head(target).expect(200).body.is_empty());
    }
    hub.ask(Ask::post("/v2/"))
        .refuses(405, "UNSUPPORTED")
        .header("Allow");
    hub.get("/v3/").refuses(404, "NAME_UNKNOWN");
}

fn a_blob_is_pulled_whole(hub: &Served) {
    let blob = Blob::noise(100_000, 1);
    hub.push_blob("library/alpine", &blob);
    let target = format!("/v2/library/alpine/blobs/{}", blob.digest);
    let head = hub.head(&target).expect(200);
    let got = hub.get(&target).expect(200);
    assert!(head.body.is_empty() && got.body == blob.bytes);
    for answer in [&head, &got] {
        assert_eq!(answer.header("Content-Length"), "100000");
        assert_eq!(answer.header("Content-Type"), "application/octet-stream");
        assert_eq!(
            answer.header("Docker-Content-Digest"),
            blob.digest.to_string()
        );
        assert_eq!(answer.header("ETag"), format!("\"{}\"", blob.digest));
        assert_eq!(answer.header("Accept-Ranges"), "bytes");
    }
    let unknown = Blob::of("never pushed");
    let target = format!("/v2/library/alpine/blobs/{}", unknown.digest);
    hub.get(&target).refuses(404, "BLOB_UNKNOWN");
    assert!(hub.head(&target).expect(404).body.is_empty());
}

fn a_blob_is_pulled_in_parts(hub: &Served) {
    let blob = Blob::noise(1000, 2);
    hub.push_blob("a", &blob);
    let target = format!("/v2/a/blobs/{}", blob.digest);
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=0-999", 0, 999),
        ("bytes=100-199", 100, 199),
        ("bytes=990-", 990, 999),
        ("bytes=0-", 0, 999),
        // Clients ask for one byte too many, and more; what is there is sent.
        ("bytes=999-1000", 999, 999),
        ("bytes=500-18446744073709551615", 500, 999),
        ("bytes=-1", 999, 999),
        ("bytes=-5000", 0, 999),
    ] {
        for method in ["GET", "HEAD"] {
            let part = hub
                .ask(Ask::new(method, &target).with("Range", range))
                .expect(206);
            let expected = format!("bytes {first}-{last}/1000");
            assert_eq!(part.header("Content-Range"), expected, "{range}");
            assert_eq!(
                part.header("Content-Length"),
                (last - first + 1).to_string()
            );
            assert_eq!(
                part.header("Docker-Content-Digest"),
                blob.digest.to_string()
            );
            if method == "GET" {
                assert_eq!(part.body, blob.bytes[first..=last], "{range}");
            }
        }
    }
    // Other units and several ranges may be answered with the whole (RFC 9110, section 14.2).
    for range in ["items=0-1", "bytes=0-1,4-5"] {
        let whole = hub.ask(Ask::get(&target).with("Range", range)).expect(200);
        assert_eq!(whole.body, blob.bytes);
    }
    // A pull that was cut goes on where it stopped.
    let (mut pulled, mut line) = (blob.bytes[..300].to_vec(), hub.line());
    let rest = line.ask(&Ask::get(&target).with("Range", format!("bytes={}-", pulled.len())));
    pulled.extend(rest.expect(206).body);
    assert_eq!(pulled, blob.bytes);
}

fn a_range_outside_the_blob_is_refused(hub: &Served) {
    let blob = Blob::noise(1000, 3);
    hub.push_blob("a", &blob);
    let ask = |range: &str| {
        hub.ask(Ask::get(format!("/v2/a/blobs/{}", blob.digest)).with("Range", range))
    };
    for range in [
        "bytes=1000-",
        "bytes=1000-2000",
        "bytes=-0",
        "bytes=99999999999999999999-",
    ] {
        let refused = ask(range).expect(416);
        assert_eq!(refused.header("Content-Range"), "bytes */1000", "{range}");
    }
    for malformed in ["bytes=9-3", "bytes=x-y", "bytes=", "bytes=--5", "bytes=1"] {
        ask(malformed).expect(416);
    }
}

fn an_empty_blob_is_a_blob(hub: &Served) {
    let empty = Blob::of("");
    hub.push_blob("a", &empty);
    let got = hub.blob("a", &empty).expect(200);
    assert_eq!(
        (got.header("Content-Length"), &got.body[..]),
        ("0", &b""[..])
    );
    let target = format!("/v2/a/blobs/{}", empty.digest);
    hub.head(&target).expect(200);
    hub.ask(Ask::get(&target).with("Range", "bytes=0-"))
        .expect(416);
}

fn what_a_client_has_is_not_sent_again(hub: &Served) {
    let blob = Blob::of("known");
    hub.push_blob("a", &blob);
    let target = format!("/v2/a/blobs/{}", blob.digest);
    let etag = hub.get(&target).header("ETag").to_owned();
    for known in [
        etag.clone(),
        format!("W/{etag}"),
        format!("\"x\", {etag}"),
        "*".into(),
    ] {
        let answer = hub
            .ask(Ask::get(&target).with("If-None-Match", &known))
            .expect(304);
        assert_eq!(answer.header("ETag"), etag, "{known}");
        assert_eq!(answer.find("Content-Length"), None);
        hub.ask(Ask::head(&target).with("If-None-Match", &known))
            .expect(304);
    }
    hub.ask(Ask::get(&target).with("If-None-Match", "\"other\""))
        .expect(200);
}

/// Bytes are stored once for all repositories, and can only be read in those that hold them.
fn a_blob_is_only_where_it_was_pushed(hub: &Served) {
    let blob = Blob::of("mine");
    hub.push_blob("team/one", &blob);
    hub.blob("team/one", &blob).expect(200);
    hub.blob("team/two", &blob).refuses(404, "BLOB_UNKNOWN");
    hub.blob("team", &blob).refuses(404, "BLOB_UNKNOWN");
}

fn a_blob_of_many_mebibytes_comes_back_as_it_was(hub: &Served) {
    let blob = Blob::noise((9 << 20) + 13, 4);
    hub.push_blob("large", &blob);
    assert!(hub.blob("large", &blob).expect(200).body == blob.bytes);
    let target = format!("/v2/large/blobs/{}", blob.digest);
    let range = format!("bytes={}-", 3 << 20);
    let part = hub.ask(Ask::get(target).with("Range", range)).expect(206);
    assert!(part.body == blob.bytes[3 << 20..]);
}

fn many_pull_at_a_time(hub: &Served) {
    let blob = Blob::noise((24 << 20) + 5, 4);
    hub.push_blob("a", &blob);
    let target = format!("/v2/a/blobs/{}", blob.digest);
    let pull = |first: usize| {
        let range = format!("bytes={first}-");
        let answer = hub.ask(Ask::get(&target).with("Range", range)).expect(206);
        assert!(answer.body == blob.bytes[first..], "from {first}");
    };
    std::thread::scope(|scope| {
        // One after the other begins, and they end one after the other.
        for first in (0..8).map(|n| n * 3_000_001) {
            scope.spawn(move || pull(first));
        }
    });
}
