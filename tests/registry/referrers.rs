//! Listing referrers (distribution-spec, "Listing Referrers", "Pushing Manifests with Subject").

use lighthouse::oci::manifest::{OCI_INDEX, OCI_MANIFEST};
use serde_json::{Value, json};

use crate::world::{Blob, Image, Served};

journeys!(
    referrers_are_listed_as_an_index,
    referrers_are_filtered_by_type,
    a_subject_may_come_later_or_never,
    an_index_may_refer_too,
    a_deleted_referrer_is_listed_no_more,
    referrers_are_asked_for_by_digest,
);

#[track_caller]
fn referrers(hub: &Served, subject: &Image, query: &str) -> Vec<Value> {
    let answer = hub
        .get(format!("/v2/a/referrers/{}{query}", subject.digest()))
        .expect(200);
    assert_eq!(answer.header("Content-Type"), OCI_INDEX);
    let filtered = answer.find("OCI-Filters-Applied");
    assert_eq!(filtered, (!query.is_empty()).then_some("artifactType"));
    let index = answer.json();
    assert_eq!(
        (&index["schemaVersion"], &index["mediaType"]),
        (&json!(2), &json!(OCI_INDEX))
    );
    index["manifests"].as_array().expect("a list").clone()
}

fn referrers_are_listed_as_an_index(hub: &Served) {
    let subject = Image::named("subject");
    hub.push("a", "v1", &subject);
    assert!(referrers(hub, &subject, "").is_empty());
    let signature = Image::referring_to(&subject, "application/x.signature");
    let pushed = hub.push("a", &signature.digest(), &signature);
    assert_eq!(pushed.header("OCI-Subject"), subject.digest());
    let expected = json!({
        "mediaType": OCI_MANIFEST,
        "digest": signature.digest(),
        "size": signature.manifest.bytes.len(),
        "artifactType": "application/x.signature",
        "annotations": { "kind": "application/x.signature" },
    });
    assert_eq!(referrers(hub, &subject, ""), [expected]);
    // Another repository has other referrers, and nobody refers to what nobody knows.
    let elsewhere = hub
        .get(format!("/v2/b/referrers/{}", subject.digest()))
        .expect(200);
    assert_eq!(elsewhere.json()["manifests"], json!([]));
    assert!(
        hub.push("a", "plain", &Image::named("plain"))
            .find("OCI-Subject")
            .is_none()
    );
}

fn referrers_are_filtered_by_type(hub: &Served) {
    let subject = Image::named("subject");
    hub.push("a", "v1", &subject);
    let kinds = ["application/x.sbom", "application/x.signature+json"];
    for kind in kinds {
        let referrer = Image::referring_to(&subject, kind);
        hub.push("a", &referrer.digest(), &referrer);
    }
    // Without a type of its own it has that of its configuration.
    let config = Blob::of("{\"a\":1}");
    hub.push_blob("a", &config);
    let document = json!({
        "schemaVersion": 2,
        "config": config.descriptor("application/x.config"),
        "layers": [],
        "subject": subject.manifest.descriptor(OCI_MANIFEST),
    });
    let untyped = Image::document(OCI_MANIFEST, &document);
    hub.push("a", &untyped.digest(), &untyped);
    assert_eq!(referrers(hub, &subject, "").len(), 3);
    for (query, kind) in [
        ("application/x.sbom", kinds[0]),
        ("application%2Fx.signature%2Bjson", kinds[1]),
        ("application/x.signature+json", kinds[1]),
        ("application/x.config", "application/x.config"),
    ] {
        let listed = referrers(hub, &subject, &format!("?artifactType={query}"));
        assert_eq!(listed.len(), 1, "{query}");
        assert_eq!(listed[0]["artifactType"], kind);
    }
    assert!(referrers(hub, &subject, "?artifactType=application/x.other").is_empty());
}

fn a_subject_may_come_later_or_never(hub: &Served) {
    let subject = Image::named("later");
    let referrer = Image::referring_to(&subject, "application/x.signature");
    let pushed = hub.push("a", "signature", &referrer);
    assert_eq!(pushed.header("OCI-Subject"), subject.digest());
    assert_eq!(referrers(hub, &subject, "").len(), 1);
    hub.manifest("a", &subject.digest())
        .refuses(404, "MANIFEST_UNKNOWN");
    hub.push("a", "v1", &subject);
    assert_eq!(referrers(hub, &subject, "").len(), 1);
}

fn an_index_may_refer_too(hub: &Served) {
    let subject = Image::named("subject");
    hub.push("a", "v1", &subject);
    let document = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "artifactType": "application/x.bundle",
        "manifests": [subject.manifest.descriptor(OCI_MANIFEST)],
        "subject": subject.manifest.descriptor(OCI_MANIFEST),
    });
    let index = Image::document(OCI_INDEX, &document);
    hub.push("a", &index.digest(), &index);
    let listed = referrers(hub, &subject, "?artifactType=application/x.bundle");
    assert_eq!(
        (listed.len(), &listed[0]["mediaType"]),
        (1, &json!(OCI_INDEX))
    );
}

fn a_deleted_referrer_is_listed_no_more(hub: &Served) {
    let subject = Image::named("subject");
    hub.push("a", "v1", &subject);
    let pair = ["one", "two"].map(|kind| Image::referring_to(&subject, kind));
    for referrer in &pair {
        hub.push("a", &referrer.digest(), referrer);
    }
    hub.delete(format!("/v2/a/manifests/{}", pair[0].digest()))
        .expect(202);
    let listed = referrers(hub, &subject, "");
    assert_eq!(
        (listed.len(), &listed[0]["digest"]),
        (1, &json!(pair[1].digest()))
    );
    // Those who refer outlive their subject.
    hub.delete(format!("/v2/a/manifests/{}", subject.digest()))
        .expect(202);
    assert_eq!(referrers(hub, &subject, "").len(), 1);
}

fn referrers_are_asked_for_by_digest(hub: &Served) {
    for reference in ["v1", "sha256:abc", "md5:x"] {
        hub.get(format!("/v2/a/referrers/{reference}"))
            .refuses(400, "DIGEST_INVALID");
    }
    hub.get(format!("/v2/A/referrers/{}", Blob::of("").digest))
        .refuses(400, "NAME_INVALID");
}

/// They are found in the manifests themselves, so nothing is lost with the memory of a server.
#[test]
fn referrers_survive_a_restart() {
    let dir = tempfile::TempDir::new().expect("a folder");
    let subject = Image::named("subject");
    let before = Image::referring_to(&subject, "before");
    let after = Image::referring_to(&subject, "after");
    Served::at(dir.path(), &[]).push("a", &before.digest(), &before);
    let hub = Served::at(dir.path(), &[]);
    hub.push("a", &after.digest(), &after);
    assert_eq!(referrers(&hub, &subject, "").len(), 2);
}
