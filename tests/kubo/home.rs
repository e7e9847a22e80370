//! A node of a journey's own, which it may stop and rob, and a registry whose blobs travel there.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use lighthouse::disk::Root;
use lighthouse::store::pin::{self, Pin, State};
use lighthouse::store::{Store, View, blob};
use tempfile::TempDir;

use crate::cid_of;
use crate::world::program::command;
use crate::world::{Blob, Hub, Image, Program, await_some, free_address};

/// A node that runs until it is dropped.
pub struct Node {
    dir: TempDir,
    api: String,
    gateway: String,
}

impl Node {
    pub fn new() -> Node {
        let node = Node {
            dir: TempDir::new().expect("a folder"),
            api: port(),
            gateway: port(),
        };
        node.start();
        node
    }

    /// Starts it on the repository that it has.
    pub fn start(&self) {
        self.script(&["start", &self.api, &self.gateway]);
    }

    pub fn stop(&self) {
        self.script(&["stop", &self.api]);
    }

    fn script(&self, arguments: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ipfs/node");
        let status = Command::new(script)
            .args(arguments)
            .env("IPFS_CACHE", self.dir.path())
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("it runs").success(), "{arguments:?}");
    }

    pub fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }

    /// Its gateway, by a name of this machine.
    pub fn gateway(&self, host: &str) -> String {
        format!("http://{host}:{}", self.gateway)
    }

    /// Asks it by its RPC: status and body.
    pub fn ask(&self, call: &str) -> (u16, String) {
        ask(&self.api(), call)
    }

    #[track_caller]
    pub fn has_pinned(&self, blob: &Blob) {
        let (status, said) = self.ask(&format!("pin/ls?type=recursive&arg={}", cid(blob)));
        assert_eq!(status, 200, "{said}");
    }

    /// Gives a pin up, and throws away what no pin holds.
    pub fn forget(&self, blobs: &[&Blob]) {
        for blob in blobs {
            let (status, said) = self.ask(&format!("pin/rm?arg={}", cid(blob)));
            assert_eq!(status, 200, "{said}");
        }
        let (status, said) = self.ask("repo/gc");
        assert_eq!(status, 200, "{said}");
    }

    /// Loses one block, of 1 MiB, of a file.
    pub fn lose_block(&self, blob: &Blob, number: usize) {
        let block = blob.bytes.chunks(1 << 20).nth(number).expect("a block");
        self.ask(&format!("pin/rm?arg={}", cid(blob)));
        let (status, said) = self.ask(&format!("block/rm?arg={}", cid_of(block)));
        assert!(status == 200 && !said.contains("Error\":\""), "{said}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self
            .dir
            .path()
            .join(format!("node-{}/pid", self.api))
            .exists()
        {
            self.stop();
        }
    }
}

fn port() -> String {
    let address = free_address();
    let (_, port) = address.split_once(':').expect("a port");
    port.into()
}

/// Asks the node at `api`: status and body.
pub fn ask(api: &str, call: &str) -> (u16, String) {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .new_agent();
    let answer = agent.post(format!("{api}/api/v0/{call}")).send_empty();
    let mut answer = answer.expect("the node answers");
    let text = answer.body_mut().read_to_string().expect("a text");
    (answer.status().as_u16(), text.trim_end().into())
}

pub fn cid(blob: &Blob) -> String {
    cid_of(&blob.bytes).to_string()
}

/// How long a server that was killed may take to let go of its root directory.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A registry's root directory, and what it is told.
pub struct Home {
    dir: TempDir,
    settings: Vec<(String, String)>,
}

impl Home {
    /// One whose blobs travel to the node and are read at its gateway, under that name.
    pub fn at(node: &Node, host: &str) -> Home {
        let dir = TempDir::new().expect("a folder");
        let root = dir.path().to_str().expect("UTF-8").to_owned();
        let settings = Vec::new();
        Home { dir, settings }
            .with("KUBO_API", &node.api())
            .with("KUBO_GATEWAY", &node.gateway(host))
            .with("KUBO_ROOTDIRECTORY", &root)
    }

    /// With a setting of the storage, from the next start on.
    pub fn with(mut self, name: &str, value: &str) -> Home {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.into(), value.into()));
        self
    }

    pub fn run(&self) -> Program {
        let mut command = command(&["serve"]);
        command.env("REGISTRY_HTTP_ADDR", "127.0.0.1:0");
        for (name, value) in &self.settings {
            command.env(format!("REGISTRY_STORAGE_{name}"), value);
        }
        Program::start(command)
    }

    fn path(&self, blob: &Blob) -> PathBuf {
        let hex = blob.digest.hex();
        let tree = self.dir.path().join("docker/registry/v2/blobs/sha256");
        tree.join(&hex[..2]).join(&hex).join("data")
    }

    pub fn is_here(&self, blob: &Blob) -> bool {
        self.path(blob).exists()
    }

    /// Notes that the network has a blob and has not pinned it yet; nobody may serve meanwhile.
    pub fn set_back(&self, blob: &Blob) {
        let mut pin = self.pin(blob).expect("it travelled");
        pin.state = State::Stored;
        pin.due_at = Some(0);
        let root = Root::claim(self.dir.path(), WAIT_MAX).expect("nobody else has it");
        let (store, digest) = (Store::open(&root, None).expect("a store"), blob.digest);
        let changed = store.write(move |tx| {
            let row = blob::number(tx, &digest)?.unwrap_or_default();
            pin::put(tx, row, &pin)
        });
        assert!(changed.expect("written"));
    }

    /// What the registry knows of a blob on the node; None if it knows nothing of it.
    fn pin(&self, blob: &Blob) -> Option<Pin> {
        let root = Root::open(self.dir.path()).expect("a root directory");
        let view = View::open(&root, None).expect("a catalog");
        let pins = view.read(|tx| pin::of_digest(tx, &blob.digest));
        pins.expect("readable").pop()
    }

    /// Waits until the registry has noted that every part of an image has come so far.
    #[track_caller]
    pub fn reaches(&self, image: &Image, state: State) {
        for blob in image.blobs.iter().chain([&image.manifest]) {
            await_some(&format!("{state:?}"), || {
                self.pin(blob).filter(|pin| pin.state == state)
            });
        }
    }

    /// Waits until an image's blobs have left the registry's disk.
    #[track_caller]
    pub fn leave(&self, image: &Image) {
        for blob in &image.blobs {
            await_some("it to leave", || (!self.is_here(blob)).then_some(()));
        }
    }
}

/// An image of a small blob and one of several blocks.
pub fn image(seed: u64) -> Image {
    Image::made_of(&[Blob::noise(100_000, seed), Blob::noise(7 << 19, seed)])
}

/// Every blob of an image is given by the registry itself, whole.
#[track_caller]
pub fn gives(hub: &Hub, image: &Image) {
    for blob in &image.blobs {
        assert!(hub.blob("app", blob).expect(200).body == blob.bytes);
    }
}
