//! Backups: copies of the catalog, made while it is used.
//!
//! A copy is one file that needs nothing beside it. Its name says the catalog's version and when it
//! was made: `backups/catalog-v1-2026-11-28T040506Z.sqlite`. To go back to one, it is put in the
//! catalog's place while no server runs.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::error::{Error, Kind};
use super::view::View;
use super::{filesystem, sqlite};
use crate::disk;
use crate::fault::Fault;
use crate::logbook::rfc3339;

/// Copies that are kept; of each version of the catalog the last one stays in any case.
const KEPT: usize = 7;
/// The copy that is made daily takes at most this share of the free room.
const SHARE_OF_FREE_ROOM: u64 = 10;
/// Pages copied in one go.
const PAGES_AT_A_TIME: i32 = 1024;
/// How long to wait where a lock keeps a page from being copied.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of the copy that is made once a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Daily {
    /// It was made.
    Made(PathBuf),
    /// There is one of this day.
    There(PathBuf),
    /// It would take too much of the room that is left, all in bytes.
    TooLarge {
        /// What the copy would take.
        size: u64,
        /// What is free.
        free: u64,
    },
}

/// A copy in the folder of copies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Copied {
    /// When it was made, as its name has it: `2026-11-28T040506Z`.
    made: String,
    version: i64,
    path: PathBuf,
}

/// Makes a copy of the catalog, of one moment, at a path, over whatever is there; its size in
/// bytes. Meanwhile the catalog's log grows, for it holds what is newer.
pub fn write(view: &View, to: &Path) -> Result<u64, Fault> {
    let from = view.catalog_path();
    if to.is_dir() {
        let cause = "it is a folder; name the file that the copy shall be";
        return Err(Fault::disk("write", to, io::Error::other(cause)));
    }
    if !from.exists() {
        return Err(Fault::disk("open", from, io::ErrorKind::NotFound.into()));
    }
    let is_catalog = |path: &Path| {
        let same = fs::canonicalize(path).ok().zip(fs::canonicalize(from).ok());
        same.is_some_and(|(one, other)| one == other)
    };
    if is_catalog(to) {
        let cause = "it is the catalog itself; name another file";
        return Err(Fault::disk("write", to, io::Error::other(cause)));
    }
    let copied = view.with_connection(|source| Ok(copy(source, from, to)));
    copied.map_err(|error| sqlite::fault("read", from, error))?
}

/// Makes the copy of this day beside the catalog, unless there is one, or it would take more than a
/// tenth of the free room; and removes the oldest of too many.
pub fn daily(view: &View, now: SystemTime) -> Result<Daily, Fault> {
    let path = view.catalog_path();
    let today = day(&stamp(now)).to_owned();
    let last = list(path)?.pop();
    if let Some(last) = last.filter(|last| day(&last.made) == today) {
        return Ok(Daily::There(last.path));
    }
    if let Some((size, free)) = too_large(view)? {
        return Ok(Daily::TooLarge { size, free });
    }
    let to = place(path, sqlite::VERSION, now)?;
    write(view, &to)?;
    prune(path)?;
    Ok(Daily::Made(to))
}

/// The size of a catalog and the room that is free beside it, in bytes, if the copy of each day
/// is not made because it would take too much of it.
pub fn too_large(view: &View) -> Result<Option<(u64, u64)>, Fault> {
    let path = view.catalog_path();
    let size = view.with_connection(size);
    let size = size.map_err(|error| sqlite::fault("read", path, error))?;
    let free = filesystem::free(sqlite::parent(path))?;
    let is_too_large = size.saturating_mul(SHARE_OF_FREE_ROOM) > free;
    Ok(is_too_large.then_some((size, free)))
}

/// Copies a catalog of an older version before it is changed to ours.
pub(super) fn before_migration(
    source: &Connection,
    path: &Path,
    version: i64,
) -> Result<PathBuf, Fault> {
    let to = place(path, version, SystemTime::now())?;
    copy(source, path, &to)?;
    Ok(to)
}

/// The last copy of the catalog at `path` whose version a program can read that knows
/// `version_max`, if that can be told.
pub fn last(path: &Path, version_max: i64) -> Option<PathBuf> {
    let mut copies = list(path).unwrap_or_default();
    copies.retain(|copied| copied.version <= version_max);
    copies.pop().map(|copied| copied.path)
}

/// What to do about a catalog that is damaged, to stand behind the cause.
pub(super) fn advice(path: &Path) -> String {
    match last(path, sqlite::VERSION) {
        Some(copy) => format!(
            "; stop the registry, move the catalog away with its -wal and -shm, and put its last \
             copy in its place: {}",
            copy.display()
        ),
        None => "; there is no copy of it beside it".into(),
    }
}

fn folder(path: &Path) -> PathBuf {
    sqlite::parent(path).join("backups")
}

fn stamp(now: SystemTime) -> String {
    // Whole seconds, without what some file systems refuse in a name.
    let text = rfc3339(now).replace(':', "");
    let seconds = text.split('.').next().unwrap_or(&text);
    format!("{seconds}Z")
}

fn day(stamp: &str) -> &str {
    stamp.split('T').next().unwrap_or(stamp)
}

/// Where a copy is to be made, in a folder that is there.
fn place(path: &Path, version: i64, now: SystemTime) -> Result<PathBuf, Fault> {
    let folder = folder(path);
    disk::make_dirs(&folder)?;
    let made = stamp(now);
    Ok(folder.join(format!("catalog-v{version}-{made}.sqlite")))
}

/// The copies of the catalog at `path`, the oldest first.
fn list(path: &Path) -> Result<Vec<Copied>, Fault> {
    let folder = folder(path);
    let copied = |name: String| {
        let within = name.strip_prefix("catalog-v")?.strip_suffix(".sqlite")?;
        let (version, made) = within.split_once('-')?;
        Some(Copied {
            made: made.to_owned(),
            version: version.parse().ok()?,
            path: folder.join(&name),
        })
    };
    let names = disk::list(&folder)?.into_iter();
    let mut copies: Vec<Copied> = names.filter_map(copied).collect();
    copies.sort();
    Ok(copies)
}

/// Removes the oldest copies, and what a copy that was interrupted left.
fn prune(path: &Path) -> Result<(), Fault> {
    let copies = list(path)?;
    for (at, copied) in copies.iter().enumerate() {
        let is_last = |other: &Copied| other.version != copied.version;
        if at + KEPT < copies.len() && !copies[at + 1..].iter().all(is_last) {
            disk::discard(&copied.path)?;
        }
    }
    let folder = folder(path);
    let names = disk::list(&folder)?.into_iter();
    let left = names.filter(|name| name.ends_with(UNFINISHED));
    left.map(|name| folder.join(name))
        .try_for_each(|path| disk::discard(&path))
}

/// What a copy's name ends with until it is whole.
const UNFINISHED: &str = ".unfinished";

fn size(connection: &Connection) -> Result<u64, Error> {
    let ask = |what: &str| connection.pragma_query_value(None, what, |row| row.get::<_, i64>(0));
    Ok((ask("page_count")? * ask("page_size")?).unsigned_abs())
}

/// Copies a database to a temporary name, checks and syncs it, and gives it its own name.
fn copy(source: &Connection, from: &Path, to: &Path) -> Result<u64, Fault> {
    let folder = sqlite::parent(to);
    let temporary = sqlite::beside(to, &format!(".{}{UNFINISHED}", Uuid::new_v4()));
    let made = fill(source, from, &temporary, to).and_then(|size| {
        let named = fs::rename(&temporary, to);
        named.map_err(|cause| Fault::disk("rename to", to, cause))?;
        disk::sync(folder)?;
        Ok(size)
    });
    if made.is_err() {
        // The fault says what matters.
        let _ = disk::discard(&temporary);
    }
    made
}

fn fill(source: &Connection, from: &Path, temporary: &Path, to: &Path) -> Result<u64, Fault> {
    let reading = |error: Error| sqlite::fault("copy", from, error);
    let size = size(source).map_err(reading)?;
    let free = filesystem::free(sqlite::parent(to))?;
    if free < size {
        let cause = format!("a copy takes {size} bytes, and {free} are free");
        let cause = io::Error::new(io::ErrorKind::StorageFull, cause);
        return Err(Fault::disk("write", to, cause));
    }
    // It is for nobody else's eyes until it has the rights that the catalog has.
    let new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary);
    new.map_err(|cause| Fault::disk("make", temporary, cause))?;
    transfer(source, temporary).map_err(|error| match error.kind() {
        Kind::Full | Kind::Write => sqlite::fault("write", to, error),
        _ => reading(error),
    })?;
    let rights = fs::metadata(from).map(|found| found.permissions());
    // The catalog may have grown since it was measured.
    let synced = rights
        .and_then(|rights| fs::set_permissions(temporary, rights))
        .and_then(|()| File::open(temporary))
        .and_then(|copy| copy.sync_all().and_then(|()| copy.metadata()));
    let copied = synced.map_err(|cause| Fault::disk("sync", to, cause))?;
    Ok(copied.len())
}

/// Fills an empty file with what a database has at this moment, and checks it.
fn transfer(source: &Connection, to: &Path) -> Result<(), Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(to, flags)?;
    // What is not finished is thrown away, and what is finished is synced once.
    copy.pragma_update(None, "journal_mode", "off")?;
    copy.pragma_update(None, "synchronous", "off")?;
    // Held until the end, or each change would have it begin again.
    source.execute_batch("begin; select count(*) from sqlite_schema")?;
    let copied = pages(source, &mut copy);
    source.execute_batch("rollback")?;
    copied?;
    // Without a log of its own it can be read anywhere, be it on a disk that can't be written.
    let mode: String =
        copy.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0))?;
    if mode != "delete" {
        return Err(Error::corrupt("the copy keeps its log"));
    }
    let found: String = copy.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
    match found.as_str() {
        "ok" => Ok(()),
        damage => Err(Error::corrupt(&damage.replace('\n', " "))),
    }
}

fn pages(source: &Connection, copy: &mut Connection) -> Result<(), Error> {
    let backup = Backup::new(source, copy)?;
    loop {
        match backup.step(PAGES_AT_A_TIME)? {
            StepResult::Done => return Ok(()),
            StepResult::Busy | StepResult::Locked => std::thread::sleep(PAUSE),
            _ => {}
        }
    }
}
