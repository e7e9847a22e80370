//! The log of version 0.1: what it had promised, and its tree may not show after a sudden end.
//!
//! Two files of entries, `lighthouse/daybook-0` and `-1`, each written in place:
//!
//! ```text
//! head     "daybook\n", number, nonce, SHA-256 of these
//! entries  length, SHA-256 of nonce, place and bytes; the bytes
//! ```
//!
//! Numbers are little-endian, of eight bytes. What an entry says is one line for each change, and
//! behind the line of a file the bytes that it shall hold:
//!
//! ```text
//! put 71 docker/registry/v2/repositories/a/_layers/sha256/ab…/link
//! sha256:ab…remove docker/registry/v2/repositories/a/_manifests/tags/v1
//! ```
//!
//! The file with the lower number comes first. A torn entry ends its file: nobody was told of it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use std::os::unix::fs::OpenOptionsExt;

use super::super::bulk::{self, Bulk};
use crate::disk::{self, Root};
use crate::fault::Fault;

const NAMES: [&str; 2] = ["daybook-0", "daybook-1"];
const MAGIC: &[u8] = b"daybook\n";
const HEAD_SIZE: usize = 64;
/// What stands before the bytes of an entry.
const LABEL_SIZE: usize = 40;
/// 0.1 wrote entries of 64 changes at the most, with up to 64 KiB each.
const ENTRY_SIZE_MAX: u64 = 64 << 20;
/// Where all that changed is; nothing else is touched.
const TREE: &str = "docker/registry/v2";

/// A change of the tree; its path is relative to the root directory.
#[derive(Debug, PartialEq, Eq)]
enum Change<'e> {
    Put(&'e Path, &'e [u8]),
    Remove(&'e Path),
}

/// Whether there is such a log.
pub(super) fn is_there(root: &Root) -> bool {
    NAMES
        .iter()
        .any(|name| fs::symlink_metadata(root.ours(name)).is_ok())
}

/// Makes all changes once more, in order, and then removes the log; how many there were. What was
/// made twice is as if it was made once, so it can be killed at any point.
pub(super) fn replay(root: &Root) -> Result<u64, Fault> {
    let mut pages = Vec::new();
    for name in NAMES {
        pages.extend(Page::open(root.ours(name))?);
    }
    pages.sort_by_key(|page| page.number);
    let bulk = Bulk::open(root.path())?;
    let mut count = 0;
    for page in &pages {
        page.each(&mut |change| {
            count += 1;
            make(root, &bulk, change)
        })?;
    }
    bulk.finish()?;
    // The earlier one first: the later one is right alone, too.
    let rest = NAMES.iter().map(|name| root.ours(name));
    for path in pages.iter().map(|page| page.path.clone()).chain(rest) {
        disk::discard(&path)?;
        disk::sync(path.parent().unwrap_or(&path))?;
    }
    Ok(count)
}

fn make(root: &Root, bulk: &Bulk, change: Change) -> Result<(), Fault> {
    let (Change::Put(path, _) | Change::Remove(path)) = change;
    let whole = root.path().join(path);
    let is_below = path.starts_with(TREE)
        && path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
    if !is_below || leads_away(root, path) {
        let cause = io::Error::other("a log of version 0.1 names a place that is not its own");
        return Err(Fault::disk("change", whole, cause));
    }
    match change {
        Change::Put(_, bytes) if bulk::holds(&whole, bytes) => Ok(()),
        Change::Put(_, bytes) => bulk.write(&whole, bytes),
        Change::Remove(_) => bulk.remove(&whole),
    }
}

/// Whether a folder on the way to a path in the tree is a symbolic link.
fn leads_away(root: &Root, path: &Path) -> bool {
    let above = path
        .ancestors()
        .take_while(|above| *above != Path::new(TREE));
    above
        .map(|above| root.path().join(above))
        .any(|path| fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()))
}

/// One of the two files, with a head that is whole.
struct Page {
    path: PathBuf,
    file: File,
    size: u64,
    number: u64,
    nonce: [u8; 16],
}

impl Page {
    /// None if it is not there, or has no entries.
    fn open(path: PathBuf) -> Result<Option<Page>, Fault> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let file = match File::options().read(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            Err(err) if disk::is_missing(&err) => return Ok(None),
            Err(err) => return Err(Fault::disk("open", path, err)),
        };
        let found = file.metadata();
        let found = found.map_err(|err| Fault::disk("open", &path, err))?;
        let mut head = [0; HEAD_SIZE];
        if !found.is_file() || !fill(&file, &path, &mut head, 0)? {
            return Ok(None);
        }
        let (mut number, mut nonce) = ([0; 8], [0; 16]);
        number.copy_from_slice(&head[8..16]);
        nonce.copy_from_slice(&head[16..32]);
        let is_whole = head.starts_with(MAGIC) && hash(&[&head[..32]]) == head[32..];
        Ok(is_whole.then(|| Page {
            size: found.len(),
            number: u64::from_le_bytes(number),
            path,
            file,
            nonce,
        }))
    }

    /// Shows all changes, in the order in which they were entered.
    fn each(&self, see: &mut dyn FnMut(Change) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut place = HEAD_SIZE as u64;
        while let Some(entry) = self.entry(place)? {
            let unknown = || {
                let cause = io::Error::other("it was written by a newer Lighthouse");
                Fault::disk("read", &self.path, cause)
            };
            let changes = changes(&entry).ok_or_else(unknown)?;
            changes.into_iter().try_for_each(&mut *see)?;
            place += (LABEL_SIZE + entry.len()) as u64;
        }
        Ok(())
    }

    /// The entry at a place; None if no whole one is there.
    fn entry(&self, place: u64) -> Result<Option<Vec<u8>>, Fault> {
        let mut label = [0; LABEL_SIZE];
        if !fill(&self.file, &self.path, &mut label, place)? {
            return Ok(None);
        }
        let mut length = [0; 8];
        length.copy_from_slice(&label[..8]);
        let length = u64::from_le_bytes(length);
        if length > self.size.min(ENTRY_SIZE_MAX) {
            return Ok(None);
        }
        let mut entry = vec![0; length as usize];
        let is_whole = fill(
            &self.file,
            &self.path,
            &mut entry,
            place + LABEL_SIZE as u64,
        )? && hash(&[&self.nonce, &place.to_le_bytes(), &entry]) == label[8..];
        Ok(is_whole.then_some(entry))
    }
}

/// Whether there are bytes enough at a place, which are then in `bytes`.
fn fill(file: &File, path: &Path, bytes: &mut [u8], place: u64) -> Result<bool, Fault> {
    match file.read_exact_at(bytes, place) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(err) => Err(Fault::disk("read", path, err)),
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// The changes that an entry says; None if it says something else.
fn changes(mut bytes: &[u8]) -> Option<Vec<Change<'_>>> {
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
