//! All of alpine, under the quota of those who have no account.

use std::time::Duration;

use crate::hub::seed::Seed;
use crate::hub::{Counts, Hub, Rules};
use crate::world::{Run, World, until};

fn hub(releases: usize, pulls: Option<(u64, Duration)>) -> (Hub, Seed) {
    let seed = Seed::alpine(releases, None);
    let repositories = vec![("library/alpine".to_owned(), seed.clone())];
    (
        Hub::start(Rules {
            repositories,
            pulls,
            ..Rules::default()
        }),
        seed,
    )
}

/// A run is killed in the middle, the next one goes on and finishes by waiting, a third one finds
/// nothing to do; and what there is at the end is what there was, byte for byte.
#[test]
fn alpine_arrives_by_waiting_and_resuming() {
    let Some(world) = World::new() else { return };
    let limit = 100;
    let (hub, seed) = hub(25, Some((limit, Duration::from_millis(800))));
    assert!(seed.tags.len() >= 300, "alpine has several hundred tags");
    let target = world.registry("target", "");
    let arguments = format!("--mirror docker.io={} alpine {}", hub.registry, target.host);

    let mut first = world
        .command(arguments.split_whitespace())
        .spawn()
        .expect("it is built");
    until("a few hundred pulls", || hub.counts().pulls > 3 * limit);
    first.kill().expect("it is ours");
    first.wait().expect("it has ended");
    let before = hub.take_counts();

    let second = world.migrate(&arguments);
    second.expect_success();
    let waits = second
        .lines
        .iter()
        .filter(|line| line.contains("no more for now"))
        .count();
    assert!(waits > 5, "{}", second.text());
    assert!(second.peak < 32 << 10, "{} KiB", second.peak);
    let after = hub.take_counts();
    let pulls = before.pulls + after.pulls;
    // What was under way when the first run was killed is pulled again: four jobs, and an index
    // with its manifests for each.
    let distinct = seed.manifests.len() as u64;
    assert!(
        (distinct..=distinct + 40).contains(&pulls),
        "{pulls} pulls for {distinct} manifests"
    );
    let windows = distinct / limit + 4;
    assert!(
        after.refused <= windows,
        "{} refusals in {windows} windows",
        after.refused
    );
    // These are free, so waiting for pulls is the time for them.
    assert!(
        before.heads.max(after.heads) <= seed.tags.len() as u64,
        "{before:?} {after:?}"
    );
    target.expect_whole("alpine", &seed);

    let third = world.migrate(&arguments);
    third.expect_success();
    let summary = third.summary();
    assert!(
        summary.contains("0 copied") && summary.contains(" 0 pulls"),
        "{summary}"
    );
    let counts = hub.take_counts();
    assert_eq!(
        (counts.pulls, counts.blobs, counts.refused),
        (0, 0, 0),
        "{counts:?}"
    );
}

/// Without a quota: each page, each tag and each manifest and blob is asked for once, and a token
/// is fetched once.
#[test]
fn nothing_is_asked_for_twice() {
    let Some(world) = World::new() else { return };
    let (hub, seed) = hub(10, None);
    let target = world.registry("target", "");
    let run = world.migrate(&format!(
        "--mirror docker.io={} --format json alpine {}",
        hub.registry, target.host
    ));
    run.expect_success();
    let counts = hub.take_counts();
    assert!(
        counts.referrers <= 4,
        "four workers may ask at once whether there is such an API"
    );
    let expected = Counts {
        pages: (seed.tags.len() as u64).div_ceil(100),
        heads: seed.tags.len() as u64,
        pulls: seed.manifests.len() as u64,
        blobs: seed.blobs.len() as u64,
        blob_bytes: seed.blobs.values().map(|blob| blob.len() as u64).sum(),
        referrers: counts.referrers,
        tokens: 1,
        challenges: 1,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
    target.expect_whole("alpine", &seed);
    let summary: serde_json::Value = serde_json::from_str(run.summary()).expect("JSON");
    assert_eq!(summary["copied"], seed.tags.len());
    assert_eq!(summary["pulls"], seed.manifests.len());
    assert_eq!(summary["blobs"], seed.blobs.len());
}

/// The destination that this is for.
#[test]
fn alpine_arrives_in_a_registry_of_ours() {
    let Some(world) = World::new() else { return };
    let (hub, seed) = hub(3, None);
    let target = world.lighthouse("target");
    let arguments = format!("--mirror docker.io={} alpine {}", hub.registry, target.host);
    world.migrate(&arguments).expect_success();
    target.expect_whole("alpine", &seed);
    hub.take_counts();
    let again = world.migrate(&arguments);
    again.expect_success();
    assert!(again.summary().contains("0 copied"), "{}", again.summary());
    let counts = hub.take_counts();
    assert_eq!((counts.pulls, counts.blobs), (0, 0));
}

/// A dry run moves nothing, says what there is to do, and spares the quota.
#[test]
fn a_dry_run_tells_and_touches_nothing() {
    let Some(world) = World::new() else { return };
    let (hub, seed) = hub(2, Some((100, Duration::from_secs(21_600))));
    let target = world.registry("target", "");
    let arguments = format!(
        "--mirror docker.io={} --dry-run --format json alpine {}",
        hub.registry, target.host
    );
    let run = world.migrate(&arguments);
    run.expect_success();
    let counts = hub.take_counts();
    assert!(counts.pulls <= 10, "{counts:?}");
    assert_eq!(counts.blobs, 0);
    assert_eq!(target.get("alpine/tags/list").0, 404, "nothing was written");
    assert!(
        !world.path("home").exists(),
        "there is nothing to go on with"
    );
    let summary: serde_json::Value = serde_json::from_str(run.summary()).expect("JSON");
    let pulls = summary["estimate"]["pulls"].as_u64().expect("a number");
    let manifests = seed.manifests.len() as u64;
    assert!(
        (manifests * 9 / 10..=manifests * 11 / 10).contains(&pulls),
        "{pulls} of {manifests}"
    );
    assert_eq!(summary["estimate"]["is_exact"], false);

    hub.change(|rules| rules.pulls = None);
    let run = world.migrate(&arguments);
    let summary: serde_json::Value = serde_json::from_str(run.summary()).expect("JSON");
    assert_eq!(summary["estimate"]["pulls"], manifests);
    let bytes = seed.blobs.values().map(|blob| blob.len()).sum::<usize>()
        + seed
            .manifests
            .values()
            .map(|(_, bytes)| bytes.len())
            .sum::<usize>();
    assert_eq!(summary["estimate"]["bytes"], bytes);
    assert_eq!(summary["estimate"]["is_exact"], true);
}

/// A run that was killed does not ask the source again for what it had brought.
#[test]
fn the_journal_spares_questions_and_believes_only_the_destination() {
    let Some(world) = World::new() else { return };
    let (hub, seed) = hub(2, None);
    let target = world.registry("target", "");
    let journal = world.path("journal");
    let arguments = format!(
        "--mirror docker.io={} --journal {} alpine {}",
        hub.registry,
        journal.display(),
        target.host
    );
    let mut child = world
        .command(arguments.split_whitespace())
        .spawn()
        .expect("it is built");
    let noted = || {
        std::fs::read_to_string(&journal)
            .unwrap_or_default()
            .lines()
            .count() as u64
    };
    until("a few tags", || noted() > 5);
    child.kill().expect("it is ours");
    child.wait().expect("it has ended");
    hub.take_counts();
    let known = noted();
    // One of them is gone from the destination in the meantime.
    let text = std::fs::read_to_string(&journal).expect("a journal");
    let entry: serde_json::Value =
        serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    let tag = entry["name"].as_str().expect("a tag");
    let tags = world.path("target/docker/registry/v2/repositories/alpine/_manifests/tags");
    std::fs::remove_dir_all(tags.join(tag)).expect("the tag was there");

    let run = Run::of(&mut world.command(arguments.split_whitespace()));
    run.expect_success();
    let counts = hub.take_counts();
    let asked = seed.tags.len() as u64 - known + 1;
    assert!(
        (asked..=asked + 1).contains(&counts.heads),
        "{counts:?}, {known} known"
    );
    target.expect_whole("alpine", &seed);
    assert!(!journal.exists(), "nothing is left to go on with");
}
