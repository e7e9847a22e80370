//! Deleting tags, manifests and blobs (distribution-spec, "Content Management").

use serde_json::json;

use crate::world::{Blob, Image, Place, Served};

journeys!(
    a_tag_is_deleted_and_its_manifest_stays,
    a_manifest_is_deleted_with_its_tags,
    a_blob_is_deleted_in_one_repository,
    what_is_not_there_cannot_be_deleted,
    what_was_deleted_can_be_pushed_again,
);

fn a_tag_is_deleted_and_its_manifest_stays(hub: &Served) {
    let image = Image::named("x");
    hub.push("a", "v1", &image);
    hub.push("a", "v2", &image);
    hub.delete("/v2/a/manifests/v1").expect(202);
    hub.manifest("a", "v1").refuses(404, "MANIFEST_UNKNOWN");
    hub.manifest("a", "v2").expect(200);
    hub.delete("/v2/a/manifests/v2").expect(202);
    assert_eq!(
        hub.manifest("a", &image.digest()).expect(200).body,
        image.manifest.bytes
    );
    assert_eq!(
        hub.get("/v2/a/tags/list").expect(200).json()["tags"],
        json!([])
    );
}

fn a_manifest_is_deleted_with_its_tags(hub: &Served) {
    let (image, other) = (Image::named("x"), Image::named("other"));
    for repository in ["a", "b"] {
        hub.push(repository, "v1", &image);
        hub.push(repository, "latest", &image);
        hub.push(repository, "stays", &other);
    }
    hub.delete(format!("/v2/a/manifests/{}", image.digest()))
        .expect(202);
    for reference in ["v1", "latest", &image.digest()] {
        hub.manifest("a", reference)
            .refuses(404, "MANIFEST_UNKNOWN");
        hub.manifest("b", reference).expect(200);
    }
    assert_eq!(
        hub.get("/v2/a/tags/list").expect(200).json()["tags"],
        json!(["stays"])
    );
    // The last manifest takes its repository along.
    hub.delete(format!("/v2/a/manifests/{}", other.digest()))
        .expect(202);
    assert_eq!(hub.list("/v2/_catalog", "repositories").0, ["b"]);
}

fn a_blob_is_deleted_in_one_repository(hub: &Served) {
    let blob = Blob::of("shared");
    hub.push_blob("a", &blob);
    hub.push_blob("b", &blob);
    hub.delete(format!("/v2/a/blobs/{}", blob.digest))
        .expect(202);
    hub.blob("a", &blob).refuses(404, "BLOB_UNKNOWN");
    assert_eq!(hub.blob("b", &blob).expect(200).body, blob.bytes);
}

fn what_is_not_there_cannot_be_deleted(hub: &Served) {
    let digest = Blob::of("never pushed").digest;
    hub.delete(format!("/v2/a/blobs/{digest}"))
        .refuses(404, "BLOB_UNKNOWN");
    hub.delete(format!("/v2/a/manifests/{digest}"))
        .refuses(404, "MANIFEST_UNKNOWN");
    hub.delete("/v2/a/manifests/v1")
        .refuses(404, "MANIFEST_UNKNOWN");
    hub.delete("/v2/a/tags/list").refuses(405, "UNSUPPORTED");
    hub.delete("/v2/_catalog").refuses(405, "UNSUPPORTED");
}

fn what_was_deleted_can_be_pushed_again(hub: &Served) {
    let image = Image::named("again");
    for _ in 0..3 {
        hub.push("a", "v1", &image);
        assert_eq!(
            hub.manifest("a", "v1").expect(200).body,
            image.manifest.bytes
        );
        for blob in &image.blobs {
            hub.delete(format!("/v2/a/blobs/{}", blob.digest))
                .expect(202);
        }
        hub.put_manifest("a", "v2", &image)
            .refuses(400, "MANIFEST_BLOB_UNKNOWN");
        hub.delete(format!("/v2/a/manifests/{}", image.digest()))
            .expect(202);
    }
}

/// Deletion is off unless it is switched on, for every kind of thing (distribution had a gap).
#[test]
fn nothing_is_deleted_where_deletion_is_off() {
    let hub = Served::with(Place::Disk, &[("STORAGE_DELETE_ENABLED", "false")]);
    let image = Image::named("x");
    hub.push("a", "v1", &image);
    for target in [
        "/v2/a/manifests/v1".to_owned(),
        format!("/v2/a/manifests/{}", image.digest()),
        format!("/v2/a/blobs/{}", image.blobs[0].digest),
        "/v2/a/manifests/not-there".to_owned(),
    ] {
        hub.delete(target).refuses(405, "UNSUPPORTED");
    }
    hub.manifest("a", "v1").expect(200);
    hub.blob("a", &image.blobs[0]).expect(200);
    // An upload is nothing yet, and can be given up all the same.
    hub.delete(hub.begin("a")).expect(204);
}

#[test]
fn what_was_deleted_stays_so_after_a_restart() {
    let dir = tempfile::TempDir::new().expect("a folder");
    let (image, tagged) = (Image::named("gone"), Image::named("tag gone"));
    let hub = Served::at(dir.path(), &[]);
    hub.push("a", "v1", &image);
    hub.push("a", "v2", &tagged);
    hub.delete(format!("/v2/a/manifests/{}", image.digest()))
        .expect(202);
    hub.delete("/v2/a/manifests/v2").expect(202);
    hub.delete(format!("/v2/a/blobs/{}", image.blobs[1].digest))
        .expect(202);
    drop(hub);
    let hub = Served::at(dir.path(), &[]);
    for reference in ["v1", "v2", &image.digest()] {
        hub.manifest("a", reference)
            .refuses(404, "MANIFEST_UNKNOWN");
    }
    hub.manifest("a", &tagged.digest()).expect(200);
    hub.blob("a", &image.blobs[1]).refuses(404, "BLOB_UNKNOWN");
    hub.blob("a", &image.blobs[0]).expect(200);
}
