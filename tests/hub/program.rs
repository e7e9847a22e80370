//! The test hub as a program, to try `registry migrate` by hand or with docker:
//!
//! ```text
//! cargo run --example hub -- 7300 25 100 60 /bin/busybox
//! bin/registry migrate --mirror docker.io=127.0.0.1:7300 alpine 127.0.0.1:5005
//! ```
//! The arguments: the first of three ports, releases of alpine with fourteen tags each, pulls that
//! are allowed, in so many seconds, and a static program to be `/bin/sh`.

#[path = "mod.rs"]
#[allow(dead_code, reason = "the tests look closer than this program")]
mod hub;

use std::time::Duration;

use hub::seed::Seed;
use hub::{Hub, Rules};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, otherwise: u64| {
        let text = arguments.get(index);
        text.map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let program = arguments
        .get(4)
        .map(|path| std::fs::read(path).expect("a program"));
    let port = u16::try_from(number(0, 7300)).expect("a port");
    let releases = usize::try_from(number(1, 25)).expect("a count of releases");
    let seed = Seed::alpine(releases, program.as_deref());
    println!(
        "{} tags, {} manifests, {} blobs",
        seed.tags.len(),
        seed.manifests.len(),
        seed.blobs.len()
    );
    let hub = Hub::start(Rules {
        repositories: vec![("library/alpine".into(), seed)],
        pulls: Some((number(2, 100), Duration::from_secs(number(3, 6 * 3600)))),
        ports: [port, port + 1, port + 2],
        ..Rules::default()
    });
    println!("docker.io={}", hub.registry);
    loop {
        std::thread::park();
    }
}
