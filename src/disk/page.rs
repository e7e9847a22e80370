//! A page of the daybook: a file of entries, one behind the other, of which a cut leaves whole
//! ones.
//!
//! ```text
//! head     "daybook\n", number, nonce, SHA-256 of these
//! entries  length, SHA-256 of nonce, place and bytes; the bytes
//! ```
//!
//! Numbers are little-endian, of eight bytes. The nonce is drawn each time a page is begun, so
//! neither what is left of earlier entries nor bytes that a client chose can pass for an entry.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::IFlags;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::entry::{self, Change};
use crate::fault::Fault;

const MAGIC: &[u8] = b"daybook\n";
const HASH_SIZE: usize = 32;
const HEAD_SIZE: usize = 64;
/// What stands before the bytes of an entry.
const LABEL_SIZE: usize = 8 + HASH_SIZE;
/// Room that a page has from the beginning, so that a full disk can still be tidied.
const SIZE_MIN: u64 = 64 << 10;
/// Room that a page may take; only a single entry that needs more takes more.
const SIZE_MAX: u64 = 8 << 20;

type Nonce = [u8; 16];

/// A file of the daybook.
#[derive(Debug)]
pub(super) struct Page {
    file: File,
    path: PathBuf,
}

/// Where the next entry of a page goes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pen {
    /// Which page this is, counted from the start.
    number: u64,
    nonce: Nonce,
    /// Nought if the page is still to be begun.
    end: u64,
}

impl Pen {
    /// Whether the page has entries.
    pub fn has_written(&self) -> bool {
        self.end > 0
    }

    /// Whether it is time to think of another page.
    pub fn is_past_half(&self) -> bool {
        self.end > SIZE_MAX / 2
    }

    /// For the next page.
    pub fn turn(&self) -> Pen {
        Pen {
            number: self.number + 1,
            ..Pen::default()
        }
    }
}

impl Page {
    /// Opens a page, and takes its first room if it has none.
    pub fn open(path: PathBuf) -> Result<Page, Fault> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let page = match options.open(&path) {
            Ok(file) => Page { file, path },
            Err(err) => return Err(Fault::disk("open", path, err)),
        };
        // Where each write takes new room otherwise; on a new file, or it is too late.
        let _ = rustix::fs::ioctl_getflags(&page.file)
            .and_then(|flags| rustix::fs::ioctl_setflags(&page.file, flags | IFlags::NOCOW));
        match page.make_room(SIZE_MIN) {
            // What is on a full disk can be read all the same.
            Ok(()) | Err(Fault::DiskFull { .. }) => Ok(page),
            Err(fault) => Err(fault),
        }
    }

    /// Durably writes an entry, and the head before the first one; where the next one goes. None
    /// if there is no room behind others. A full disk leaves the page as it was; after any other
    /// fault nobody knows what it has.
    pub fn write(&self, pen: &Pen, entry: &[u8]) -> Result<Option<Pen>, Fault> {
        let mut pen = *pen;
        let mut bytes = Vec::with_capacity(HEAD_SIZE + LABEL_SIZE + entry.len());
        let (begin, is_first) = (pen.end, !pen.has_written());
        if is_first {
            pen.nonce = *Uuid::new_v4().as_bytes();
            bytes.extend(head(pen.number, &pen.nonce));
        }
        let place = begin + bytes.len() as u64;
        bytes.extend((entry.len() as u64).to_le_bytes());
        bytes.extend(hash(&[&pen.nonce, &place.to_le_bytes(), entry]));
        bytes.extend_from_slice(entry);
        pen.end = begin + bytes.len() as u64;
        if !is_first && pen.end > SIZE_MAX {
            return Ok(None);
        }
        let written = self.make_room(pen.end);
        match written.and_then(|()| self.overwrite(&bytes, begin)) {
            Ok(()) => Ok(Some(pen)),
            Err(Fault::DiskFull { .. }) if !is_first => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Makes the file at least so long, durably. It grows by much, so that an entry seldom has to
    /// wait for more than its own bytes.
    fn make_room(&self, needed: u64) -> Result<(), Fault> {
        let found = self
            .file
            .metadata()
            .map_err(|err| self.fault("open", err))?;
        let size = found.len();
        if size >= needed {
            return Ok(());
        }
        let grown = extend(&self.file, size, needed.max(SIZE_MAX.min(2 * size)));
        grown.and_then(|()| self.file.sync_all()).map_err(|err| {
            // Room that was not had must not pass for room. If that fails, an entry there will.
            let _ = self.file.set_len(size);
            self.fault("make room in", err)
        })
    }

    /// Durably writes bytes where there is room. A sync that finds none has lost something, and is
    /// no mere full disk.
    fn overwrite(&self, bytes: &[u8], place: u64) -> Result<(), Fault> {
        let written = self.file.write_all_at(bytes, place);
        written.map_err(|err| self.fault("write to", err))?;
        let synced = self.file.sync_data();
        synced.map_err(|err| self.fault("sync", io::Error::other(err)))
    }

    /// Durably makes the last entry, of that length, one that never was; where the next one goes.
    pub fn strike(&self, pen: &Pen, length: usize) -> Result<Pen, Fault> {
        let end = pen.end - (LABEL_SIZE + length) as u64;
        self.overwrite(&[0; LABEL_SIZE], end)?;
        Ok(Pen { end, ..*pen })
    }

    /// Durably makes it a page without entries.
    pub fn clear(&self) -> Result<(), Fault> {
        self.overwrite(&[0; HEAD_SIZE], 0)
    }

    /// Its number; None if it has no entries.
    pub fn number(&self) -> Result<Option<u64>, Fault> {
        Ok(self.head()?.map(|(number, _)| number))
    }

    /// Shows all changes to `see`, in the order in which they were entered.
    pub fn read(&self, see: &mut dyn FnMut(Change) -> Result<(), Fault>) -> Result<(), Fault> {
        let Some((_, nonce)) = self.head()? else {
            return Ok(());
        };
        let mut place = HEAD_SIZE as u64;
        while let Some(entry) = self.entry(&nonce, place)? {
            let newer = || io::Error::other("it was written by a newer Lighthouse");
            let changes = entry::changes(&entry).ok_or_else(newer);
            let changes = changes.map_err(|err| self.fault("read", err))?;
            changes.into_iter().try_for_each(&mut *see)?;
            place += (LABEL_SIZE + entry.len()) as u64;
        }
        Ok(())
    }

    fn head(&self) -> Result<Option<(u64, Nonce)>, Fault> {
        let mut bytes = [0; HEAD_SIZE];
        if !self.fill(&mut bytes, 0)? {
            return Ok(None);
        }
        let (mut number, mut nonce) = ([0; 8], [0; 16]);
        number.copy_from_slice(&bytes[8..16]);
        nonce.copy_from_slice(&bytes[16..32]);
        let number = u64::from_le_bytes(number);
        Ok((head(number, &nonce) == bytes).then_some((number, nonce)))
    }

    /// The entry at a place; None if no whole one is there.
    fn entry(&self, nonce: &Nonce, place: u64) -> Result<Option<Vec<u8>>, Fault> {
        let mut label = [0; LABEL_SIZE];
        if !self.fill(&mut label, place)? {
            return Ok(None);
        }
        let mut length = [0; 8];
        length.copy_from_slice(&label[..8]);
        let length = u64::from_le_bytes(length);
        let size = self
            .file
            .metadata()
            .map_err(|err| self.fault("read", err))?;
        if length > size.len() {
            return Ok(None);
        }
        let mut entry = vec![0; length as usize];
        let is_whole = self.fill(&mut entry, place + LABEL_SIZE as u64)?
            && hash(&[nonce, &place.to_le_bytes(), &entry]) == label[8..];
        Ok(is_whole.then_some(entry))
    }

    /// Whether there are bytes enough at a place, which are then in `bytes`.
    fn fill(&self, bytes: &mut [u8], place: u64) -> Result<bool, Fault> {
        match self.file.read_exact_at(bytes, place) {
            Ok(()) => Ok(true),
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(err) => Err(self.fault("read", err)),
        }
    }

    /// A fault of this page.
    pub fn fault(&self, op: &'static str, cause: io::Error) -> Fault {
        Fault::disk(op, &self.path, cause)
    }
}

fn head(number: u64, nonce: &Nonce) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend(number.to_le_bytes());
    head.extend_from_slice(nonce);
    head.extend(hash(&[&head]));
    head
}

fn hash(parts: &[&[u8]]) -> [u8; HASH_SIZE] {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// Writes noughts, which is the one way to have room that a later write need not ask for.
fn extend(file: &File, from: u64, to: u64) -> io::Result<()> {
    let noughts = [0; 8 << 10];
    let mut at = from;
    while at < to {
        let size = (to - at).min(noughts.len() as u64);
        file.write_all_at(&noughts[..size as usize], at)?;
        at += size;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::entry::Entry;

    /// A page in a folder that lasts as long as it.
    fn page() -> (Page, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a folder");
        (Page::open(dir.path().join("page")).expect("a page"), dir)
    }

    fn entry(name: &str) -> Vec<u8> {
        let mut entry = Entry::default();
        entry.add(Change::Put(Path::new(name), name.as_bytes()));
        entry.bytes().to_vec()
    }

    /// Writes entries that put files of those names.
    fn write(page: &Page, mut pen: Pen, names: &[&str]) -> Pen {
        for name in names {
            let written = page.write(&pen, &entry(name)).expect("a disk");
            pen = written.expect("room");
        }
        pen
    }

    fn names(page: &Page) -> Vec<String> {
        let mut names = Vec::new();
        let mut see = |change: Change| {
            let Change::Put(path, bytes) = change else {
                panic!("{change:?}");
            };
            assert_eq!(path.as_os_str().as_encoded_bytes(), bytes);
            names.push(path.display().to_string());
            Ok(())
        };
        page.read(&mut see).expect("a disk");
        names
    }

    #[test]
    fn only_whole_entries_of_this_use_are_read() {
        let (page, _dir) = page();
        assert_eq!(
            (names(&page), page.number().expect("a disk")),
            (vec![], None)
        );
        let pen = write(&page, Pen::default().turn(), &["a", "b", "c"]);
        assert_eq!(names(&page), ["a", "b", "c"]);
        assert_eq!(page.number().expect("a disk"), Some(1));
        let struck = page.strike(&pen, entry("c").len()).expect("a disk");
        assert_eq!(names(&page), ["a", "b"]);
        write(&page, struck, &["d"]);
        assert_eq!(names(&page), ["a", "b", "d"]);
        page.clear().expect("a disk");
        assert_eq!(
            (names(&page), page.number().expect("a disk")),
            (vec![], None)
        );
        // What the page held before stands behind this one still, in its place.
        write(&page, pen.turn(), &["e"]);
        assert_eq!(names(&page), ["e"]);
    }

    #[test]
    fn a_torn_entry_was_never_made() {
        let (page, _dir) = page();
        let before = write(&page, Pen::default(), &["a", "b"]);
        let after = write(&page, before, &["c"]);
        let mut whole = vec![0; (after.end - before.end) as usize];
        page.file
            .read_exact_at(&mut whole, before.end)
            .expect("a file");
        for torn in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[torn] ^= 0x80;
            page.file.write_all_at(&bytes, before.end).expect("a file");
            assert_eq!(names(&page), ["a", "b"], "byte {torn}");
            bytes = whole.clone();
            bytes[torn..].fill(0);
            page.file.write_all_at(&bytes, before.end).expect("a file");
            assert_eq!(names(&page), ["a", "b"], "from byte {torn}");
            page.file.set_len(before.end + torn as u64).expect("a file");
            assert_eq!(names(&page), ["a", "b"], "before byte {torn}");
        }
        page.file.write_all_at(&whole, before.end).expect("a file");
        assert_eq!(names(&page), ["a", "b", "c"]);
        // A head that is torn has nothing behind it.
        page.file.write_all_at(b"D", 0).expect("a file");
        assert_eq!(names(&page), [""; 0]);
    }

    #[test]
    fn a_page_ends_and_a_long_entry_has_one_for_itself() {
        let (page, _dir) = page();
        let long = vec![0; SIZE_MAX as usize];
        let pen = page.write(&Pen::default(), &long).expect("a disk");
        let pen = pen.expect("room");
        assert!(pen.is_past_half());
        assert!(page.write(&pen, b"").expect("a disk").is_none());
        let next = write(&page, pen.turn(), &["a"]);
        assert_eq!(names(&page), ["a"]);
        assert!(page.write(&next, &long).expect("a disk").is_none());
    }
}
