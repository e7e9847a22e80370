//! What breaks on the way, and what is still true then.

use lighthouse::oci::Digest;

use crate::hub::seed::{Seed, digest_of};
use crate::hub::{Hub, Rules};
use crate::world::{World, is_kept};

fn layer(seed: &mut Seed, size: usize, salt: usize) -> serde_json::Value {
    // Bytes that do not repeat, so that a mix-up of offsets can't go unnoticed.
    let bytes = (0..size).map(|at| (at.wrapping_mul(at + salt) >> 7) as u8);
    seed.blob(bytes.collect())
}

fn serve(seed: &Seed, rules: Rules) -> Hub {
    Hub::start(Rules {
        repositories: vec![("org/big".into(), seed.clone())],
        ..rules
    })
}

/// Downloads break off every 400,000 bytes and every seventh request fails: each blob goes on
/// where it broke off, so that no byte travels twice.
#[test]
fn cut_downloads_go_on_and_failing_requests_are_repeated() {
    let Some(world) = World::new() else { return };
    let mut seed = Seed::default();
    for number in 0..3 {
        let layers = [layer(&mut seed, 3_000_000, number), layer(&mut seed, 0, 0)];
        let image = seed.image(&layers, ("amd64", None), &number.to_string(), false);
        seed.tag(&format!("v{number}"), digest_of(&image));
    }
    let hub = serve(
        &seed,
        Rules {
            cut: Some(400_000),
            stumble: Some(7),
            ..Rules::default()
        },
    );
    let target = world.registry("target", "");
    let run = world.migrate(&format!(
        "{}/org/big {} --strip-registry",
        hub.registry, target.host
    ));
    run.expect_success();
    assert!(run.peak < 32 << 10, "{} KiB", run.peak);
    target.expect_whole("org/big", &seed);
    let counts = hub.take_counts();
    assert!(counts.ranges >= 3 * 7, "{counts:?}");
    let bytes: usize = seed.blobs.values().map(|blob| blob.len()).sum();
    assert!(
        counts.blob_bytes < bytes as u64 + 500_000,
        "{counts:?} for {bytes} bytes"
    );
}

/// A source that sends all of a blob when asked for the rest of it.
#[test]
fn a_source_without_ranges_is_read_again() {
    let Some(world) = World::new() else { return };
    let mut seed = Seed::default();
    let layer = layer(&mut seed, 3_000_000, 1);
    let image = seed.image(&[layer], ("amd64", None), "1", true);
    seed.tag("1", digest_of(&image));
    let rules = Rules {
        cut: Some(1_000_000),
        cuts_max: 2,
        ranges: false,
        ..Rules::default()
    };
    let hub = serve(&seed, rules);
    let target = world.registry("target", "");
    let run = world.migrate(&format!(
        "{}/org/big {} --strip-registry",
        hub.registry, target.host
    ));
    run.expect_success();
    target.expect_whole("org/big", &seed);
    assert!(hub.take_counts().blob_bytes > 5_000_000, "it was cut twice");
}

/// A damaged blob, a missing one and a manifest that is not what it was: those images fail, each
/// with its cause, nothing of them is kept, and all others arrive.
#[test]
fn one_bad_tag_does_not_stop_the_rest() {
    let Some(world) = World::new() else { return };
    let mut seed = Seed::alpine(1, None);
    let good = seed.clone();
    let mut bad = |tag: &str| {
        let text = format!("the layer of {tag} ").repeat(9000);
        let layer = seed.blob(text.into_bytes());
        let image = seed.image(std::slice::from_ref(&layer), ("amd64", None), tag, false);
        seed.tag(tag, digest_of(&image));
        (digest_of(&layer), digest_of(&image))
    };
    let (damaged, missing, (_, forged)) = (bad("damaged").0, bad("missing").0, bad("forged"));
    let mut bytes = seed.blobs[&damaged].to_vec();
    bytes[5] ^= 1;
    seed.blobs.insert(damaged, bytes.into());
    seed.blobs.remove(&missing);
    let (media_type, bytes) = seed.manifests[&forged].clone();
    seed.manifests
        .insert(forged, (media_type, [&bytes[..], b" "].concat().into()));

    let hub = serve(&seed, Rules::default());
    let target = world.registry("target", "");
    let arguments = format!("{}/org/big {} --strip-registry", hub.registry, target.host);
    let run = world.migrate(&arguments);
    assert_eq!(run.code(), 1, "{}", run.text());
    let failed = |tag: &str, cause: &str| {
        let mut lines = run
            .lines
            .iter()
            .filter(|line| line.contains("did not arrive"));
        let found = lines.any(|line| line.contains(&format!(":{tag}:")) && line.contains(cause));
        assert!(found, "{tag}, {cause}: {}", run.text());
    };
    failed("damaged", "not those of");
    failed("missing", "is not there");
    failed("forged", "not those of");
    let arrived = format!("{} copied", good.tags.len());
    assert!(run.summary().contains(&arrived) && run.summary().contains("3 did not arrive"));
    target.expect_whole("org/big", &good);
    for tag in ["damaged", "missing", "forged"] {
        assert_eq!(
            target.get(&format!("org/big/manifests/{tag}")).0,
            404,
            "{tag}"
        );
    }
    let blobs = world.path("target/docker/registry/v2/blobs");
    assert!(
        !is_kept(&blobs, "the layer of damaged"),
        "nothing damaged is kept there"
    );

    // Mended at the source, a second run brings just those.
    hub.take_counts();
    let mended = mend(&seed, damaged, missing, forged);
    hub.change(|rules| rules.repositories[0].1 = mended.clone());
    let run = world.migrate(&arguments);
    run.expect_success();
    assert!(run.summary().contains("3 copied"), "{}", run.summary());
    assert_eq!(hub.take_counts().pulls, 3);
    target.expect_whole("org/big", &mended);
}

/// The same, as it should have been.
fn mend(seed: &Seed, damaged: Digest, missing: Digest, forged: Digest) -> Seed {
    let mut mended = seed.clone();
    let text = |tag: &str| format!("the layer of {tag} ").repeat(9000).into_bytes();
    mended.blobs.insert(damaged, text("damaged").into());
    mended.blobs.insert(missing, text("missing").into());
    let (media_type, bytes) = seed.manifests[&forged].clone();
    mended
        .manifests
        .insert(forged, (media_type, bytes[..bytes.len() - 1].into()));
    mended
}

/// A destination that goes away while blobs travel to it: the run ends with a cause, and the next
/// one goes on.
#[test]
fn a_destination_that_goes_away_is_reported() {
    let Some(world) = World::new() else { return };
    let hub = serve(&Seed::alpine(1, None), Rules::default());
    let target = world.registry("target", "");
    let host = target.host.clone();
    drop(target);
    let run = world.migrate(&format!(
        "{}/org/big {host} --strip-registry --retries 1 -j 1",
        hub.registry
    ));
    assert_eq!(run.code(), 1);
    assert!(
        run.text().contains(&format!("http://{host}/v2/")),
        "{}",
        run.text()
    );
    assert_eq!(hub.take_counts().blobs, 0, "nothing is downloaded in vain");
}

/// What can't be meant is said before the first request.
#[test]
fn mistakes_are_named() {
    let world = World::new();
    let Some(world) = world else { return };
    for (arguments, cause) in [
        ("alpine", "required"),
        ("alpine http://host", "is not a registry to copy to"),
        ("alpine host/path", "--prefix"),
        ("Alpine host", "is not an image"),
        ("alpine host --platform linux", "is not a platform"),
        ("alpine host --src-user bob", "LIGHTHOUSE_SRC_PASSWORD"),
        ("alpine quay.io/a/b host --src-user bob:x", "several"),
        (
            "docker.io/a/b quay.io/a/b host --strip-registry",
            "two repositories",
        ),
        ("127.0.0.1:1/a 127.0.0.1:1 --strip-registry", "onto itself"),
        ("alpine host --src-ca-file /nonexistent", "/nonexistent"),
        ("alpine host --mirror quay.io", "HOST=MIRROR"),
    ] {
        let run = world.migrate(arguments);
        assert_eq!(run.code(), 2, "{arguments}: {}", run.text());
        assert!(run.stderr.contains(cause), "{arguments}: {}", run.stderr);
    }
}
