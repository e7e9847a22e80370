//! The same journey with a real Kubo node:
//! `tests/ipfs/node run 7601 7602 cargo test --test export -- --ignored`.

use std::process::Command;

use tempfile::TempDir;

use crate::Cargo;
use crate::abroad::Said;
use crate::world::Program;
use crate::world::program::{command, run};

/// The program, with a root directory whose blobs travel to the node.
fn at_node(dir: &TempDir, root: &str, arguments: &[&str]) -> Command {
    let url = |name| std::env::var(name).expect("a node runs, and it is said where");
    let mut command = command(arguments);
    command
        .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
        .env("REGISTRY_STORAGE_KUBO_API", url("IPFS_API"))
        .env("REGISTRY_STORAGE_KUBO_GATEWAY", url("IPFS_GATEWAY"))
        .env("REGISTRY_STORAGE_KUBO_ROOTDIRECTORY", dir.path().join(root))
        .env("REGISTRY_STORAGE_REDIRECT_DISABLE", "true");
    command
}

#[test]
#[ignore = "needs a node"]
fn a_registry_comes_back_from_a_node() {
    let dir = TempDir::new().expect("a folder");
    let cargo = Cargo::new();
    let served = Program::start(at_node(&dir, "old", &["serve"]));
    let say = |root, arguments: &[&str]| Said::from(run(&mut at_node(&dir, root, arguments)));
    cargo.push(&served, || say("old", &["status"]));
    let status = say("old", &["status"]).ends(0).out;
    assert!(
        status
            .lines()
            .next()
            .is_some_and(|titles| titles.ends_with("CID")),
        "{status}"
    );
    let cid = say("old", &["export", "--cid"]).ends(0).out;
    let cid = cid.trim_end();
    drop(served);

    let said = say("new", &["restore"]).ends(2);
    assert!(
        said.err.contains("say which CID to restore"),
        "{}",
        said.err
    );
    say("new", &["restore", cid]).ends(0);
    cargo.is_at(&Program::start(at_node(&dir, "new", &["serve"])));
}
