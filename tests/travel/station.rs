//! Where journeys begin: a registry's disk, and the Estuary that it travels to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lighthouse::cid::{Import, Unixfs};
use lighthouse::disk::Root;
use lighthouse::store::blob::{self, Place};
use lighthouse::store::pin::{self, Pin, State};
use lighthouse::store::{ROW_SIZE_MAX, Store, View, scan};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::double::Double;
use crate::world::program::{command, run};
use crate::world::{Answer, Ask, Blob, Hub, Image, Line, Program, Served, await_some};

/// How long a server that was killed may take to let go of its root directory.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A double, a root directory, and what the registry between them is told.
pub struct Station {
    pub double: Double,
    root: PathBuf,
    _dir: TempDir,
    settings: Vec<(String, String)>,
}

impl Station {
    /// With a main node and so many shuttles, of which the registry is told nothing.
    pub fn new(shuttles: usize) -> Station {
        let dir = TempDir::new().expect("a folder");
        let double = Double::start(&dir.path().join("estuary"), shuttles);
        let root = dir.path().join("root");
        let url = double.main.clone();
        let station = Station {
            double,
            root: root.clone(),
            _dir: dir,
            settings: Vec::new(),
        };
        station
            .with("STORAGE_ESTUARY_URL", &url)
            .with("STORAGE_ESTUARY_AUTH_TOKEN", "ESTuserARY")
            .with(
                "STORAGE_ESTUARY_ROOTDIRECTORY",
                root.to_str().expect("UTF-8"),
            )
    }

    /// With a setting, named as in the environment without `REGISTRY_`, from the next start on.
    pub fn with(mut self, name: &str, value: &str) -> Station {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Drops what is pinned from the registry's disk at once.
    pub fn without_cache(self) -> Station {
        self.with("STORAGE_ESTUARY_CACHE_SIZE", "0")
    }

    /// The registry in this process.
    pub fn serve(&self) -> Served {
        let settings = self.settings.iter();
        let settings: Vec<_> = settings
            .map(|(name, value)| (&name[..], &value[..]))
            .collect();
        Served::start(&settings, &[])
    }

    /// The registry as a program.
    pub fn run(&self) -> Program {
        Program::start(self.command("serve"))
    }

    /// A command of the program, on this root directory.
    pub fn command(&self, name: &str) -> Command {
        let mut command = command(&[name]);
        command.env("REGISTRY_HTTP_ADDR", "127.0.0.1:0");
        for (name, value) in &self.settings {
            command.env(format!("REGISTRY_{name}"), value);
        }
        command
    }

    /// Has the root directory be that of an earlier version, or, but for the `cid` files beside
    /// blobs, of registry:2: a tree of links and files. Nobody may serve meanwhile.
    #[track_caller]
    pub fn becomes_tree(&self) {
        let (code, _, err) = run(&mut self.command("tree"));
        assert!(matches!(code, Some(0 | 3)), "{code:?}: {err}");
        fs::remove_dir_all(self.root.join("lighthouse")).expect("ours");
    }

    /// The registry's root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The place of a blob's bytes on the registry's disk.
    pub fn path(&self, blob: &Blob) -> PathBuf {
        let hex = blob.digest.hex();
        let tree = self.root.join("docker/registry/v2/blobs");
        let folder = tree.join(blob.digest.algorithm().name());
        folder.join(&hex[..2]).join(&hex).join("data")
    }

    /// Whether a blob's bytes are on the registry's disk: in the catalog, or in a file.
    pub fn is_here(&self, blob: &Blob) -> bool {
        let found = self.view().read(|tx| scan::find(tx, &blob.digest));
        let is_row = found.expect("readable").map(|found| found.place) == Some(Place::Row);
        is_row || self.path(blob).exists()
    }

    /// What the registry knows of a blob on the network; None if it knows nothing of it.
    pub fn pin(&self, blob: &Blob) -> Option<Pin> {
        let pins = self.view().read(|tx| pin::of_digest(tx, &blob.digest));
        pins.expect("readable").pop()
    }

    fn view(&self) -> View {
        let root = Root::open(&self.root).expect("a root directory");
        View::open(&root, None).expect("a catalog")
    }

    /// Changes what the registry knows of a blob on the network; nobody may serve meanwhile.
    pub fn change(&self, blob: &Blob, change: impl FnOnce(&mut Pin)) {
        let mut pin = self.pin(blob).expect("it was enqueued");
        change(&mut pin);
        let root = Root::claim(&self.root, WAIT_MAX).expect("nobody else has it");
        let (store, digest) = (Store::open(&root, None).expect("a store"), blob.digest);
        let changed = store.write(move |tx| {
            let row = blob::number(tx, &digest)?.unwrap_or_default();
            pin::put(tx, row, &pin)
        });
        assert!(changed.expect("written"));
    }

    /// Has every copy on the registry's disk be used last so many milliseconds before it was;
    /// nobody may serve meanwhile.
    pub fn age_copies(&self, millis: i64) {
        let path = self.root.join("lighthouse/catalog.sqlite");
        let catalog = Connection::open(path).expect("a catalog");
        let aged = catalog.execute("update copies set used_at = used_at - ?1", [millis]);
        assert!(aged.expect("written") > 0);
    }

    /// Waits until the registry has noted that a blob has come so far.
    #[track_caller]
    pub fn reaches(&self, blob: &Blob, state: State) -> Pin {
        await_some(&format!("{state:?}"), || {
            self.pin(blob).filter(|pin| pin.state == state)
        })
    }

    /// Waits until a blob has left the registry's disk.
    #[track_caller]
    pub fn leaves(&self, blob: &Blob) {
        await_some("it to leave", || (!self.is_here(blob)).then_some(()));
    }

    /// The contents at Estuary by a blob's name.
    pub fn contents(&self, blob: &Blob) -> Vec<Value> {
        let rows = self.double.seen()["rows"]
            .as_array()
            .expect("a list")
            .clone();
        let name = blob.digest.hex();
        rows.into_iter()
            .filter(|row| row["name"] == name[..])
            .collect()
    }

    /// How often Estuary was asked for a path that begins so.
    pub fn asked(&self, path: &str) -> usize {
        let seen = self.double.seen();
        let requests = seen["requests"].as_array().expect("a list").iter();
        let paths = requests.filter_map(|request| request["path"].as_str());
        paths.filter(|asked| asked.starts_with(path)).count()
    }

    /// Every blob, and each as one content with our CID.
    #[track_caller]
    pub fn has_once(&self, blobs: &[Blob]) {
        for blob in blobs {
            let contents = self.contents(blob);
            assert_eq!(contents.len(), 1, "{contents:?}");
            assert_eq!(contents[0]["cid"], cid(blob)[..]);
        }
        assert_eq!(self.double.rows(), blobs.len());
    }
}

/// A blob's CID, as Estuary computes it.
pub fn cid(blob: &Blob) -> String {
    let mut unixfs = Unixfs::new(Import::ESTUARY);
    unixfs.write(&blob.bytes);
    unixfs.finish().cid.to_string()
}

/// An image of blobs of several sizes: one in the catalog, and files of one block, of just more
/// than one, and of several.
pub fn image(seed: u64) -> Image {
    let sizes = [100, 1 << 20, (1 << 20) + 1, 3 << 20];
    let blobs: Vec<Blob> = sizes.iter().map(|size| Blob::noise(*size, seed)).collect();
    Image::made_of(&blobs)
}

/// The blobs of an image that can leave the disk: what is small stays in the catalog.
pub fn files(image: &Image) -> impl Iterator<Item = &Blob> {
    let blobs = image.blobs.iter();
    blobs.filter(|blob| blob.bytes.len() as u64 > ROW_SIZE_MAX)
}

/// An image's manifest and blobs.
pub fn parts(image: &Image) -> Vec<Blob> {
    let blobs = image.blobs.iter().cloned();
    blobs.chain([image.manifest.clone()]).collect()
}

/// Pushes a blob in one request.
#[track_caller]
pub fn push(hub: &Hub, repository: &str, blob: &Blob) -> Answer {
    let target = format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest);
    hub.ask(Ask::post(target).body(blob.bytes.clone()))
}

/// Asks for a part of a blob.
#[track_caller]
pub fn range(hub: &Hub, repository: &str, blob: &Blob, range: &str) -> Answer {
    let target = format!("/v2/{repository}/blobs/{}", blob.digest);
    hub.ask(Ask::get(target).with("Range", range))
}

/// Goes where a redirect leads, with a range or without.
#[track_caller]
pub fn follow(answer: &Answer, range: Option<&str>) -> Answer {
    let location = answer.header("Location");
    let rest = location.strip_prefix("http://").expect("a URL");
    let (address, path) = rest.split_once('/').expect("a path");
    let mut ask = Ask::get(format!("/{path}")).with("Connection", "close");
    if let Some(range) = range {
        ask = ask.with("Range", range);
    }
    Line::to(address).ask(&ask)
}
