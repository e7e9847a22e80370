//! A store, the Estuary that its blobs are pinned at, and the work between them.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use lighthouse::background::{Background, Load};
use lighthouse::cid::{Import, Unixfs};
use lighthouse::config::{self, Config};
use lighthouse::disk::Root;
use lighthouse::ipfs::Ipfs;
use lighthouse::oci::{Digest, Repository};
use lighthouse::store::blob::{Blob as Found, Content, NewBlob, Place};
use lighthouse::store::pin::{Pin, State};
use lighthouse::store::{self, Store, blob, pin, upload};
use serde_json::Value;
use tempfile::TempDir;

use crate::double::Double;
use crate::world::{Blob, await_some};

/// More sessions than a test begins.
const MANY: upload::Limits = upload::Limits {
    total: 1000,
    of_client: 1000,
};

/// A root directory, and what its work is told.
pub struct Fixture {
    pub double: Double,
    dir: TempDir,
    settings: BTreeMap<String, String>,
}

/// An open store, and the work on it.
pub struct Run {
    pub background: Background,
    pub store: Arc<Store>,
    network: &'static str,
}

/// The settings of a registry, named as in the environment without `REGISTRY_`.
pub fn config(settings: &BTreeMap<String, String>) -> Config {
    let settings = settings.iter();
    let settings = settings.map(|(name, value)| (format!("REGISTRY_{name}"), value.clone()));
    config::parse(None, settings).expect("good settings").0
}

impl Fixture {
    pub fn new() -> Fixture {
        let dir = TempDir::new().expect("a folder");
        let double = Double::start(&dir.path().join("estuary"), 0);
        let url = double.main.clone();
        let fixture = Fixture {
            double,
            dir,
            settings: BTreeMap::new(),
        };
        fixture
            .with("STORAGE_ESTUARY_URL", &url)
            .with("STORAGE_ESTUARY_AUTH_TOKEN", "ESTuserARY")
    }

    /// With a setting from the next start on.
    pub fn with(mut self, name: &str, value: &str) -> Fixture {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Opens the store and begins to work.
    pub fn run(&self) -> Run {
        Run::start(&self.dir, &config(&self.settings), "estuary")
    }

    /// How many contents Estuary has of a blob.
    pub fn contents(&self, blob: &Blob) -> usize {
        let rows = self.double.seen()["rows"]
            .as_array()
            .expect("a list")
            .clone();
        let name = blob.digest.hex();
        rows.iter().filter(|row| row["name"] == name[..]).count()
    }

    /// How often Estuary was asked for a path that begins so.
    pub fn asked(&self, path: &str) -> usize {
        let seen = self.double.seen();
        let requests = seen["requests"].as_array().expect("a list").iter();
        let paths = requests.filter_map(|request| request["path"].as_str());
        paths.filter(|asked| asked.starts_with(path)).count()
    }

    /// Has Estuary give up the content with that id.
    pub fn unpin(&self, pin: &Pin) {
        let id = pin.remote.as_deref().expect("an id");
        let url = format!("{}/pinning/pins/{id}", self.double.main);
        let asked = ureq::delete(&url).header("Authorization", "Bearer ESTuserARY");
        assert_eq!(asked.call().expect("an answer").status(), 202);
    }

    pub fn set(&self, settings: Value) {
        self.double.set(settings);
    }
}

impl Run {
    pub fn start(dir: &TempDir, config: &Config, network: &'static str) -> Run {
        let root = Root::open(dir.path()).expect("a root");
        let store = Arc::new(Store::open(&root, None).expect("a store"));
        let ipfs = Arc::new(Ipfs::new(&config.storage).expect("networks"));
        let background = Background::start(Arc::clone(&store), config, ipfs, Load::default());
        let background = background.expect("it starts");
        background.start_pinning().expect("it starts");
        Run {
            background,
            store,
            network,
        }
    }

    /// Keeps a blob and enqueues it, as a push does; it is noticed only at the next start.
    pub fn push_silently(&self, blob: &Blob) {
        let session = uuid::Uuid::new_v4().to_string();
        let id = session.clone();
        let started = self
            .store
            .note(move |tx| upload::start(tx, &id, &repository(), "127.0.0.1", MANY));
        started.expect("a session");
        let content = match blob.bytes.len() as u64 <= store::ROW_SIZE_MAX {
            true => Content::Bytes(Arc::from(&blob.bytes[..])),
            false => {
                let path = self.store.files().upload_path(&session);
                fs::write(path, &blob.bytes).expect("written");
                Content::File(blob.bytes.len() as u64)
            }
        };
        let put = self.store.put_blob(NewBlob {
            repository: repository(),
            digest: blob.digest,
            content,
            session,
            ends_session: true,
            actor: None,
            pins: self
                .background
                .pins(&blob.digest, blob.bytes.len() as u64, None),
        });
        put.expect("kept");
    }

    /// Keeps a blob and has it pinned, as a push does.
    pub fn push(&self, blob: &Blob) {
        self.push_silently(blob);
        self.background.wake_pins();
    }

    /// What is known of a blob on the network.
    pub fn pin(&self, blob: &Blob) -> Pin {
        let pins = self.store.read(|tx| pin::of_digest(tx, &blob.digest));
        let mut pins = pins.expect("an answer").into_iter();
        let pin = pins.find(|pin| pin.network == self.network);
        pin.expect("it was enqueued")
    }

    /// Waits until a blob is so far.
    #[track_caller]
    pub fn reaches(&self, blob: &Blob, state: State) -> Pin {
        await_some(&format!("{state:?}"), || {
            Some(self.pin(blob)).filter(|pin| pin.state == state)
        })
    }

    /// Waits until its last attempt has failed in those words.
    #[track_caller]
    pub fn fails(&self, blob: &Blob, words: &str) -> Pin {
        await_some(words, || {
            let pin = self.pin(blob);
            let cause = pin.cause.clone().unwrap_or_default();
            cause.contains(words).then_some(pin)
        })
    }

    /// Waits until its bytes are in that place, or until nobody says that they are anywhere.
    #[track_caller]
    pub fn comes_to(&self, blob: &Blob, place: Option<Place>) {
        await_some(&format!("{place:?}"), || {
            (self.place(blob) == place).then_some(())
        });
    }

    pub fn place(&self, blob: &Blob) -> Option<Place> {
        let found = self.store.find_blob(&repository(), &blob.digest);
        found.expect("an answer").map(|Found { place, .. }| place)
    }

    /// Waits until what was made due is to be asked for again later.
    pub fn is_confirmed(&self, blob: &Blob) -> Pin {
        await_some("a confirmation", || {
            Some(self.pin(blob)).filter(|pin| pin.due_at > Some(0))
        })
    }

    /// Makes a pin due now, as time does.
    pub fn make_due(&self, blob: &Blob) {
        let (digest, mut pin) = (blob.digest, self.pin(blob));
        pin.due_at = Some(0);
        let made = self.store.write(move |tx| {
            let blob = blob::number(tx, &digest)?.unwrap_or_default();
            pin::put(tx, blob, &pin)
        });
        assert!(made.expect("written"));
        self.background.wake_pins();
    }
}

pub fn repository() -> Repository {
    "app".parse().expect("a name")
}

/// Waits until a network has pinned it.
#[track_caller]
pub fn await_pinned(run: &Run, digest: &Digest) {
    run.background.await_pinned(digest).expect("it is pinned");
}

/// A blob's CID, as every network computes it.
pub fn cid(blob: &Blob) -> String {
    let mut unixfs = Unixfs::new(Import::ESTUARY);
    unixfs.write(&blob.bytes);
    unixfs.finish().cid.to_string()
}
