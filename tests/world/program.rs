//! The registry as the program that people start.

use std::io::{BufRead, BufReader, Read};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use super::hub::Hub;
use super::{PATIENCE, await_some};

/// A program under way, ended when it is dropped.
pub struct Program {
    hub: Hub,
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

/// The program with arguments, and nothing of the caller's settings.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.to_ascii_uppercase().starts_with("REGISTRY_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program to its end: exit code, what it printed, and what it complained of.
pub fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

impl Program {
    /// Serves a root directory on a free port, with settings named as in the environment without
    /// `REGISTRY_`.
    pub fn serve(root: &Path, settings: &[(&str, &str)]) -> Program {
        let mut command = command(&["serve"]);
        command
            .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
            .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root)
            .env("REGISTRY_STORAGE_DELETE_ENABLED", "true");
        for (name, value) in settings {
            command.env(format!("REGISTRY_{name}"), value);
        }
        Program::start(command)
    }

    /// Starts a program that serves, and waits until it listens.
    pub fn start(mut command: Command) -> Program {
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("it starts");
        let log = Arc::new(Log::default());
        let (own, errors) = (Arc::clone(&log), child.stderr.take().expect("piped"));
        std::thread::spawn(move || own.follow(errors));
        let mut program = Program {
            hub: Hub {
                address: String::new(),
            },
            child,
            log,
        };
        let line = program.logged("listening on ");
        let (_, address) = line.split_once("listening on ").expect("it says so");
        let address = address.split([' ', '"']).next().expect("an address");
        program.hub.address = address.replace("[::]", "127.0.0.1");
        program
    }

    /// Waits for a line of the log that holds a text.
    #[track_caller]
    pub fn logged(&self, text: &str) -> String {
        let lines = self.log.lines.lock().expect("no panic");
        let unseen = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(text));
        let waited = self.log.grown.wait_timeout_while(lines, PATIENCE, unseen);
        let (lines, _) = waited.expect("no panic");
        let found = lines.iter().find(|line| line.contains(text)).cloned();
        found.unwrap_or_else(|| panic!("no {text:?} in {lines:#?}"))
    }

    /// All that was logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().expect("no panic").clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it is alive");
    }

    /// Waits for the end.
    #[track_caller]
    pub fn end(mut self) -> ExitStatus {
        await_some("the program to end", || {
            self.child.try_wait().expect("it is ours")
        })
    }

    /// As a power cut would, but for what the kernel still has in hand.
    pub fn kill(mut self) {
        self.child.kill().expect("it is alive");
        self.child.wait().expect("it is ours");
    }
}

impl Log {
    fn follow(&self, errors: impl Read) {
        for line in BufReader::new(errors).lines() {
            // Cut in the middle of a letter when it is killed.
            let line = line.unwrap_or_default();
            self.lines.lock().expect("no panic").push(line);
            self.grown.notify_all();
        }
    }
}

impl Deref for Program {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
