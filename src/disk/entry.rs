//! What an entry of the daybook says, as bytes: one line for each change, and behind the line of
//! a file the bytes that it shall hold.
//!
//! ```text
//! put 71 docker/registry/v2/repositories/a/_layers/sha256/ab…/link
//! sha256:ab…remove docker/registry/v2/repositories/a/_manifests/tags/v1
//! ```

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Changes that are entered together.
#[derive(Debug, Default)]
pub(super) struct Entry(Vec<u8>);

/// A change of the tree; its path is relative to the root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'e> {
    /// A file holds these bytes.
    Put(&'e Path, &'e [u8]),
    /// A file, or a folder with all that is in it, is no more.
    Remove(&'e Path),
}

impl Entry {
    /// Adds a change. No path of ours has a line break.
    pub fn add(&mut self, change: Change) {
        let (line, path, bytes) = match change {
            Change::Put(path, bytes) => (format!("put {} ", bytes.len()), path, bytes),
            Change::Remove(path) => ("remove ".to_owned(), path, [].as_slice()),
        };
        self.0.extend_from_slice(line.as_bytes());
        self.0.extend_from_slice(path.as_os_str().as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(bytes);
    }

    /// The changes as bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes back all changes beyond so many bytes.
    pub fn truncate(&mut self, size: usize) {
        self.0.truncate(size);
    }
}

/// The changes that an entry's bytes say; None if they were written by something newer than this.
pub(super) fn changes(mut bytes: &[u8]) -> Option<Vec<Change<'_>>> {
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, behind) = (&bytes[..end], &bytes[end + 1..]);
        let mut words = line.splitn(2, |byte| *byte == b' ');
        let (verb, rest) = (words.next()?, words.next()?);
        bytes = match verb {
            b"put" => {
                let mut words = rest.splitn(2, |byte| *byte == b' ');
                let size = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
                let (contents, behind) = behind.split_at_checked(size)?;
                changes.push(Change::Put(path(words.next()?), contents));
                behind
            }
            b"remove" => {
                changes.push(Change::Remove(path(rest)));
                behind
            }
            _ => return None,
        };
    }
    Some(changes)
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_entered_is_read() {
        let all = [
            Change::Put(Path::new("a/b c"), b"\nremove x\n"),
            Change::Remove(Path::new("a b")),
            Change::Put(Path::new("a"), b""),
        ];
        let mut entry = Entry::default();
        all.iter().for_each(|change| entry.add(*change));
        assert_eq!(changes(entry.bytes()).expect("ours"), all);
        let whole = entry.bytes().len();
        entry.truncate(whole - 1);
        assert_eq!(changes(entry.bytes()), None, "the last line has no end");
        assert_eq!(changes(b"link 3 a b\n"), None);
        assert_eq!(changes(b"put 2 a\nb"), None);
        assert_eq!(changes(b"").expect("ours"), []);
    }
}
