//! Pushing and pulling manifests (distribution-spec, "Pulling manifests", "Pushing Manifests").

use lighthouse::oci::manifest::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use lighthouse::oci::{Algorithm, Digest};
use serde_json::json;

use crate::world::image::{CONFIG, LAYER};
use crate::world::{Ask, Blob, Image, Place, Served};

journeys!(
    an_image_is_pushed_and_pulled,
    an_image_is_pushed_by_digest,
    a_tag_moves,
    several_tags_are_set_at_once,
    any_type_of_manifest_is_kept,
    a_manifest_comes_back_byte_for_byte,
    what_a_client_has_is_not_sent_again,
    a_manifest_may_have_four_mebibytes,
    a_manifest_may_come_without_a_length,
    a_manifest_of_the_wrong_kind_is_refused,
    a_manifest_is_not_taken_before_its_blobs,
    an_index_is_not_taken_before_its_images,
    each_missing_blob_is_an_error_of_its_own,
    a_list_that_is_null_is_empty,
    layers_that_must_not_be_distributed_may_be_missing,
    references_that_are_none_are_refused,
    a_manifest_is_named_by_sha512,
);

fn an_image_is_pushed_and_pulled(hub: &Served) {
    let image = Image::named("v1");
    let pushed = hub.push("library/hello", "v1", &image);
    assert_eq!(pushed.header("Docker-Content-Digest"), image.digest());
    let location = pushed.header("Location");
    assert_eq!(
        location,
        format!("/v2/library/hello/manifests/{}", image.digest())
    );
    for reference in ["v1".to_owned(), image.digest()] {
        let target = format!("/v2/library/hello/manifests/{reference}");
        let head = hub.head(&target).expect(200);
        let got = hub.get(&target).expect(200);
        assert!(head.body.is_empty() && got.body == image.manifest.bytes);
        for answer in [&head, &got] {
            let length = image.manifest.bytes.len().to_string();
            assert_eq!(answer.header("Content-Length"), length);
            assert_eq!(answer.header("Content-Type"), OCI_MANIFEST);
            assert_eq!(answer.header("Docker-Content-Digest"), image.digest());
            assert_eq!(answer.header("ETag"), format!("\"{}\"", image.digest()));
        }
    }
    for blob in &image.blobs {
        assert_eq!(hub.blob("library/hello", blob).expect(200).body, blob.bytes);
    }
    for reference in ["v2", &Blob::of("other").digest.to_string()] {
        hub.manifest("library/hello", reference)
            .refuses(404, "MANIFEST_UNKNOWN");
        hub.manifest("elsewhere", reference)
            .refuses(404, "MANIFEST_UNKNOWN");
    }
    // The stored manifest is served whatever Accept says, in one line or in several.
    let ask = Ask::get("/v2/library/hello/manifests/v1").with("Accept", DOCKER_LIST);
    let answer = hub.ask(ask.with("Accept", "text/html;q=0.1")).expect(200);
    assert_eq!(answer.header("Content-Type"), OCI_MANIFEST);
}

fn an_image_is_pushed_by_digest(hub: &Served) {
    let image = Image::named("untagged");
    hub.push("a", &image.digest(), &image);
    assert_eq!(
        hub.manifest("a", &image.digest()).expect(200).body,
        image.manifest.bytes
    );
    assert_eq!(
        hub.get("/v2/a/tags/list").expect(200).json()["tags"],
        json!([])
    );
    let wrong = Blob::of("another").digest.to_string();
    hub.put_manifest("a", &wrong, &image)
        .refuses(400, "DIGEST_INVALID");
    hub.manifest("a", &wrong).refuses(404, "MANIFEST_UNKNOWN");
}

fn a_tag_moves(hub: &Served) {
    let (one, two) = (Image::named("one"), Image::named("two"));
    for image in [&one, &two, &one] {
        hub.push("a", "latest", image);
        assert_eq!(
            hub.manifest("a", "latest").expect(200).body,
            image.manifest.bytes
        );
    }
    hub.manifest("a", &two.digest()).expect(200);
}

fn several_tags_are_set_at_once(hub: &Served) {
    let image = Image::named("tagged");
    hub.push_blobs("a", &image);
    let put = |reference: &str, query: &str| {
        let put = Ask::put(format!("/v2/a/manifests/{reference}?{query}"));
        hub.ask(
            put.with("Content-Type", OCI_MANIFEST)
                .body(image.manifest.bytes.clone()),
        )
    };
    let answer = put(&image.digest(), "tag=1&tag=1.2&tag=1.2.3").expect(201);
    let said: Vec<&str> = answer.header("OCI-Tag").split(", ").collect();
    assert_eq!(said, ["1", "1.2", "1.2.3"]);
    put("latest", "tag=stable").expect(201);
    for tag in ["1", "1.2", "1.2.3", "latest", "stable"] {
        let answer = hub.manifest("a", tag).expect(200);
        assert_eq!(
            answer.header("Docker-Content-Digest"),
            image.digest(),
            "{tag}"
        );
    }
    // All or nothing.
    put(&image.digest(), "tag=good&tag=.bad").refuses(400, "TAG_INVALID");
    hub.manifest("a", "good").refuses(404, "MANIFEST_UNKNOWN");
}

fn any_type_of_manifest_is_kept(hub: &Served) {
    let own = Image::document(
        "application/vnd.example.thing+json",
        &json!({ "a": [1, 2] }),
    );
    let image = Image::named("child");
    hub.push("a", "child", &image);
    let docker = json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": image.blobs[0].descriptor("application/vnd.docker.container.image.v1+json"),
        "layers": [],
    });
    let docker = Image::document(DOCKER_MANIFEST, &docker);
    let list = json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST,
        "manifests": [image.manifest.descriptor(OCI_MANIFEST)],
    });
    let list = Image::document(DOCKER_LIST, &list);
    let index = Image::index(&[&image]);
    for (tag, manifest) in [
        ("own", &own),
        ("docker", &docker),
        ("list", &list),
        ("index", &index),
    ] {
        hub.push("a", tag, manifest);
        let got = hub.manifest("a", tag).expect(200);
        assert_eq!(got.header("Content-Type"), manifest.media_type);
        assert_eq!(got.body, manifest.manifest.bytes);
    }
}

fn a_manifest_comes_back_byte_for_byte(hub: &Served) {
    let config = Blob::of("{}");
    hub.push_blob("a", &config);
    let digest = config.digest;
    let odd = format!(
        "\n{{ \"layers\" : [],\t\"schemaVersion\":2, \"x\": \"\\u00e9 é\", \"y\": 1e3,\r\n\
         \"config\":{{\"size\":2,\"digest\":\"{digest}\",\"mediaType\":\"{CONFIG}\"}}}}\n\n"
    );
    let odd = Image {
        media_type: OCI_MANIFEST.into(),
        manifest: Blob::of(odd),
        blobs: Vec::new(),
    };
    hub.push("a", "odd", &odd);
    assert_eq!(
        hub.manifest("a", "odd").expect(200).body,
        odd.manifest.bytes
    );
}

fn what_a_client_has_is_not_sent_again(hub: &Served) {
    let image = Image::named("known");
    hub.push("a", "latest", &image);
    let etag = hub.manifest("a", "latest").header("ETag").to_owned();
    let ask = |method: &str, known: &str| {
        hub.ask(Ask::new(method, "/v2/a/manifests/latest").with("If-None-Match", known))
    };
    assert_eq!(
        ask("GET", &etag)
            .expect(304)
            .header("Docker-Content-Digest"),
        image.digest()
    );
    ask("HEAD", &format!("\"a\", W/{etag}")).expect(304);
    hub.push("a", "latest", &Image::named("newer"));
    ask("GET", &etag).expect(200);
}

/// A manifest of exactly so many bytes.
fn of_size(size: usize) -> Image {
    let document = |filling: usize| {
        let filling = "x".repeat(filling);
        json!({ "schemaVersion": 2, "manifests": [], "annotations": { "x": filling } })
    };
    let spare = Image::document(OCI_INDEX, &document(0))
        .manifest
        .bytes
        .len();
    let image = Image::document(OCI_INDEX, &document(size - spare));
    assert_eq!(image.manifest.bytes.len(), size);
    image
}

fn a_manifest_may_have_four_mebibytes(hub: &Served) {
    let largest = of_size(4 << 20);
    hub.push("a", "largest", &largest);
    assert!(hub.manifest("a", "largest").expect(200).body == largest.manifest.bytes);
    let beyond = of_size((4 << 20) + 1);
    hub.put_manifest("a", "beyond", &beyond)
        .refuses(413, "SIZE_INVALID");
    let put = Ask::put("/v2/a/manifests/beyond").with("Content-Type", OCI_INDEX);
    hub.ask(put.stream(beyond.manifest.bytes))
        .refuses(413, "SIZE_INVALID");
    hub.manifest("a", "beyond").refuses(404, "MANIFEST_UNKNOWN");
}

fn a_manifest_may_come_without_a_length(hub: &Served) {
    let image = Image::named("streamed");
    hub.push_blobs("a", &image);
    let put = Ask::put("/v2/a/manifests/v1").with("Content-Type", OCI_MANIFEST);
    hub.ask(put.stream(image.manifest.bytes.clone()))
        .expect(201);
    assert_eq!(
        hub.manifest("a", "v1").expect(200).body,
        image.manifest.bytes
    );
}

fn a_manifest_of_the_wrong_kind_is_refused(hub: &Served) {
    let image = Image::named("right");
    hub.push_blobs("a", &image);
    let text = String::from_utf8(image.manifest.bytes.clone()).expect("JSON");
    let both = text.replace("\"config\"", "\"manifests\": [], \"config\"");
    let schema1 = r#"{"schemaVersion": 1, "name": "a", "tag": "v", "fsLayers": []}"#;
    let upper = text.replace("sha256:", "SHA256:");
    let negative = text.replacen("\"size\": ", "\"size\": -", 1);
    for (body, content_type) in [
        ("", OCI_MANIFEST),
        ("not JSON", OCI_MANIFEST),
        ("[]", OCI_MANIFEST),
        ("{}", OCI_MANIFEST),
        (&text[..text.len() - 2], OCI_MANIFEST),
        (&both, OCI_MANIFEST),
        (&text, OCI_INDEX),
        (&text, DOCKER_MANIFEST),
        (&text, "text/plain"),
        (
            schema1,
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        ),
        (schema1, "application/json"),
        (&upper, OCI_MANIFEST),
        (&negative, OCI_MANIFEST),
        (&"[".repeat(200_000), OCI_MANIFEST),
        (&"{\"a\":".repeat(200_000), OCI_INDEX),
    ] {
        let put = Ask::put("/v2/a/manifests/v1").with("Content-Type", content_type);
        hub.ask(put.body(body)).refuses(400, "MANIFEST_INVALID");
    }
    hub.manifest("a", "v1").refuses(404, "MANIFEST_UNKNOWN");
    // Parameters of the type do not matter, and its absence only if the document is silent too.
    let put = Ask::put("/v2/a/manifests/v1").body(text.clone());
    hub.ask(
        put.clone()
            .with("Content-Type", format!("{OCI_MANIFEST}; charset=utf-8")),
    )
    .expect(201);
    hub.ask(put).expect(201);
    assert_eq!(
        hub.manifest("a", "v1").expect(200).header("Content-Type"),
        OCI_MANIFEST
    );
}

fn a_manifest_is_not_taken_before_its_blobs(hub: &Served) {
    let image = Image::named("early");
    let missing = |reference: &str| {
        let refused = hub.put_manifest("a", reference, &image);
        let refused = refused.refuses(400, "MANIFEST_BLOB_UNKNOWN");
        String::from_utf8(refused.body).expect("JSON")
    };
    let named = missing("v1");
    for (n, blob) in image.blobs.iter().enumerate() {
        assert!(
            named.contains(&blob.digest.to_string()),
            "all are named at once: {named}"
        );
        // In another repository it does not count.
        hub.push_blob("b", blob);
        let named = missing(&image.digest());
        assert!(named.contains(&blob.digest.to_string()), "{n}");
        hub.push_blob("a", blob);
        if n + 1 < image.blobs.len() {
            assert!(!missing("v1").contains(&blob.digest.to_string()), "{n}");
        }
    }
    hub.put_manifest("a", "v1", &image).expect(201);
}

fn an_index_is_not_taken_before_its_images(hub: &Served) {
    let images = [Image::named("amd64"), Image::named("arm64")];
    let index = Image::index(&[&images[0], &images[1]]);
    hub.push("a", &images[0].digest(), &images[0]);
    let refused = hub
        .put_manifest("a", "multi", &index)
        .refuses(400, "MANIFEST_BLOB_UNKNOWN");
    let named = String::from_utf8(refused.body).expect("JSON");
    assert!(named.contains(&images[1].digest()) && !named.contains(&images[0].digest()));
    hub.push("a", &images[1].digest(), &images[1]);
    hub.put_manifest("a", "multi", &index).expect(201);
}

/// As many as a client can read; the rest is counted.
fn each_missing_blob_is_an_error_of_its_own(hub: &Served) {
    let blobs: Vec<Blob> = (0..=9_000).map(|n| Blob::of(format!("{n}"))).collect();
    let mut twice = blobs[..3].to_vec();
    twice.push(blobs[2].clone());
    for (blobs, all) in [(&blobs[..1], 1), (&twice, 3), (&blobs[..100], 100)] {
        let refused = hub.put_manifest("a", "v1", &Image::made_of(blobs));
        let refused = refused.refuses(400, "MANIFEST_BLOB_UNKNOWN").json();
        let errors = refused["errors"].as_array().expect("a list");
        assert_eq!(errors.len(), all);
        for (error, blob) in errors.iter().zip(blobs) {
            assert_eq!(error["detail"], format!("push {} first", blob.digest));
        }
    }
    let refused = hub.put_manifest("a", "v1", &Image::made_of(&blobs));
    let refused = refused.refuses(400, "MANIFEST_BLOB_UNKNOWN").json();
    let errors = refused["errors"].as_array().expect("a list");
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[100]["detail"], "push 8901 more first");
}

/// Programs in Go write a list that they left empty as null.
fn a_list_that_is_null_is_empty(hub: &Served) {
    let config = Blob::of("{}");
    hub.push_blob("a", &config);
    let mut config = config.descriptor(CONFIG);
    config["urls"] = json!(null);
    config["annotations"] = json!(null);
    let image = json!({
        "schemaVersion": 2,
        "config": config,
        "layers": null,
        "manifests": null,
        "annotations": null,
        "subject": null,
    });
    let index = json!({
        "schemaVersion": 2,
        "config": null,
        "layers": null,
        "manifests": null,
        "annotations": null,
    });
    for (document, types) in [
        (image, [OCI_MANIFEST, DOCKER_MANIFEST]),
        (index, [OCI_INDEX, DOCKER_LIST]),
    ] {
        for media_type in types {
            let manifest = Image::document(media_type, &document);
            hub.push("a", "v1", &manifest);
            let got = hub.manifest("a", "v1").expect(200);
            assert_eq!(got.header("Content-Type"), media_type);
            assert_eq!(got.body, manifest.manifest.bytes);
        }
    }
}

fn layers_that_must_not_be_distributed_may_be_missing(hub: &Served) {
    let config = Blob::of("{}");
    hub.push_blob("a", &config);
    let far = Blob::of("on somebody else's server");
    for media_type in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        LAYER,
    ] {
        let mut layer = far.descriptor(media_type);
        layer["urls"] = json!(["https://example.com/layer"]);
        let document = json!({
            "schemaVersion": 2,
            "config": config.descriptor(CONFIG),
            "layers": [layer],
        });
        let answer = hub.put_manifest("a", "windows", &Image::document(OCI_MANIFEST, &document));
        if media_type == LAYER {
            answer.refuses(400, "MANIFEST_BLOB_UNKNOWN");
        } else {
            answer.expect(201);
        }
    }
}

fn references_that_are_none_are_refused(hub: &Served) {
    let image = Image::named("x");
    hub.push("a", "v1", &image);
    for (reference, code) in [
        (".hidden", "TAG_INVALID"),
        ("-x", "TAG_INVALID"),
        ("..", "TAG_INVALID"),
        ("%2e%2e", "TAG_INVALID"),
        (&"x".repeat(129), "TAG_INVALID"),
        ("sha256:abc", "DIGEST_INVALID"),
        ("sha256:..%2f..%2f", "NAME_UNKNOWN"),
        ("md5:d41d8cd98f00b204e9800998ecf8427e", "DIGEST_INVALID"),
        (&image.digest().to_uppercase(), "DIGEST_INVALID"),
    ] {
        let status = if code == "NAME_UNKNOWN" { 404 } else { 400 };
        hub.manifest("a", reference).refuses(status, code);
        hub.put_manifest("a", reference, &image)
            .refuses(status, code);
    }
    hub.push("a", &"x".repeat(128), &image);
}

fn a_manifest_is_named_by_sha512(hub: &Served) {
    let image = Image::named("sha512");
    hub.push_blobs("a", &image);
    let digest = Digest::of(Algorithm::Sha512, &image.manifest.bytes).to_string();
    let pushed = hub.put_manifest("a", &digest, &image).expect(201);
    assert_eq!(pushed.header("Docker-Content-Digest"), digest);
    let got = hub.manifest("a", &digest).expect(200);
    assert_eq!(got.header("Docker-Content-Digest"), digest);
    assert_eq!(got.body, image.manifest.bytes);
    hub.manifest("a", &image.digest())
        .refuses(404, "MANIFEST_UNKNOWN");
}

/// `validation` can allow what is refused else.
#[test]
fn an_index_may_be_sparse_where_the_owner_says_so() {
    let index = Image::index(&[&Image::named("amd64"), &Image::named("arm64")]);
    let platforms = "VALIDATION_MANIFESTS_INDEXES_PLATFORMS";
    let hub = Served::with(Place::Disk, &[(platforms, "none")]);
    hub.put_manifest("a", "multi", &index).expect(201);
    hub.put_manifest("a", "x", &Image::named("x"))
        .refuses(400, "MANIFEST_BLOB_UNKNOWN");
    let hub = Served::with(Place::Disk, &[("VALIDATION_DISABLED", "true")]);
    hub.put_manifest("a", "multi", &index).expect(201);
    hub.put_manifest("a", "x", &Image::named("x")).expect(201);
    // Only what runs on a listed platform must be here.
    let list = "[{os: linux, architecture: amd64}]";
    let platform_list = "VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST";
    let hub = Served::with(Place::Disk, &[(platforms, "list"), (platform_list, list)]);
    let image = Image::named("amd64");
    let mut other = Image::named("arm64").manifest.descriptor(OCI_MANIFEST);
    other["platform"] = json!({ "os": "linux", "architecture": "arm64" });
    let mut listed = image.manifest.descriptor(OCI_MANIFEST);
    listed["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let index = json!({ "schemaVersion": 2, "manifests": [other, listed] });
    let index = Image::document(OCI_INDEX, &index);
    hub.put_manifest("a", "multi", &index)
        .refuses(400, "MANIFEST_BLOB_UNKNOWN");
    hub.push("a", &image.digest(), &image);
    hub.put_manifest("a", "multi", &index).expect(201);
}

#[test]
fn urls_of_layers_are_checked_as_the_owner_says() {
    let settings = [
        (
            "VALIDATION_MANIFESTS_URLS_ALLOW",
            "['^https?://([^/]+\\.)*example\\.com/']",
        ),
        (
            "VALIDATION_MANIFESTS_URLS_DENY",
            "['^https?://evil\\.example\\.com/']",
        ),
    ];
    let hub = Served::with(Place::Disk, &settings);
    let config = Blob::of("{}");
    hub.push_blob("a", &config);
    for (url, good) in [
        ("https://layers.example.com/x", true),
        ("https://evil.example.com/x", false),
        ("https://example.org/x", false),
    ] {
        let media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let mut layer = Blob::of(url).descriptor(media_type);
        layer["urls"] = json!([url]);
        let document = json!({
            "schemaVersion": 2,
            "config": config.descriptor(CONFIG),
            "layers": [layer],
        });
        let answer = hub.put_manifest("a", "x", &Image::document(OCI_MANIFEST, &document));
        if good {
            answer.expect(201);
        } else {
            answer.refuses(400, "MANIFEST_INVALID");
        }
    }
}
