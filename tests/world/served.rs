//! A registry in this process.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use lighthouse::config;
use lighthouse::fault::Fault;
use lighthouse::server::{Server, Stop};
use tempfile::TempDir;

use super::await_some;
use super::hub::Hub;

/// Where a registry keeps what it is given.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    Disk,
    Memory,
}

/// A registry that runs until it is dropped.
pub struct Served {
    hub: Hub,
    root: PathBuf,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), Fault>>>,
    _dir: Option<TempDir>,
}

impl Served {
    /// A new registry; deletion is switched on.
    pub fn on(place: Place) -> Served {
        Served::with(place, &[])
    }

    /// A new registry with settings, named as in the environment without `REGISTRY_`.
    pub fn with(place: Place, settings: &[(&str, &str)]) -> Served {
        match place {
            Place::Disk => {
                let dir = TempDir::new().expect("a folder");
                let mut served = Served::at(dir.path(), settings);
                served._dir = Some(dir);
                served
            }
            Place::Memory => Served::start(settings, &[("STORAGE", "inmemory")]),
        }
    }

    /// A registry on a root directory that outlives it.
    pub fn at(root: &Path, settings: &[(&str, &str)]) -> Served {
        let root = root.to_str().expect("UTF-8");
        Served::start(settings, &[("STORAGE_FILESYSTEM_ROOTDIRECTORY", root)])
    }

    /// A registry with settings, and with those of a store.
    pub fn start(settings: &[(&str, &str)], store: &[(&str, &str)]) -> Served {
        let common = [
            ("HTTP_ADDR", "127.0.0.1:0"),
            ("HTTP_DRAINTIMEOUT", "1s"),
            ("STORAGE_DELETE_ENABLED", "true"),
        ];
        // What comes later wins.
        let all = common.iter().chain(store).chain(settings);
        let all = all.map(|(name, value)| (format!("REGISTRY_{name}"), (*value).to_owned()));
        let all: std::collections::BTreeMap<String, String> = all.collect();
        let (config, warnings) = config::parse(None, all.into_iter()).expect("good settings");
        assert!(warnings.is_empty(), "{warnings:?}");
        // The lock of a server that ended lives on in a child that another journey has forked,
        // until the child becomes its program.
        let server = await_some("the last server to let go", || {
            match Server::open(config.clone()) {
                Err(Fault::Disk { op: "lock", .. }) => None,
                opened => Some(opened.expect("it opens")),
            }
        });
        let hub = Hub {
            address: server.address().to_owned(),
        };
        let root = server.root().path().to_owned();
        let stop = server.stop();
        let thread = Some(std::thread::spawn(move || server.run()));
        Served {
            hub,
            root,
            stop,
            thread,
            _dir: None,
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// distribution's tree beneath the root directory.
    pub fn tree(&self) -> PathBuf {
        self.root.join("docker/registry/v2")
    }
}

impl Deref for Served {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended
                .expect("it ran")
                .expect("no panic")
                .expect("it ends well");
        }
    }
}
