//! Starting the double, commanding it and ending it.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running double, ended when this is dropped.
pub struct Double {
    process: Child,
    dir: PathBuf,
    /// The main node's URL.
    pub main: String,
    /// Its shuttles' URLs.
    pub shuttles: Vec<String>,
}

impl Double {
    /// Starts a main node and so many shuttles, which keep their contents in `dir`.
    pub fn start(dir: &Path, shuttles: usize) -> Double {
        Double::start_at(dir, &vec!["0".to_string(); 1 + shuttles])
    }

    fn start_at(dir: &Path, ports: &[String]) -> Double {
        let mut process = Command::new(env!("CARGO_BIN_EXE_estuary-double"))
            .arg(dir)
            .args(ports)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the double starts");
        let stdout = process.stdout.take().expect("it is piped");
        let lines = BufReader::new(stdout).lines().take(ports.len());
        let mut urls = lines.map(|line| {
            let line = line.expect("the double prints its servers");
            line.split(' ')
                .nth(1)
                .expect("a name and a URL")
                .to_string()
        });
        let main = urls.next().expect("the main node comes first");
        let shuttles = urls.collect();
        Double {
            process,
            dir: dir.to_path_buf(),
            main,
            shuttles,
        }
    }

    /// Kills it (as `kill -9` does) and starts it again with the same contents and addresses.
    pub fn restart(&mut self) {
        self.kill();
        let urls = std::iter::once(&self.main).chain(&self.shuttles);
        let port = |url: &String| url.rsplit(':').next().expect("a port").to_string();
        let ports: Vec<_> = urls.map(port).collect();
        let old = std::mem::replace(self, Double::start_at(&self.dir, &ports));
        drop(old);
    }

    /// Kills it, as `kill -9` does. Its contents and addresses are kept for [`Double::restart`].
    pub fn kill(&mut self) {
        // It may be dead already.
        let _ = self.process.kill();
        self.process.wait().expect("the double ends");
    }

    /// Replaces its settings; tests/double/settings.rs lists them.
    pub fn set(&self, settings: Value) {
        let answer = ureq::post(format!("{}/double", self.main)).send(settings.to_string());
        answer.expect("the double knows these settings");
    }

    /// Makes it fail whenever `route` is asked for.
    pub fn fail(&self, route: &str, fault: Value) {
        self.set(json!({"faults": [{"on": route, "fault": fault}]}));
    }

    /// The requests that it had, and the rows that it keeps.
    pub fn seen(&self) -> Value {
        let answer = ureq::get(format!("{}/double", self.main)).call();
        let text = answer
            .expect("the double answers")
            .body_mut()
            .read_to_string();
        serde_json::from_str(&text.expect("a text")).expect("JSON")
    }

    /// How many contents it keeps.
    pub fn rows(&self) -> usize {
        self.seen()["rows"].as_array().expect("a list").len()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.kill();
    }
}
