//! Registries whose blobs travel to the double of Estuary, and commands on their root directories.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::double::Double;
use crate::world::program::{Program, command, run};

/// A double, and a place for root directories.
pub struct Abroad {
    pub double: Double,
    dir: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Abroad {
    pub fn new() -> Abroad {
        let dir = TempDir::new().expect("a folder");
        let double = Double::start(&dir.path().join("estuary"), 1);
        Abroad { double, dir }
    }

    /// A root directory by its name; it need not exist.
    pub fn root(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program, with a root directory whose blobs travel to the double.
    pub fn command(&self, root: &str, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command
            .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
            .env("REGISTRY_STORAGE_ESTUARY_URL", &self.double.main)
            .env(
                "REGISTRY_STORAGE_ESTUARY_SHUTTLE_URL",
                &self.double.shuttles[0],
            )
            .env("REGISTRY_STORAGE_ESTUARY_AUTH_TOKEN", "ESTuserARY")
            .env("REGISTRY_STORAGE_ESTUARY_EXPORT_NAME", "my-registry")
            .env("REGISTRY_STORAGE_ESTUARY_ROOTDIRECTORY", self.root(root));
        command
    }

    /// Serves a root directory; the command can be given more settings before it starts.
    pub fn serve(&self, root: &str, more: impl FnOnce(&mut Command)) -> Program {
        let mut command = self.command(root, &["serve"]);
        more(&mut command);
        Program::start(command)
    }

    /// Runs a command on a root directory to its end.
    pub fn say(&self, root: &str, arguments: &[&str]) -> Said {
        Said::from(run(&mut self.command(root, arguments)))
    }
}

impl From<(Option<i32>, String, String)> for Said {
    fn from((code, out, err): (Option<i32>, String, String)) -> Said {
        Said { code, out, err }
    }
}

impl Said {
    /// What it said, if it ended with that code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Said {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|err| panic!("{err} in {self:#?}"))
    }
}
