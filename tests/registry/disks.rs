//! Disks that can be filled, and whose power can be cut: file systems in files and in memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::world::skip;

/// The length of a disk in bytes; XFS takes no less.
const SIZE: u64 = 320 << 20;

/// A file system in a folder of its own, mounted until it is dropped.
pub struct Disk(TempDir);

impl Disk {
    /// A new file system in a file. None, with the reason printed, where that is not possible.
    pub fn made_by(make: &[&str]) -> Option<Disk> {
        let disk = Disk::new();
        let file = std::fs::File::create(disk.file()).expect("a file");
        file.set_len(SIZE).expect("room for holes");
        let made = run(make, &disk.file()).and_then(|()| disk.mount());
        disk.unless_skipped(made)
    }

    /// A small file system in memory. None, with the reason printed, where that is not possible.
    pub fn of_mebibytes(size: u32) -> Option<Disk> {
        let disk = Disk::new();
        let options = format!("size={size}m");
        let mount = ["mount", "-t", "tmpfs", "-o", &options, "tmpfs"];
        let made = run(&mount, &disk.path());
        disk.unless_skipped(made)
    }

    fn new() -> Disk {
        let disk = Disk(TempDir::new().expect("a folder"));
        std::fs::create_dir(disk.path()).expect("a folder");
        disk
    }

    fn unless_skipped(self, made: Result<(), String>) -> Option<Disk> {
        let skipped = made.map_err(|why| skip(&format!("no disk: {why}")));
        skipped.ok().map(|()| self)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("mounted")
    }

    fn mount(&self) -> Result<(), String> {
        let (file, path) = (self.file(), self.path());
        let mount = ["mount", "-o", "loop", file.to_str().expect("UTF-8")];
        run(&mount, &path)
    }

    /// Where the power goes now: what has reached the disk.
    pub fn cut(&self) -> Disk {
        let found = Disk::new();
        let file = self.file();
        let copy = ["cp", "--sparse=always", file.to_str().expect("UTF-8")];
        run(&copy, &found.file()).expect("a copy");
        found
    }

    /// Starts the machine again.
    pub fn start(&self) {
        // As Debian does; it has its say by its exit code, and the mount has the last word. To
        // other file systems it does nothing.
        let _ = Command::new("fsck.ext4")
            .arg("-fy")
            .arg(self.file())
            .output();
        // btrfs knows disks by a number that copies share. Elsewhere there is nothing to forget.
        let forget = ["device", "scan", "--forget"];
        let _ = Command::new("btrfs").args(forget).output();
        self.mount().expect("it can be mounted");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // One that was never mounted has nothing to say.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

/// Runs a program whose last argument is a path; what it complained of.
fn run(command: &[&str], path: &Path) -> Result<(), String> {
    let mut program = Command::new(command[0]);
    let output = program.args(&command[1..]).arg(path).output();
    let output = output.map_err(|err| format!("{}: {err}", command[0]))?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or(complaint)
}
