//! What a manifest is said to be, and what a browser makes of it (RFC 6838, section 4.2;
//! image-spec, media-types.md).

use std::path::Path;

use lighthouse::oci::manifest::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use serde_json::json;
use tempfile::TempDir;

use crate::tree::hand_over;
use crate::world::{Answer, Ask, Blob, Image, Place, Served};

journeys!(
    a_type_that_is_none_of_a_manifest_is_refused,
    the_same_bytes_may_be_of_two_types,
    contents_are_no_page_of_ours,
);

/// What would be a page of this host to a browser, or more than one header.
const BAD: [&str; 9] = [
    "text/html",
    "image/svg+xml",
    "*/*",
    "application/",
    "application/x/y",
    "application/<script>",
    "application/.hidden",
    "application/x y",
    "application/x\r\nX-Evil: 1",
];

fn a_type_that_is_none_of_a_manifest_is_refused(hub: &Served) {
    let put = |said: Option<&str>, own: Option<&str>| {
        let document = json!({ "mediaType": own, "manifests": [] });
        let put = Ask::put("/v2/a/manifests/v1").body(document.to_string());
        hub.ask(match said {
            Some(said) => put.with("Content-Type", said),
            None => put,
        })
    };
    let (longest, longer) = ("x".repeat(127), "x".repeat(128));
    let longer = format!("application/{longer}");
    for bad in BAD.into_iter().chain([&*longer]) {
        let refused = put(None, Some(bad)).refuses(400, "MANIFEST_INVALID");
        let cause = refused.json()["errors"][0]["detail"].to_string();
        assert!(cause.contains("application/"), "{cause}");
        if !bad.contains('\r') {
            put(Some(bad), None).refuses(400, "MANIFEST_INVALID");
            put(Some(bad), Some(bad)).refuses(400, "MANIFEST_INVALID");
        }
    }
    hub.manifest("a", "v1").refuses(404, "MANIFEST_UNKNOWN");
    for good in [
        "application/json",
        "application/vnd.x-y_z.1+json",
        &format!("application/{longest}"),
    ] {
        put(Some(good), None).expect(201);
        let got = hub.manifest("a", "v1").expect(200);
        assert_eq!(got.header("Content-Type"), good);
        put(None, Some(good)).expect(201);
    }
}

/// What another program, or an older one of ours, has left on disk is served as what it can be.
#[test]
fn a_stored_type_that_is_none_is_not_printed() {
    let dir = TempDir::new().expect("a folder");
    let image = Image::named("x");
    Served::at(dir.path(), &[]).push("a", "v1", &image);
    let repository = dir.path().join("docker/registry/v2/repositories/a");
    let revision = |digest: &str| {
        let digest = digest.replace(':', "/");
        repository.join("_manifests/revisions").join(digest)
    };
    let good = |hub: &Served, reference: &str, media_type: &str| {
        hub.await_ready();
        for method in ["GET", "HEAD"] {
            let target = format!("/v2/a/manifests/{reference}");
            let got = hub.ask(Ask::new(method, target)).expect(200);
            assert_eq!(got.header("Content-Type"), media_type, "{got}");
            assert_eq!(got.find("X-Evil"), None);
        }
    };
    for bad in BAD.into_iter().chain(["", "\0", "é"]) {
        hand_over(dir.path());
        std::fs::write(revision(&image.digest()).join("mediatype"), bad).expect("written");
        good(&Served::at(dir.path(), &[]), "v1", OCI_MANIFEST);
    }
    hand_over(dir.path());
    let mut left = Vec::new();
    for bad in BAD {
        for (list, media_type) in [("manifests", OCI_INDEX), ("layers", OCI_MANIFEST)] {
            let document = json!({ "schemaVersion": 2, "mediaType": bad, list: [] });
            let Blob { bytes, digest } = Blob::of(document.to_string());
            let hex = digest.hex();
            let blob = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
            lay(&dir.path().join(blob), &bytes);
            let digest = digest.to_string();
            lay(&revision(&digest).join("link"), digest.as_bytes());
            left.push((digest, media_type));
        }
    }
    let hub = Served::at(dir.path(), &[]);
    for (digest, media_type) in left {
        good(&hub, &digest, media_type);
    }
}

fn lay(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

/// Each repository serves a manifest as what was pushed to it, however often others are asked.
fn the_same_bytes_may_be_of_two_types(hub: &Served) {
    let document = json!({
        "schemaVersion": 2,
        "config": Blob::of("{}").descriptor("application/x"),
        "layers": [],
    });
    let image = |media_type| Image {
        blobs: vec![Blob::of("{}")],
        ..Image::document(media_type, &document)
    };
    for (repository, media_type) in [("a", OCI_MANIFEST), ("b", DOCKER_MANIFEST)] {
        hub.push(repository, "v1", &image(media_type));
    }
    for (repository, media_type) in [
        ("a", OCI_MANIFEST),
        ("b", DOCKER_MANIFEST),
        ("a", OCI_MANIFEST),
    ] {
        let got = hub.manifest(repository, "v1").expect(200);
        assert_eq!(got.header("Content-Type"), media_type, "{repository}");
    }
}

/// Whoever pushes says what the bytes are; a browser must not run them as a page of this host.
#[track_caller]
fn is_inert(answer: &Answer) {
    assert_eq!(answer.header("X-Content-Type-Options"), "nosniff");
    assert_eq!(answer.header("Content-Security-Policy"), "sandbox");
}

fn contents_are_no_page_of_ours(hub: &Served) {
    let page = Blob::of("<script>alert(document.domain)</script>");
    hub.push_blob("a", &page);
    hub.push("a", "v1", &Image::named("x"));
    let blob = format!("/v2/a/blobs/{}", page.digest);
    for target in [&*blob, "/v2/a/manifests/v1"] {
        is_inert(&hub.get(target).expect(200));
        is_inert(&hub.head(target).expect(200));
    }
    let part = Ask::get(&blob).with("Range", "bytes=1-3");
    is_inert(&hub.ask(part).expect(206));
}

/// What an answer says of itself is not said twice, nor otherwise.
#[test]
fn headers_of_the_owner_do_not_come_twice() {
    let headers = "{x-content-type-options: [nosniff], Content-Security-Policy: [\"frame-src *\"]}";
    let hub = Served::with(Place::Disk, &[("HTTP_HEADERS", headers)]);
    let blob = Blob::of("x");
    hub.push_blob("a", &blob);
    is_inert(&hub.blob("a", &blob).expect(200));
    let base = hub.get("/v2/").expect(200);
    assert_eq!(base.header("X-Content-Type-Options"), "nosniff");
    assert_eq!(base.header("Content-Security-Policy"), "frame-src *");
}
