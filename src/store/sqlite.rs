//! What is SQLite's alone: opening the database file, its settings, its version, its log.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use uuid::Uuid;

use super::error::{Error, Kind};
use super::{backup, filesystem};
use crate::disk;
use crate::fault::Fault;

/// The version of `schema.sql`, as `user_version` keeps it.
pub const VERSION: i64 = MIGRATIONS.len() as i64 + 1;
/// The steps from each version to the next; the first is from 1 to 2.
const MIGRATIONS: &[&str] = &[];
/// How long to wait for another process that holds the database, such as a backup's.
pub const BUSY_TIME_MAX: Duration = Duration::from_secs(5);
/// Statements kept ready for each connection; all of `sql/` fit.
const STATEMENTS_KEPT: usize = 128;

/// Fills in the words that engines say differently.
pub fn schema() -> String {
    [
        ("{id}", "integer primary key"),
        ("{number}", "integer primary key autoincrement"),
        ("{int}", "integer"),
        ("{text}", "text"),
        ("{blob}", "blob"),
        ("{strict}", "strict"),
        ("{keyed}", "strict, without rowid"),
    ]
    .iter()
    .fold(
        include_str!("schema.sql").to_owned(),
        |schema, (word, said)| schema.replace(word, said),
    )
}

/// Runs a statement that has no values and no answer, and stays prepared: a transaction has several
/// of them.
pub fn control(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 says 0.
    since.map_or(0, |since| since.as_millis() as i64)
}

/// Opens the database that is written to, making it if there is none, and brings it to our
/// version. A newer one is refused: what it means is not known here.
pub fn open_writer(path: &Path) -> Result<Connection, Fault> {
    let failed = |error: Error| fault("open", path, error);
    let is_new = !path.exists();
    if is_new {
        prepare_folder(path)?;
    }
    filesystem::refuse_shared(parent(path))?;
    if !is_new {
        rewrite_log(path)?;
    }
    let connection = connect(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    )
    .map_err(failed)?;
    let set = || -> Result<(), Error> {
        if is_new {
            // Works only before the first table is made.
            connection.pragma_update(None, "auto_vacuum", "incremental")?;
        }
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        // The writer moves the log into the database itself, between batches.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(())
    };
    set().map_err(failed)?;
    migrate(&connection, path, MIGRATIONS)?;
    // Else a power cut could take the name of a database that holds what was acknowledged. An
    // earlier start may have ended before this.
    disk::sync(parent(path))?;
    Ok(connection)
}

/// How a database is opened that is only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Somebody writes it, or wrote it and left a log: nothing of it is touched.
    Beside,
    /// Nobody does, and its log is empty. What SQLite makes beside it while it is read goes when
    /// it is closed, which a connection that may only read would leave.
    Guest,
    /// Nobody can: it is read without a lock, and without its log, which must be empty.
    Immutable,
}

/// Opens the database to read from it.
pub fn open_reader(path: &Path, access: Access) -> Result<Connection, Error> {
    let connection = match access {
        Access::Beside => connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        Access::Guest => connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?,
        Access::Immutable => {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            connect(Path::new(&immutable(path)), flags)?
        }
    };
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Opens a database for a command that has no writer beside it, and may meet one of another
/// version.
pub fn open_looking(path: &Path, access: Access) -> Result<Connection, Error> {
    let connection = open_reader(path, access)?;
    let version = version(&connection)?;
    let cause = match version {
        VERSION => return Ok(connection),
        newer if newer > VERSION => newer_catalog(path, newer),
        older => format!(
            "the catalog is of version {older}, and this program reads {VERSION}: `registry \
             serve` brings it up to date when it starts"
        ),
    };
    Err(Fault::disk("open", path, io::Error::other(cause)).into())
}

/// A database with nothing in it, in memory.
pub fn open_empty() -> Result<Connection, Error> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(&schema())?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Else a statement is planned anew whenever values are bound to it, which takes several times
    // as long as to run it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Whether all that was written to a database is in its own file.
pub fn has_empty_log(path: &Path) -> bool {
    fs::metadata(beside(path, "-wal")).map_or(0, |found| found.len()) == 0
}

/// A path as SQLite's URI of a database that nobody can change (sqlite.org/uri.html).
fn immutable(path: &Path) -> String {
    let mut uri = String::from("file:");
    // Two slashes at the beginning would be taken for a host.
    if path.is_absolute() {
        uri.push_str("//");
    }
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri + "?immutable=1"
}

fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    // One connection is used by one thread at a time.
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIME_MAX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // In KiB, where it is below 0. Memory maps would be faster by an eighth, and turn a disk's
    // error into a signal that ends the process.
    connection.pragma_update(None, "cache_size", -256)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection)
}

/// Why a catalog of a newer version is not opened, and what can be done about it.
fn newer_catalog(path: &Path, version: i64) -> String {
    let copy = match backup::last(path, VERSION) {
        Some(copy) => format!("its last copy from before: {}", copy.display()),
        None => "a copy from before".into(),
    };
    format!(
        "the catalog is of version {version}, and this program knows {VERSION} at the most: start \
         the one that wrote it, or put in its place {copy}"
    )
}

/// Brings the database to our version, by the steps from each version to the next, after a copy was
/// made of it.
fn migrate(connection: &Connection, path: &Path, steps: &[&str]) -> Result<(), Fault> {
    let failed = |error: rusqlite::Error| fault("migrate", path, error.into());
    let ours = steps.len() as i64 + 1;
    let version = version(connection).map_err(failed)?;
    if version > ours {
        let cause = newer_catalog(path, version);
        return Err(Fault::disk("open", path, io::Error::other(cause)));
    }
    let made = schema()
        + "insert into catalog (id, catalog_id, created_at) values (1, randomblob(16), 0);";
    let steps: Vec<&str> = match version {
        0 => vec![&made],
        known => steps[known as usize - 1..].to_vec(),
    };
    if steps.is_empty() {
        return Ok(());
    }
    if version > 0 {
        let copy = backup::before_migration(connection, path, version)?;
        let copy = copy.display();
        log::info!("the catalog is brought from version {version} to {ours}; a copy is {copy}");
    }
    let script = format!(
        "begin immediate; {} update catalog set created_at = {} where created_at = 0; \
         pragma user_version = {ours}; commit;",
        steps.concat(),
        now()
    );
    connection.execute_batch(&script).map_err(failed)
}

/// Makes the folder of a new database. btrfs must not copy its pages on each write: besides being
/// slow, a full disk would end the process by a signal.
fn prepare_folder(path: &Path) -> Result<(), Fault> {
    let folder = parent(path);
    // Somebody else's folder keeps its ways.
    let is_ours = !folder.exists() || folder.ends_with(disk::OURS);
    disk::make_dirs(folder)?;
    if !is_ours {
        return Ok(());
    }
    let set = File::open(folder).and_then(|folder| {
        let flags = ioctl_getflags(&folder)?;
        Ok(ioctl_setflags(&folder, flags | IFlags::NOCOW)?)
    });
    if let Err(cause) = set {
        // File systems that do not copy on write do not know the flag.
        log::debug!("{}: copies on write: {cause}", folder.display());
    }
    Ok(())
}

/// Writes the log that an earlier process left once more, to a new file that is synced.
///
/// A sync that failed may have left in memory what the disk does not have. SQLite would take it
/// for durable, and put later commits behind it.
fn rewrite_log(path: &Path) -> Result<(), Fault> {
    if has_empty_log(path) {
        return Ok(());
    }
    let log = beside(path, "-wal");
    let copy = beside(path, "-wal.copy");
    let copied = copy_bytes(&log, &copy);
    copied.map_err(|cause| Fault::disk("copy", &log, cause))?;
    fs::rename(&copy, &log).map_err(|cause| Fault::disk("replace", &log, cause))?;
    disk::sync(parent(path))
}

/// Copies a file to a new one, and syncs that. The bytes pass through here: the kernel could let
/// the copy share what the disk has of the first, which is what is in doubt.
fn copy_bytes(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.sync_all(),
            size => to.write_all(&buffer[..size])?,
        }
    }
}

/// A file beside the database, as SQLite names them.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The folder of a database.
pub fn parent(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new("."))
}

/// A failure of the database as a fault on its file.
pub fn fault(op: &'static str, path: &Path, error: Error) -> Fault {
    let kind = error.kind();
    if let Error::Fault(fault) = error {
        return fault;
    }
    let cause = match kind {
        Kind::Full => io::ErrorKind::StorageFull.into(),
        Kind::Write => write_error(path),
        Kind::Corrupt => io::Error::other(format!("{error}{}", backup::advice(path))),
        Kind::Sync | Kind::Shut | Kind::Other => io::Error::other(error.to_string()),
    };
    Fault::disk(op, path, cause)
}

/// Why a write of SQLite's failed, which it does not tell: the same is tried in a file beside, as
/// far from its beginning, for there may be a limit to the size of files.
fn write_error(path: &Path) -> io::Error {
    let length = |suffix| fs::metadata(beside(path, suffix)).map_or(0, |found| found.len());
    let offset = length("").max(length("-wal"));
    let probe = parent(path).join(format!("probe-{}", Uuid::new_v4()));
    let written = File::create_new(&probe).and_then(|file| {
        file.write_all_at(&[1; 64 << 10], offset)?;
        file.sync_all()
    });
    let _ = fs::remove_file(&probe);
    match written {
        Err(cause) => cause,
        Ok(()) => io::Error::other("a write failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_is_copied_before_it_is_migrated_and_the_copy_is_named_to_older_programs() {
        let folder = std::env::temp_dir().join(format!("lighthouse-test-{}", Uuid::new_v4()));
        let path = folder.join("catalog.sqlite");
        let catalog = open_writer(&path).expect("a catalog");
        let version_of = |catalog: &Connection| version(catalog).expect("a version");
        assert_eq!(version_of(&catalog), 1);
        let to_two = ["create table more (id integer) strict;"];
        migrate(&catalog, &path, &to_two).expect("it is migrated");
        assert_eq!(version_of(&catalog), 2);
        migrate(&catalog, &path, &to_two).expect("nothing is left to do");
        let copies = disk::list(&folder.join("backups")).expect("a folder");
        assert!(
            copies.len() == 1 && copies[0].starts_with("catalog-v1-"),
            "{copies:?}"
        );
        let copy = folder.join("backups").join(&copies[0]);
        let copied = open_reader(&copy, Access::Immutable).expect("a database");
        assert_eq!(version_of(&copied), 1);
        let refused = migrate(&catalog, &path, &[]).expect_err("it is newer");
        assert!(refused.to_string().contains(&copies[0]), "{refused}");
        drop((catalog, copied));
        disk::discard(&folder).expect("removed");
    }
}
