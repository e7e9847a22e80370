//! A world for one test: folders of its own, registries of its own.

use std::ffi::OsStr;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lighthouse::oci::{Digest, Manifest};
use tempfile::TempDir;

use crate::hub::seed::Seed;

/// Folders for the program, all gone when the test ends.
pub struct World {
    folder: TempDir,
}

/// A run that has ended.
pub struct Run {
    pub status: ExitStatus,
    /// Lines of its standard output.
    pub lines: Vec<String>,
    pub stderr: String,
    /// The most memory that it had, in KiB.
    pub peak: u64,
}

/// Debian's docker-registry, or ours, until it is dropped.
pub struct Registry {
    child: Child,
    /// Where it is, as `host:port`.
    pub host: String,
}

impl World {
    /// A new world; none, with the reason printed, where docker-registry is not installed.
    pub fn new() -> Option<World> {
        let installed = Command::new("docker-registry")
            .arg("--version")
            .output()
            .is_ok();
        if !installed {
            eprintln!(
                "skipped: docker-registry is not installed (apt-get install docker-registry)"
            );
            return None;
        }
        Some(World {
            folder: TempDir::new().expect("a folder"),
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, text).expect("written");
        path
    }

    /// A docker-registry with a store of that name; `more` is added to its configuration.
    pub fn registry(&self, name: &str, more: &str) -> Registry {
        self.serve("docker-registry", name, more)
    }

    /// A registry of ours, with a store of that name.
    pub fn lighthouse(&self, name: &str) -> Registry {
        self.serve(env!("CARGO_BIN_EXE_registry"), name, "")
    }

    fn serve(&self, program: &str, name: &str, more: &str) -> Registry {
        let store = self.path(name);
        // Another process may take a free port before the registry does: then another one.
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let host = free.expect("a free port").to_string();
            let config = format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
                 http:\n  addr: '{host}'\n{more}\n",
                store.display()
            );
            let config = self.write(&format!("{name}.yml"), &config);
            let mut child = Command::new(program)
                .arg("serve")
                .arg(config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it is installed");
            while child.try_wait().expect("it is ours").is_none() {
                if get(&format!("http://{host}/v2/"), None).0 != 0 {
                    return Registry { child, host };
                }
            }
        }
        panic!("{program} does not start with {name}.yml")
    }

    /// The program with these arguments, not started yet.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_registry"));
        command.arg("migrate").args(arguments);
        command
            .env_clear()
            .env("HOME", self.path("home"))
            .env("PATH", self.programs());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The program's `PATH`: what the test puts into `programs` comes first.
    fn programs(&self) -> String {
        let usual = std::env::var("PATH").unwrap_or_default();
        format!("{}:{usual}", self.path("programs").display())
    }

    /// Runs the program with these arguments, separated by blanks.
    pub fn migrate(&self, arguments: &str) -> Run {
        Run::of(&mut self.command(arguments.split_whitespace()))
    }
}

impl Run {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Run {
        Run::watch(command.spawn().expect("it is built"))
    }

    /// Waits for the end of a child.
    pub fn watch(mut child: Child) -> Run {
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        let id = child.id();
        thread::scope(|scope| {
            let text = |pipe: &mut dyn Read| {
                let mut text = String::new();
                pipe.read_to_string(&mut text).expect("it writes UTF-8");
                text
            };
            let out = scope.spawn(move || out.as_mut().map(|pipe| text(pipe)).unwrap_or_default());
            let err = scope.spawn(move || err.as_mut().map(|pipe| text(pipe)).unwrap_or_default());
            let mut peak = 0;
            let status = loop {
                peak = peak.max(high_water(id));
                if let Some(status) = child.try_wait().expect("it is ours") {
                    break status;
                }
                thread::sleep(Duration::from_millis(5));
            };
            let out = out.join().expect("it is read");
            let lines = out.lines().map(str::to_owned).collect();
            Run {
                status,
                lines,
                stderr: err.join().expect("it is read"),
                peak,
            }
        })
    }

    /// The exit code.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// The last line, which sums up.
    pub fn summary(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }

    /// All that it said.
    pub fn text(&self) -> String {
        self.lines.join("\n") + &self.stderr
    }

    /// Fails the test unless all arrived.
    pub fn expect_success(&self) {
        assert_eq!(self.code(), 0, "{}", self.text());
    }
}

/// The most memory that a process has had, in KiB; 0 once it has ended.
fn high_water(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

impl Registry {
    /// A manifest or blob: its status, its type and its bytes.
    pub fn get(&self, path: &str) -> (u16, String, Vec<u8>) {
        get(&format!("http://{}/v2/{path}", self.host), None)
    }

    /// Whether it holds each tag of the seed, byte for byte, with all that it is made of.
    pub fn expect_whole(&self, repository: &str, seed: &Seed) {
        let mut seen = std::collections::HashSet::new();
        for (tag, digest) in &seed.tags {
            let (status, media_type, bytes) = self.get(&format!("{repository}/manifests/{tag}"));
            let (expected_type, expected) = &seed.manifests[digest];
            assert_eq!((status, &media_type), (200, expected_type), "{tag}");
            assert!(bytes == **expected, "{tag} is not what it was");
            self.expect_manifest(repository, seed, digest, &mut seen);
        }
    }

    fn expect_manifest(
        &self,
        repository: &str,
        seed: &Seed,
        digest: &Digest,
        seen: &mut std::collections::HashSet<Digest>,
    ) {
        if !seen.insert(*digest) {
            return;
        }
        let (media_type, expected) = &seed.manifests[digest];
        let (status, kind, bytes) = self.get(&format!("{repository}/manifests/{digest}"));
        assert_eq!((status, &kind), (200, media_type), "{digest}");
        assert!(bytes == **expected, "{digest} is not what it was");
        let manifest = Manifest::parse(expected, Some(media_type)).expect("a manifest");
        for child in &manifest.manifests {
            self.expect_manifest(repository, seed, &child.digest, seen);
        }
        for blob in manifest
            .blobs
            .iter()
            .filter(|blob| seen.insert(blob.digest))
        {
            let (status, _, bytes) = self.get(&format!("{repository}/blobs/{}", blob.digest));
            assert_eq!(status, 200, "{}", blob.digest);
            assert!(
                bytes == *seed.blobs[&blob.digest],
                "{} is damaged",
                blob.digest
            );
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it has ended");
    }
}

/// Asks any URL; status 0 if nobody answers.
pub fn get(url: &str, login: Option<&str>) -> (u16, String, Vec<u8>) {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build();
    let mut request = ureq::Agent::from(config).get(url).header("Accept", "*/*");
    for kind in ["image.index.v1", "image.manifest.v1"] {
        request = request.header("Accept", format!("application/vnd.oci.{kind}+json"));
    }
    for kind in ["list.v2", "v2"] {
        let kind = format!("application/vnd.docker.distribution.manifest.{kind}+json");
        request = request.header("Accept", kind);
    }
    if let Some(login) = login {
        request = request.header("Authorization", login);
    }
    let Ok(mut answer) = request.call() else {
        return (0, String::new(), Vec::new());
    };
    let kind = answer
        .headers()
        .get("content-type")
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    let body = answer
        .body_mut()
        .with_config()
        .limit(64 << 20)
        .read_to_vec();
    (answer.status().as_u16(), kind, body.unwrap_or_default())
}

/// Waits until something is so; the test fails if that takes a minute.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "this never happens: {what}"
        );
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a file with this text is in a folder, however deep.
pub fn is_kept(folder: &Path, text: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let path = entry.path();
        let bytes = || std::fs::read(&path).unwrap_or_default();
        if path.is_dir() {
            is_kept(&path, text)
        } else {
            bytes()
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        }
    })
}
