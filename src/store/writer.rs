//! The writer: the one thread that changes the catalog.
//!
//! Commands that wait together share a transaction, each in a savepoint, and one wait for the
//! disk. Each has its own result: a command that fails takes nothing of the others away, and
//! nobody is answered before the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::error::{Error, Kind};
use super::transaction::Transaction;
use super::{backup, sqlite};
use crate::fault::Fault;
use crate::oci::Refusal;

/// The most commands that wait; whoever comes later waits to be let in.
const WAITING_MAX: usize = 256;
/// The most commands that share a transaction: each takes under 20 ms.
const BATCH_MAX: usize = 64;
/// How many batches may lie in the log before it is moved into the database. A batch is some 40 KB.
const BATCHES_IN_LOG_MAX: u32 = 100;
/// The most pages, of 4 KiB, that the log may have: 16 MiB.
const PAGES_IN_LOG_MAX: i64 = 4 << 10;
/// The longest that the log may wait for that, when nothing comes.
const QUIET_TIME_MAX: Duration = Duration::from_secs(1);
/// The longest that readers are waited for until the log can begin anew. They hold a transaction
/// for one query; only a backup holds one for longer, and nobody's push may wait for that.
const READERS_TIME_MAX: Duration = Duration::from_millis(200);

/// What a caller gets of a command.
pub type Outcome<T> = Result<T, Failure>;

/// Why a command was not carried out: nothing of it is there.
#[derive(Debug)]
pub enum Failure {
    /// A rule that it depends on does not hold.
    Refused(Refusal),
    /// The catalog could not be written.
    Fault(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::Fault(fault)
    }
}

impl From<Failure> for Fault {
    /// For what no rule refuses.
    fn from(failure: Failure) -> Fault {
        match failure {
            Failure::Fault(fault) => fault,
            Failure::Refused(refusal) => Fault::panicked(format!("refused: {refusal}")),
        }
    }
}

/// Whether an acknowledged change must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It must.
    Synced,
    /// The end of this process alone: an upload on its way.
    Written,
}

/// A command on its way to the writer.
trait Command: Send {
    fn durability(&self) -> Durability;
    /// Carries it out; once more, where the database gave the first transaction up.
    fn run(&mut self, transaction: &Transaction) -> Result<(), Error>;
    /// Tells the caller that it is committed.
    fn committed(self: Box<Self>);
    /// Tells the caller that nothing of it is there.
    fn failed(self: Box<Self>, failure: Failure);
}

struct Call<T, F> {
    durability: Durability,
    run: F,
    result: Option<T>,
    caller: SyncSender<Outcome<T>>,
}

impl<T: Send, F: FnMut(&Transaction) -> Result<T, Error> + Send> Command for Call<T, F> {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run(&mut self, transaction: &Transaction) -> Result<(), Error> {
        self.result = None;
        self.result = Some((self.run)(transaction)?);
        Ok(())
    }

    fn committed(self: Box<Self>) {
        let none = || Failure::Fault(Fault::panicked("a command was committed before it ran"));
        // A caller that has panicked waits no more.
        let _ = self.caller.send(self.result.ok_or_else(none));
    }

    fn failed(self: Box<Self>, failure: Failure) {
        let _ = self.caller.send(Err(failure));
    }
}

/// The writer's thread, for whoever sends it commands. It is closed when this is dropped.
pub struct Writer {
    /// None when it is closed.
    commands: RwLock<Option<SyncSender<Box<dyn Command>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    broken: Arc<Broken>,
}

/// Why nothing is changed any more, until a restart has read what the disk really has.
struct Broken {
    path: PathBuf,
    cause: OnceLock<String>,
}

impl Broken {
    /// Notes whether a failure of the database is one after which nothing may be believed.
    fn note(&self, error: &Error) {
        let advice = match error.kind() {
            Kind::Sync => String::new(),
            Kind::Corrupt => backup::advice(&self.path),
            Kind::Full | Kind::Write | Kind::Shut | Kind::Other => return,
        };
        let cause = format!("{error}{advice}");
        if self.cause.set(cause).is_ok() {
            log::error!(
                "{}: {error}{advice}; nothing is changed any more until a restart",
                self.path.display()
            );
        }
    }

    /// The fault that whoever would change something gets.
    fn fault(&self) -> Option<Error> {
        let (path, cause) = (self.path.clone(), self.cause.get()?.clone());
        Some(Error::Fault(Fault::Stopped { path, cause }))
    }
}

impl Writer {
    /// Starts the thread, with the connection that writes the database at `path`.
    pub fn start(connection: Connection, path: &Path) -> Result<Writer, Fault> {
        let (commands, waiting) = sync_channel(WAITING_MAX);
        let broken = Arc::new(Broken {
            path: path.to_owned(),
            cause: OnceLock::new(),
        });
        let batches = Batches {
            connection,
            path: path.to_owned(),
            waiting,
            durability: Durability::Synced,
            broken: Arc::clone(&broken),
            in_log: 0,
        };
        let run = || batches.run();
        let thread = thread::Builder::new().name("writer".into()).spawn(run);
        let thread =
            thread.map_err(|err| Fault::panicked(format!("no thread can be started: {err}")))?;
        Ok(Writer {
            commands: RwLock::new(Some(commands)),
            thread: Mutex::new(Some(thread)),
            broken,
        })
    }

    /// Notes what a reader met: if the database is damaged, it is not written to any more.
    pub fn note(&self, error: &Error) {
        self.broken.note(error);
    }

    /// Has a command carried out, and waits until it is committed, or is known to have changed
    /// nothing. It may be run more than once; only the last run counts.
    pub fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        run: impl FnMut(&Transaction) -> Result<T, Error> + Send + 'static,
    ) -> Outcome<T> {
        let (caller, answer) = sync_channel(1);
        let call = Call {
            durability,
            run,
            result: None,
            caller,
        };
        let gone = || Failure::Fault(Fault::panicked("the writer of the catalog has ended"));
        // Nothing panics while one of the locks is held.
        let commands = self.commands.read().unwrap_or_else(PoisonError::into_inner);
        let sent = commands.as_ref().ok_or_else(gone)?.send(Box::new(call));
        drop(commands);
        sent.map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    /// Takes no more commands, carries out what waits, and moves the log into the database.
    pub fn close(&self) {
        *self
            .commands
            .write()
            .unwrap_or_else(PoisonError::into_inner) = None;
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // It has nothing to say: a panic in it was caught.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the writer's thread works with.
struct Batches {
    connection: Connection,
    path: PathBuf,
    waiting: Receiver<Box<dyn Command>>,
    /// What the connection is set to.
    durability: Durability,
    broken: Arc<Broken>,
    /// Batches in the log since it was last moved into the database.
    in_log: u32,
}

impl Batches {
    fn run(mut self) {
        while let Some(first) = self.next() {
            let more = self.waiting.try_iter().take(BATCH_MAX - 1);
            let batch = std::iter::once(first).chain(more).collect();
            self.carry_out(batch);
            if self.in_log >= BATCHES_IN_LOG_MAX {
                self.move_log("passive");
            }
        }
        match self.broken.fault() {
            None => self.move_log("truncate"),
            // The next start reads what the disk really has of it.
            Some(_) => {
                let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
                if let Err(error) = self.connection.set_db_config(keep, true) {
                    log::error!("{}: {error}", self.path.display());
                }
            }
        }
    }

    /// Waits for a command; None when nobody is left to send one.
    fn next(&mut self) -> Option<Box<dyn Command>> {
        if self.in_log > 0 {
            match self.waiting.recv_timeout(QUIET_TIME_MAX) {
                Err(RecvTimeoutError::Timeout) => self.move_log("passive"),
                Err(RecvTimeoutError::Disconnected) => return None,
                Ok(command) => return Some(command),
            }
        }
        self.waiting.recv().ok()
    }

    fn carry_out(&mut self, mut batch: Vec<Box<dyn Command>>) {
        match self.commit(&mut batch) {
            Ok(results) => {
                for (command, result) in batch.into_iter().zip(results) {
                    match result {
                        Ok(()) => command.committed(),
                        Err(error) => command.failed(self.failure(error)),
                    }
                }
            }
            // The database gave all of them up, because of one, perhaps.
            Err(error) if batch.len() > 1 && self.broken.fault().is_none() => {
                log::warn!("{} changes are made one by one: {error}", batch.len());
                for command in batch {
                    self.carry_out(vec![command]);
                }
            }
            Err(error) => {
                let mut error = Some(error);
                for command in batch {
                    // There is one, or the batch would have been taken apart.
                    let again = || {
                        self.broken
                            .fault()
                            .unwrap_or(Error::corrupt("a batch failed"))
                    };
                    let error = error.take().unwrap_or_else(again);
                    command.failed(self.failure(error));
                }
            }
        }
    }

    /// Commits what of a batch succeeds; the result of each command. On an error none is there.
    fn commit(&mut self, batch: &mut [Box<dyn Command>]) -> Result<Vec<Result<(), Error>>, Error> {
        if let Some(fault) = self.broken.fault() {
            return Err(fault);
        }
        self.set_durability(batch)?;
        sqlite::control(&self.connection, "begin immediate")?;
        let now = sqlite::now();
        let mut results = Vec::with_capacity(batch.len());
        for command in batch {
            let result = self.in_savepoint(&mut **command, now);
            // Where room runs out, SQLite rolls the whole transaction back, and a next savepoint
            // would be a transaction of its own.
            if self.connection.is_autocommit() {
                let ended = || Error::corrupt("a command ended the transaction");
                return Err(self.note(result.err().unwrap_or_else(ended)));
            }
            match result.map_err(|error| self.note(error)) {
                // What is damaged is not written to, whichever command met it.
                Err(error) if self.broken.fault().is_some() => {
                    sqlite::control(&self.connection, "rollback")?;
                    return Err(error);
                }
                result => results.push(result),
            }
        }
        if let Err(error) = sqlite::control(&self.connection, "commit") {
            let error = self.note(error.into());
            if !self.connection.is_autocommit() {
                sqlite::control(&self.connection, "rollback")?;
            }
            return Err(error);
        }
        self.in_log += 1;
        Ok(results)
    }

    fn in_savepoint(&self, command: &mut dyn Command, now: i64) -> Result<(), Error> {
        sqlite::control(&self.connection, "savepoint command")?;
        let transaction = Transaction::new(&self.connection, now);
        let ran = catch_unwind(AssertUnwindSafe(|| command.run(&transaction)));
        let ran = ran.unwrap_or_else(|panic| Err(Error::panicked(&*panic)));
        if ran.is_err() {
            if self.connection.is_autocommit() {
                return ran;
            }
            sqlite::control(&self.connection, "rollback to command")?;
        }
        sqlite::control(&self.connection, "release command")?;
        ran
    }

    fn set_durability(&mut self, batch: &[Box<dyn Command>]) -> Result<(), Error> {
        let durabilities = || batch.iter().map(|command| command.durability());
        let (durability, word) = match durabilities().any(|each| each == Durability::Synced) {
            true => (Durability::Synced, "pragma synchronous = full"),
            false => (Durability::Written, "pragma synchronous = normal"),
        };
        if self.durability != durability {
            sqlite::control(&self.connection, word)?;
            self.durability = durability;
        }
        Ok(())
    }

    /// Moves what is in the log into the database, as far as no reader needs it where it is.
    fn move_log(&mut self, mode: &str) {
        if self.broken.fault().is_some() {
            self.in_log = 0;
            return;
        }
        let moved =
            self.connection
                .query_row(&format!("pragma wal_checkpoint({mode})"), [], |row| {
                    Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
                });
        match moved {
            Ok((pages, _)) if pages > PAGES_IN_LOG_MAX && mode == "passive" => {
                self.wait_for_readers();
            }
            Ok(_) => self.in_log = 0,
            Err(error) => {
                let error = self.note(error.into());
                log::error!("{}: its log can't be moved: {error}", self.path.display());
                self.in_log = 0;
            }
        }
    }

    /// Has the log begin anew, once no reader needs what is in it.
    fn wait_for_readers(&mut self) {
        // It fails only for a connection that is closed.
        let _ = self.connection.busy_timeout(READERS_TIME_MAX);
        self.move_log("restart");
        let _ = self.connection.busy_timeout(sqlite::BUSY_TIME_MAX);
    }

    fn note(&self, error: Error) -> Error {
        self.broken.note(&error);
        error
    }

    fn failure(&self, error: Error) -> Failure {
        match error {
            Error::Refused(refusal) => Failure::Refused(refusal),
            error => Failure::Fault(sqlite::fault("write", &self.path, error)),
        }
    }
}
