//! kill -9, again and again, in the middle of everything: what was acknowledged is there.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use lighthouse::oci::Digest;
use tempfile::TempDir;

use crate::world::image::Noise;
use crate::world::{Answer, Ask, Blob, Hub, Image, Line, Program};

const ROUNDS: u64 = 16;
const CLIENTS: u64 = 3;
const TAGS: u64 = 4;

/// What the clients were told, and what they have asked for since.
#[derive(Default)]
struct Told {
    /// Blobs and manifests that were acknowledged, by repository.
    kept: HashSet<(String, Digest)>,
    /// For each tag: what it was acknowledged to be, or was asked to be without an answer.
    tags: HashMap<(String, String), HashSet<Option<Digest>>>,
}

impl Told {
    /// From now on a tag may be this, or still what it was: at first, nothing.
    fn maybe(&mut self, at: &(String, String), digest: Option<Digest>) {
        let nothing = || HashSet::from([None]);
        let possible = self.tags.entry(at.clone()).or_insert_with(nothing);
        possible.insert(digest);
    }
}

/// Asks on a connection of its own; an error when the registry is gone.
fn ask(hub: &Hub, ask: Ask) -> io::Result<Answer> {
    let mut line = Line::try_to(&hub.address)?;
    line.try_say(ask.bytes())?;
    let answer = line.try_hear(&ask.method)?;
    assert!(answer.status < 500, "{answer}");
    Ok(answer)
}

/// Pushes a blob in one of the ways that clients have.
fn push_blob(hub: &Hub, repository: &str, blob: &Blob, way: u64) -> io::Result<()> {
    let uploads = format!("/v2/{repository}/blobs/uploads/");
    if way == 0 {
        let post = Ask::post(format!("{uploads}?digest={}", blob.digest));
        ask(hub, post.body(blob.bytes.clone()))?.expect(201);
        return Ok(());
    }
    let begun = ask(hub, Ask::post(uploads))?.expect(202);
    let put = Ask::put(format!(
        "{}?digest={}",
        begun.header("Location"),
        blob.digest
    ));
    if way == 1 {
        ask(hub, put.body(blob.bytes.clone()))?.expect(201);
    } else {
        let patch = Ask::patch(begun.header("Location")).stream(blob.bytes.clone());
        ask(hub, patch)?.expect(202);
        ask(hub, put)?.expect(201);
    }
    Ok(())
}

/// A client that pushes images, moves tags and deletes them, until the registry is gone.
fn client(hub: &Hub, name: u64, noise: &mut Noise, told: &Mutex<Told>) -> io::Result<()> {
    // Each client has tags of its own, so that it knows what they are.
    let repository = format!("team/{name}");
    let told = || told.lock().expect("no panic");
    loop {
        let size = 1 << noise.below(18);
        let blobs = [0; 3].map(|_| Blob::noise(size as usize + 1, noise.draw()));
        for blob in &blobs {
            push_blob(hub, &repository, blob, noise.below(3))?;
            told().kept.insert((repository.clone(), blob.digest));
        }
        let image = Image::made_of(&blobs);
        let tag = format!("v{}", noise.below(TAGS));
        let at = (repository.clone(), tag.clone());
        let digest = image.manifest.digest;
        let target = format!("/v2/{repository}/manifests/{tag}");
        told().maybe(&at, Some(digest));
        let put = Ask::put(&target).with("Content-Type", &image.media_type);
        ask(hub, put.body(image.manifest.bytes))?.expect(201);
        let mut now = told();
        now.kept.insert((repository.clone(), digest));
        now.tags.insert(at.clone(), HashSet::from([Some(digest)]));
        if noise.below(4) == 0 {
            now.maybe(&at, None);
            drop(now);
            ask(hub, Ask::delete(&target))?.expect(202);
            told().tags.insert(at, HashSet::from([None]));
        }
    }
}

/// Everything that was acknowledged can be had, and nothing that can be had is broken.
fn verify(hub: &Hub, told: &mut Told, seed: u64) {
    for (repository, digest) in &told.kept {
        let blob = hub.get(format!("/v2/{repository}/blobs/{digest}"));
        let found = match blob.status {
            200 => blob,
            _ => hub.get(format!("/v2/{repository}/manifests/{digest}")),
        };
        assert_eq!(found.status, 200, "seed {seed}: {repository} lost {digest}");
        let hash = Digest::of(digest.algorithm(), &found.body);
        assert_eq!(hash, *digest, "seed {seed}: {repository} changed {digest}");
    }
    for ((repository, tag), possible) in &mut told.tags {
        let found = hub.manifest(repository, tag);
        let digest = match found.status {
            200 => Some(
                found
                    .header("Docker-Content-Digest")
                    .parse::<Digest>()
                    .expect("one"),
            ),
            404 => None,
            _ => panic!("seed {seed}: {repository}:{tag}: {found}"),
        };
        assert!(
            possible.contains(&digest),
            "seed {seed}: {repository}:{tag} is {digest:?}, not of {possible:?}"
        );
        *possible = HashSet::from([digest]);
        if digest.is_some() {
            let manifest = found.json();
            let layers = manifest["layers"].as_array().expect("layers").iter();
            for needed in layers.chain([&manifest["config"]]) {
                let digest = needed["digest"].as_str().expect("a digest");
                hub.get(format!("/v2/{repository}/blobs/{digest}"))
                    .expect(200);
            }
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = TempDir::new().expect("a folder");
    let seed = match std::env::var("JOURNEY_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("now")
            .as_micros() as u64,
    };
    println!("JOURNEY_SEED={seed}");
    let mut noise = Noise::new(seed);
    let told = Mutex::new(Told::default());
    for _ in 0..ROUNDS {
        let program = Program::serve(dir.path(), &[("LOG_ACCESSLOG_DISABLED", "true")]);
        let hub = Hub {
            address: program.address.clone(),
        };
        let enough = told.lock().expect("no panic").kept.len() as u64 + 1 + noise.below(12);
        let moment = noise.below(3000);
        let seeds: Vec<u64> = (0..CLIENTS).map(|_| noise.draw()).collect();
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .zip(&seeds)
                .map(|(name, seed)| {
                    let (hub, told) = (&hub, &told);
                    scope.spawn(move || client(hub, name, &mut Noise::new(*seed), told))
                })
                .collect();
            // So many acknowledgements, and a moment more: somewhere in the middle of the next.
            while (told.lock().expect("no panic").kept.len() as u64) < enough {
                assert!(
                    clients.iter().all(|client| !client.is_finished()),
                    "seed {seed}"
                );
                std::thread::yield_now();
            }
            std::thread::sleep(std::time::Duration::from_micros(moment));
            program.kill();
            for client in clients {
                client
                    .join()
                    .expect("no panic")
                    .expect_err("it ends with the registry");
            }
        });
        let program = Program::serve(dir.path(), &[("LOG_ACCESSLOG_DISABLED", "true")]);
        verify(&program, &mut told.lock().expect("no panic"), seed);
    }
}
