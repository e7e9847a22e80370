//! Pushing blobs (distribution-spec, "Pushing blobs", "Mounting a blob from another
//! repository").

use lighthouse::oci::Algorithm;

use crate::world::{Answer, Ask, Blob, Place, Served};

journeys!(
    a_blob_is_pushed_in_two_requests,
    a_blob_is_pushed_in_one_request,
    a_blob_is_pushed_as_docker_does,
    a_blob_of_unknown_length_is_pushed,
    a_blob_is_named_by_sha512,
    a_blob_is_pushed_twice,
    a_mount_saves_the_bytes,
    a_mount_that_cannot_be_is_an_upload,
    content_that_is_something_else_is_refused,
    a_location_is_good_whatever_a_client_does_to_its_query,
    an_upload_is_given_up,
    a_session_belongs_to_its_repository,
    nothing_malformed_begins_an_upload,
);

#[track_caller]
fn created(answer: Answer, repository: &str, blob: &Blob) -> Answer {
    let answer = answer.expect(201);
    let location = format!("/v2/{repository}/blobs/{}", blob.digest);
    assert_eq!(answer.header("Location"), location);
    assert_eq!(
        answer.header("Docker-Content-Digest"),
        blob.digest.to_string()
    );
    assert_eq!(answer.header("Content-Length"), "0");
    answer
}

fn a_blob_is_pushed_in_two_requests(hub: &Served) {
    let blob = Blob::noise(70_000, 10);
    let begun = hub.ask(Ask::post("/v2/a/b/c/blobs/uploads/")).expect(202);
    let location = begun.header("Location");
    let session = begun.header("Docker-Upload-UUID");
    assert_eq!(location, format!("/v2/a/b/c/blobs/uploads/{session}"));
    assert_eq!(begun.header("Range"), "0-0");
    let put = Ask::put(format!("{location}?digest={}", blob.digest));
    let put = put
        .with("Content-Type", "application/octet-stream")
        .body(blob.bytes.clone());
    let answer = created(hub.ask(put), "a/b/c", &blob);
    assert_eq!(
        hub.get(answer.header("Location")).expect(200).body,
        blob.bytes
    );
    // The session has served its purpose.
    hub.get(location).refuses(404, "BLOB_UPLOAD_UNKNOWN");
}

fn a_blob_is_pushed_in_one_request(hub: &Served) {
    for blob in [Blob::noise(70_000, 11), Blob::of(""), Blob::of("small")] {
        let post = Ask::post(format!("/v2/a/blobs/uploads/?digest={}", blob.digest));
        let post = post.with("Content-Type", "application/octet-stream");
        created(hub.ask(post.body(blob.bytes.clone())), "a", &blob);
        assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
    }
}

/// POST, one PATCH of unknown length without any Content-Range, an empty PUT.
fn a_blob_is_pushed_as_docker_does(hub: &Served) {
    let blob = Blob::noise(300_000, 12);
    let location = hub.begin("a");
    let patched = hub
        .ask(Ask::patch(&location).stream(blob.bytes.clone()))
        .expect(202);
    assert_eq!(patched.header("Range"), "0-299999");
    assert_eq!(patched.header("Location"), location);
    assert!(patched.find("Docker-Upload-UUID").is_some());
    let put = Ask::put(format!("{location}?digest={}", blob.digest));
    created(hub.ask(put), "a", &blob);
    assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
}

fn a_blob_of_unknown_length_is_pushed(hub: &Served) {
    let blob = Blob::noise(150_000, 13);
    let put = Ask::put(format!("{}?digest={}", hub.begin("a"), blob.digest));
    created(hub.ask(put.stream(blob.bytes.clone())), "a", &blob);
    let post = Ask::post(format!("/v2/b/blobs/uploads/?digest={}", blob.digest));
    created(hub.ask(post.stream(blob.bytes.clone())), "b", &blob);
    assert_eq!(hub.blob("b", &blob).expect(200).body, blob.bytes);
}

/// The algorithm may be announced (`digest-algorithm`), or be a surprise of the last request.
fn a_blob_is_named_by_sha512(hub: &Served) {
    for (seed, query) in [
        (14, "?digest-algorithm=sha512"),
        (15, ""),
        (16, "?digest-algorithm=sha256"),
    ] {
        let bytes = Blob::noise(70_000, seed).bytes;
        let blob = Blob::named(Algorithm::Sha512, bytes);
        let begun = hub
            .ask(Ask::post(format!("/v2/a/blobs/uploads/{query}")))
            .expect(202);
        let location = begun.header("Location");
        hub.ask(Ask::patch(location).body(&blob.bytes[..50_000]))
            .expect(202);
        let put = Ask::put(format!("{location}?digest={}", blob.digest));
        created(hub.ask(put.body(&blob.bytes[50_000..])), "a", &blob);
        assert_eq!(hub.blob("a", &blob).expect(200).body, blob.bytes);
        // What is named by one algorithm has no name by another.
        hub.blob("a", &Blob::of(blob.bytes))
            .refuses(404, "BLOB_UNKNOWN");
    }
    let blob = Blob::named(Algorithm::Sha512, "one request");
    let post = Ask::post(format!("/v2/a/blobs/uploads/?digest={}", blob.digest));
    created(hub.ask(post.body(blob.bytes.clone())), "a", &blob);
    let unknown = hub.ask(Ask::post("/v2/a/blobs/uploads/?digest-algorithm=md5"));
    unknown.refuses(400, "DIGEST_INVALID");
}

fn a_blob_is_pushed_twice(hub: &Served) {
    let blob = Blob::noise(5000, 17);
    for repository in ["a", "a", "b"] {
        hub.push_blob(repository, &blob);
        assert_eq!(hub.blob(repository, &blob).expect(200).body, blob.bytes);
    }
}

fn a_mount_saves_the_bytes(hub: &Served) {
    let blob = Blob::noise(5000, 18);
    hub.push_blob("library/debian", &blob);
    let digest = blob.digest.to_string();
    let escaped = digest.replace(':', "%3A");
    for (repository, query) in [
        ("b", format!("mount={digest}&from=library/debian")),
        ("c", format!("from=library%2Fdebian&mount={escaped}")),
        // Without a source: from any repository that is known to hold it.
        ("d", format!("mount={digest}")),
        // It holds the blob itself.
        ("library/debian", format!("mount={digest}&from=elsewhere")),
    ] {
        let mounted = hub.ask(Ask::post(format!(
            "/v2/{repository}/blobs/uploads/?{query}"
        )));
        created(mounted, repository, &blob);
        assert_eq!(hub.blob(repository, &blob).expect(200).body, blob.bytes);
    }
}

fn a_mount_that_cannot_be_is_an_upload(hub: &Served) {
    let blob = Blob::noise(5000, 19);
    hub.push_blob("a", &blob);
    let other = Blob::of("pushed nowhere");
    for query in [
        format!("mount={}&from=a", other.digest),
        format!("mount={}&from=no/such/repository", blob.digest),
        format!("mount={}", other.digest),
        // What is no repository holds nothing; that is not to name none.
        format!("mount={}&from=A", blob.digest),
        format!("mount={}&from=..%2f..", blob.digest),
        format!("mount={}&from=a%0d%0a", blob.digest),
        format!("from=&mount={}", blob.digest),
    ] {
        let begun = hub
            .ask(Ask::post(format!("/v2/b/blobs/uploads/?{query}")))
            .expect(202);
        let put = Ask::put(format!(
            "{}?digest={}",
            begun.header("Location"),
            other.digest
        ));
        created(hub.ask(put.body(other.bytes.clone())), "b", &other);
        hub.delete(format!("/v2/b/blobs/{}", other.digest))
            .expect(202);
    }
    hub.blob("b", &blob).refuses(404, "BLOB_UNKNOWN");
    for query in ["mount=sha256:abc&from=a", "mount=x", "from=A&mount=y"] {
        hub.ask(Ask::post(format!("/v2/b/blobs/uploads/?{query}")))
            .expect(400);
    }
}

fn content_that_is_something_else_is_refused(hub: &Served) {
    let (blob, other) = (Blob::noise(5000, 20), Blob::noise(5000, 21));
    let location = hub.begin("a");
    let put = Ask::put(format!("{location}?digest={}", blob.digest));
    hub.ask(put.body(other.bytes.clone()))
        .refuses(400, "DIGEST_INVALID");
    let post = Ask::post(format!("/v2/a/blobs/uploads/?digest={}", blob.digest));
    hub.ask(post.body(other.bytes.clone()))
        .refuses(400, "DIGEST_INVALID");
    for blob in [&blob, &other] {
        hub.blob("a", blob).refuses(404, "BLOB_UNKNOWN");
    }
    // Nothing of it stands in the way of the right bytes.
    hub.push_blob("a", &blob);
    // A digest that is none, and none at all; the session goes on.
    let location = hub.begin("a");
    for query in [
        "?digest=sha256:abc",
        "?digest=md5:d41d8cd98f00b204e9800998ecf8427e",
        "",
        "?digest=",
    ] {
        let put = Ask::put(format!("{location}{query}")).body(blob.bytes.clone());
        hub.ask(put).refuses(400, "DIGEST_INVALID");
    }
    hub.get(&location).expect(204);
}

/// oras puts the parameters in another order, and some clients add their own.
fn a_location_is_good_whatever_a_client_does_to_its_query(hub: &Served) {
    let blob = Blob::noise(5000, 22);
    let location = hub.begin("a");
    let digest = blob.digest.to_string().replace(':', "%3a");
    let put = Ask::put(format!("{location}?_state=old&digest={digest}&x=%20+y"));
    created(hub.ask(put.body(blob.bytes.clone())), "a", &blob);
}

fn an_upload_is_given_up(hub: &Served) {
    let location = hub.begin("a");
    hub.ask(Ask::patch(&location).body("some bytes"))
        .expect(202);
    let cancelled = hub.delete(&location).expect(204);
    assert_eq!(cancelled.find("Content-Length"), None);
    hub.get(&location).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    hub.delete(&location).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    hub.ask(Ask::patch(&location).body("more"))
        .refuses(404, "BLOB_UPLOAD_UNKNOWN");
    let digest = Blob::of("some bytes").digest;
    hub.ask(Ask::put(format!("{location}?digest={digest}")))
        .refuses(404, "BLOB_UPLOAD_UNKNOWN");
}

fn a_session_belongs_to_its_repository(hub: &Served) {
    let blob = Blob::of("for a");
    let location = hub.begin("a");
    let elsewhere = location.replace("/v2/a/", "/v2/b/");
    hub.get(&elsewhere).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    let put = Ask::put(format!("{elsewhere}?digest={}", blob.digest)).body(blob.bytes.clone());
    hub.ask(put).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    hub.delete(&elsewhere).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    let put = Ask::put(format!("{location}?digest={}", blob.digest)).body(blob.bytes.clone());
    created(hub.ask(put), "a", &blob);
}

fn nothing_malformed_begins_an_upload(hub: &Served) {
    for name in [
        "A",
        "a//b",
        "-a",
        "a_",
        "..",
        "a/../b",
        "%2e%2e/a",
        "a%00",
        &"x".repeat(256),
    ] {
        let refused = hub.ask(Ask::post(format!("/v2/{name}/blobs/uploads/")));
        refused.refuses(400, "NAME_INVALID");
    }
    hub.ask(Ask::post("/v2/a/blobs/uploads/?digest=nonsense"))
        .refuses(400, "DIGEST_INVALID");
    for session in ["x", "..", "%2e%2e%2f%2e%2e", "../../../../etc/passwd"] {
        let location = format!("/v2/a/blobs/uploads/{session}");
        hub.ask(Ask::patch(location).body("x")).expect(404);
    }
    let made_up = "/v2/a/blobs/uploads/01234567-89ab-4def-8123-456789abcdef";
    hub.ask(Ask::patch(made_up).body("x"))
        .refuses(404, "BLOB_UPLOAD_UNKNOWN");
}

/// A cache in memory must not let anybody mount what a restart made it forget.
#[test]
fn a_mount_needs_no_memory_of_the_source() {
    let dir = tempfile::TempDir::new().expect("a folder");
    let blob = Blob::noise(5000, 23);
    Served::at(dir.path(), &[]).push_blob("a", &blob);
    let hub = Served::at(dir.path(), &[]);
    let mount = Ask::post(format!("/v2/b/blobs/uploads/?mount={}&from=a", blob.digest));
    created(hub.ask(mount), "b", &blob);
    drop(hub);
    let hub = Served::at(dir.path(), &[]);
    assert_eq!(hub.blob("b", &blob).expect(200).body, blob.bytes);
}

#[test]
fn the_store_in_memory_leaves_nothing_behind() {
    let hub = Served::on(Place::Memory);
    hub.push_blob("a", &Blob::noise(5000, 24));
    let root = hub.root().to_owned();
    assert!(root.exists());
    drop(hub);
    assert!(!root.exists());
}
