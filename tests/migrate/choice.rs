//! What is chosen, and what belongs to it.

use lighthouse::oci::manifest::{DOCKER_LIST, OCI_INDEX};
use serde_json::{Value, json};

use crate::hub::seed::{Seed, digest_of};
use crate::hub::{Hub, Rules};
use crate::world::{Registry, World};

fn hub(seed: &Seed, referrers: bool) -> Hub {
    let repositories = vec![("org/app".to_owned(), seed.clone())];
    Hub::start(Rules {
        repositories,
        referrers,
        ..Rules::default()
    })
}

fn tags(registry: &Registry, repository: &str) -> Vec<String> {
    let (_, _, body) = registry.get(&format!("{repository}/tags/list"));
    let list: Value = serde_json::from_slice(&body).expect("JSON");
    let mut tags: Vec<String> = serde_json::from_value(list["tags"].clone()).expect("tags");
    tags.sort();
    tags
}

#[test]
fn tags_are_chosen_by_glob_and_version() {
    let Some(world) = World::new() else { return };
    let seed = Seed::alpine(3, None);
    let hub = hub(&seed, false);
    let target = world.registry("target", "");
    let run = world.migrate(&format!(
        "{}/org/app {} --strip-registry --prefix some/where --include 3.* --exclude *-r? \
         --latest 3",
        hub.registry, target.host
    ));
    run.expect_success();
    assert_eq!(
        tags(&target, "some/where/org/app"),
        ["3.2.1", "3.2.2", "3.2.3"]
    );
    let other = world.registry("other", "");
    let run = world.migrate(&format!(
        "{0}/org/app:3.1 {0}/org/app:edge {1}",
        hub.registry, other.host
    ));
    run.expect_success();
    assert_eq!(tags(&other, "127.0.0.1/org/app"), ["3.1", "edge"]);
    // By digest alone, and by tag and digest: that is one image, which is pulled once.
    hub.take_counts();
    let digest = seed.tags["3.0"];
    let run = world.migrate(&format!(
        "{0}/org/app@{digest} {0}/org/app:pinned@{digest} {1} --prefix by",
        hub.registry, other.host
    ));
    run.expect_success();
    assert_eq!(tags(&other, "by/127.0.0.1/org/app"), ["pinned"]);
    assert_eq!(hub.take_counts().pulls, 9);
    assert_eq!(
        other
            .get(&format!("by/127.0.0.1/org/app/manifests/{digest}"))
            .0,
        200
    );
}

/// One platform alone stands in for the index; of several, the index stays what it is, which this
/// destination does not take.
#[test]
fn platforms_are_chosen() {
    let Some(world) = World::new() else { return };
    let mut seed = Seed::alpine(1, None);
    seed.tags.retain(|tag, _| tag == "3.0.0" || tag == "3.0.1");
    let layer = seed.blob(b"for amd64".to_vec());
    let mut image = seed.image(&[layer], ("amd64", None), "one", true);
    image["platform"] = json!({ "os": "windows", "architecture": "amd64" });
    let list = json!({ "schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [image] });
    let list = seed.manifest(DOCKER_LIST, &list);
    seed.tag("windows", digest_of(&list));
    let hub = hub(&seed, false);
    let target = world.registry("target", "");
    let arguments = format!("{}/org/app {} --strip-registry", hub.registry, target.host);
    let run = world.migrate(&format!("{arguments} --platform linux/arm/v7"));
    run.expect_success();
    assert!(run.summary().contains("2 copied"), "{}", run.summary());
    assert!(
        run.summary().contains("1 have nothing for the platform"),
        "{}",
        run.summary()
    );
    let (_, _, bytes) = target.get("org/app/manifests/3.0.1");
    let index: Value =
        serde_json::from_slice(&seed.manifests[&seed.tags["3.0.1"]].1).expect("JSON");
    let expected = digest_of(&index["manifests"][3]);
    assert!(
        bytes == *seed.manifests[&expected].1,
        "it is the manifest for arm/v7"
    );
    let again = world.migrate(&format!("{arguments} --platform linux/arm/v7"));
    assert!(
        again.summary().contains("0 copied, 2 were there"),
        "{}",
        again.summary()
    );

    let run = world.migrate(&format!("{arguments} --platform linux/arm/v7,linux/386"));
    assert_eq!(run.code(), 1);
    assert!(
        run.text().contains("MANIFEST_BLOB_UNKNOWN"),
        "{}",
        run.text()
    );
}

/// An image with a signature that is itself signed, and tags as cosign sets them: one for the
/// image, one for another.
struct Signed {
    seed: Seed,
    image: Value,
    signature: Value,
    counter: Value,
}

impl Signed {
    fn new() -> Signed {
        let mut seed = Seed::default();
        let layer = seed.blob(b"a layer".to_vec());
        let image = seed.image(&[layer], ("amd64", None), "1", false);
        seed.tag("1", digest_of(&image));
        let kind = "application/vnd.example.signature";
        let signature = seed.artifact(kind, &image, "signed");
        let counter = seed.artifact(kind, &signature, "counter-signed");
        let cosign_layer = seed.blob(b"a signature".to_vec());
        let cosign = digest_of(&seed.image(&[cosign_layer], ("", None), "sig", false));
        for subject in [digest_of(&image).hex(), "0".repeat(64)] {
            seed.tag(&format!("sha256-{subject}.sig"), cosign);
        }
        Signed {
            seed,
            image,
            signature,
            counter,
        }
    }

    /// The tag that cosign sets.
    fn cosign(&self) -> String {
        fallback(&self.image) + ".sig"
    }
}

/// The tag that lists the referrers of a manifest where there is no API for it.
fn fallback(subject: &Value) -> String {
    format!("sha256-{}", digest_of(subject).hex())
}

/// Signatures come along, however they are attached: listed by the source, under the tag that the
/// spec falls back to, or under cosign's tags.
#[test]
fn signatures_come_along() {
    let Some(world) = World::new() else { return };
    let signed = Signed::new();
    let Signed {
        seed,
        image,
        signature,
        counter,
    } = &signed;
    let hub = hub(seed, true);
    let target = world.registry("target", "");
    let arguments = |from: &str, to: &str| format!("{from}/org/app:1 {to} --strip-registry");
    world
        .migrate(&arguments(&hub.registry, &target.host))
        .expect_success();
    // Those of other images stay where they are.
    let mut expected = [
        "1".into(),
        signed.cosign(),
        fallback(image),
        fallback(signature),
    ];
    expected.sort();
    assert_eq!(tags(&target, "org/app"), expected);
    // docker-registry can't list referrers, so the index for that is written by the client.
    for (subject, referrer) in [(image, signature), (signature, counter)] {
        let (status, kind, body) = target.get(&format!("org/app/manifests/{}", fallback(subject)));
        assert_eq!((status, kind.as_str()), (200, OCI_INDEX));
        let index: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(index["manifests"], json!([referrer]));
        let digest = digest_of(referrer);
        let (status, _, bytes) = target.get(&format!("org/app/manifests/{digest}"));
        assert!(status == 200 && bytes == *seed.manifests[&digest].1);
    }
    hub.take_counts();
    let again = world.migrate(&arguments(&hub.registry, &target.host));
    assert!(
        again.summary().contains("0 copied, 2 were there; 0 B"),
        "{}",
        again.summary()
    );
    let counts = hub.take_counts();
    assert_eq!((counts.pulls, counts.blobs), (0, 0));

    // From a registry that only has the tags to one that only has the tags.
    let other = world.registry("other", "");
    world
        .migrate(&arguments(&target.host, &other.host))
        .expect_success();
    assert_eq!(tags(&other, "org/app"), expected);

    let bare = world.registry("bare", "");
    let without = arguments(&hub.registry, &bare.host) + " --no-referrers";
    world.migrate(&without).expect_success();
    assert_eq!(tags(&bare, "org/app"), ["1"]);
}

/// A registry of ours lists them by itself; and from there, nothing is lost either.
#[test]
fn signatures_are_listed_by_a_registry_of_ours() {
    let Some(world) = World::new() else { return };
    let signed = Signed::new();
    let hub = hub(&signed.seed, true);
    let (ours, onward) = (world.lighthouse("ours"), world.lighthouse("onward"));
    for (from, to) in [(&hub.registry, &ours), (&ours.host, &onward)] {
        let run = world.migrate(&format!("{from}/org/app:1 {} --strip-registry", to.host));
        run.expect_success();
        assert_eq!(tags(to, "org/app"), ["1".to_owned(), signed.cosign()]);
        for (subject, referrer) in [
            (&signed.image, &signed.signature),
            (&signed.signature, &signed.counter),
        ] {
            let (_, _, body) = to.get(&format!("org/app/referrers/{}", digest_of(subject)));
            let index: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(index["manifests"], json!([referrer]));
        }
    }
}

/// Layers that two repositories share travel once; and within one registry, not at all.
#[test]
fn shared_layers_are_mounted() {
    let Some(world) = World::new() else { return };
    let seed = Seed::alpine(1, None);
    let repositories = vec![
        ("org/app".to_owned(), seed.clone()),
        ("org/web".into(), seed.clone()),
    ];
    let hub = Hub::start(Rules {
        repositories,
        ..Rules::default()
    });
    let target = world.registry("target", "");
    let run = world.migrate(&format!(
        "{0}/org/app {0}/org/web {1} --strip-registry --format json",
        hub.registry, target.host
    ));
    run.expect_success();
    let summary: Value = serde_json::from_str(run.summary()).expect("JSON");
    let blobs = seed.blobs.len();
    assert_eq!(
        (&summary["blobs"], &summary["mounted"]),
        (&json!(blobs), &json!(blobs))
    );
    assert_eq!(hub.take_counts().blobs, blobs as u64);
    target.expect_whole("org/app", &seed);
    target.expect_whole("org/web", &seed);

    let run = world.migrate(&format!("{0}/org/app {0} --format json", target.host));
    run.expect_success();
    let summary: Value = serde_json::from_str(run.summary()).expect("JSON");
    assert_eq!(
        (&summary["blobs"], &summary["mounted"]),
        (&json!(0), &json!(blobs))
    );
    target.expect_whole("127.0.0.1/org/app", &seed);
}
