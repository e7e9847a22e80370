//! The journal: what has arrived, so that a run that was interrupted goes on where it was. The
//! truth is at the destination: an entry only spares a question to the source, and only if the
//! destination still agrees with it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::oci::{Algorithm, Digest};

use super::Failure;

/// One line of the file.
#[derive(Deserialize, Serialize)]
struct Entry {
    /// The repository at the source.
    from: String,
    /// The repository at the destination.
    to: String,
    /// What arrived: a tag, or a digest that stands for itself.
    name: String,
    /// What it points to.
    digest: String,
    /// When, in seconds since 1970.
    at: u64,
}

/// A file to which each image is added when it has arrived. A kill in the middle of a line costs
/// that line.
pub struct Journal {
    path: PathBuf,
    file: File,
    entries: Vec<Entry>,
}

/// After so many seconds the source is asked again: tags move.
const TRUSTED_SECS: u64 = 24 * 60 * 60;

impl Journal {
    /// The journal at `path`, or else one of its own for this set of names, under
    /// `$XDG_STATE_HOME`. While one run has it, another with the same names is refused.
    pub fn open(path: Option<&Path>, names: &[String]) -> Result<Journal, Failure> {
        let path = match path {
            Some(path) => path.to_path_buf(),
            None => own_path(names)?,
        };
        let failed = |cause| Failure::disk(&path, cause);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        if file.try_lock().is_err() {
            let cause = "another run is copying the same; wait for it, or name another --journal";
            return Err(Failure::disk(&path, cause));
        }
        let text = fs::read(&path).map_err(failed)?;
        let lines = text.split(|&byte| byte == b'\n');
        let entries = lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        let mut journal = Journal {
            path,
            file,
            entries,
        };
        if text.last().is_some_and(|&last| last != b'\n') {
            // The last run was killed in the middle of a line.
            journal.write(b"\n")?;
        }
        Ok(journal)
    }

    /// What arrived lately from one repository in another, by name.
    pub fn known(&self, from: &str, to: &str) -> HashMap<String, Digest> {
        let now = now_secs();
        let recent = |entry: &&Entry| entry.at <= now && now - entry.at < TRUSTED_SECS;
        let same = |entry: &&Entry| entry.from == from && entry.to == to;
        let entries = self.entries.iter().filter(same).filter(recent);
        entries
            .filter_map(|entry| Some((entry.name.clone(), entry.digest.parse().ok()?)))
            .collect()
    }

    /// Adds an image that has arrived.
    pub fn add(
        &mut self,
        from: &str,
        to: &str,
        name: &str,
        digest: &Digest,
    ) -> Result<(), Failure> {
        let entry = Entry {
            from: from.into(),
            to: to.into(),
            name: name.into(),
            digest: digest.to_string(),
            at: now_secs(),
        };
        let line = serde_json::to_string(&entry).expect("text and a number are JSON") + "\n";
        self.write(line.as_bytes())
    }

    /// All has arrived: nothing is left to go on with.
    pub fn finish(self) -> Result<(), Failure> {
        fs::remove_file(&self.path).map_err(|cause| Failure::disk(&self.path, cause))
    }

    fn write(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.file
            .write_all(line)
            .map_err(|cause| Failure::disk(&self.path, cause))
    }
}

fn own_path(names: &[String]) -> Result<PathBuf, Failure> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = folder("XDG_STATE_HOME").map(PathBuf::from);
    let home = || folder("HOME").map(|home| Path::new(&home).join(".local/state"));
    let state = state.or_else(home).ok_or_else(|| {
        Failure::Name("neither XDG_STATE_HOME nor HOME is set; say where to keep --journal".into())
    })?;
    let mut names = names.to_vec();
    names.sort();
    let key = Digest::of(Algorithm::Sha256, names.join("\n").as_bytes()).hex();
    Ok(state.join(format!("lighthouse/migrate/{key:.16}.journal")))
}

fn now_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::of(Algorithm::Sha256, b"")
    }

    #[test]
    fn what_arrived_is_known_after_a_kill() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/down.journal");
        let open = || Journal::open(Some(&path), &[]);
        let mut journal = open().expect("a new journal");
        journal.add("a", "b", "1", &digest()).expect("written");
        journal
            .file
            .write_all(b"{\"from\":\"a\",\"to\":")
            .expect("torn");
        drop(journal);
        let mut journal = open().expect("a torn journal");
        journal.add("a", "b", "2", &digest()).expect("written");
        drop(journal);
        let journal = open().expect("a journal");
        let mut names: Vec<_> = journal.known("a", "b").into_keys().collect();
        names.sort();
        assert_eq!(names, ["1", "2"]);
        assert!(journal.known("a", "c").is_empty() && journal.known("b", "a").is_empty());
        assert!(open().is_err(), "two runs can't have it at a time");
        journal.finish().expect("removed");
        assert!(!path.exists());
    }

    #[test]
    fn what_arrived_long_ago_is_asked_about_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let line = |at: u64, name: &str| {
            let digest = digest();
            format!(r#"{{"from":"a","to":"b","name":"{name}","digest":"{digest}","at":{at}}}"#)
        };
        let now = now_secs();
        let lines = [
            line(now - TRUSTED_SECS, "old"),
            line(now - 60, "new"),
            line(now + 60, "odd"),
        ];
        fs::write(&path, lines.join("\n")).expect("written");
        let journal = Journal::open(Some(&path), &[]).expect("a journal");
        assert_eq!(
            journal.known("a", "b").into_keys().collect::<Vec<_>>(),
            ["new"]
        );
    }
}
