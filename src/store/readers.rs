//! Connections that read: lent for one question or page, and given back before a byte goes to a
//! client, since a held one keeps the log from being moved into the database.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard};

use rusqlite::Connection;

use super::error::Error;
use super::sqlite;
use super::transaction::Transaction;

/// The most connections. Each takes some 400 KiB once it is warm; a question takes microseconds.
const CONNECTIONS_MAX: usize = 4;

/// What opens one more connection.
type Open = dyn Fn() -> Result<Connection, Error> + Send + Sync;

/// A few connections that read one database.
pub struct Readers {
    open: Box<Open>,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    open: usize,
}

impl Readers {
    /// Readers of the database that `open` opens; none is opened before it is needed.
    pub fn new(open: impl Fn() -> Result<Connection, Error> + Send + Sync + 'static) -> Readers {
        Readers {
            open: Box::new(open),
            pool: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// Reads in a transaction: all of it is of one moment.
    pub fn read<T>(&self, read: impl FnOnce(&Transaction) -> Result<T, Error>) -> Result<T, Error> {
        self.with_connection(|connection| {
            sqlite::control(connection, "begin")?;
            let answer = read(&Transaction::new(connection, sqlite::now()));
            sqlite::control(connection, "commit")?;
            answer
        })
    }

    /// Lends a connection. A transaction that is left open ends with it.
    pub fn with_connection<T>(
        &self,
        run: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let connection = self.lend()?;
        let answer = catch_unwind(AssertUnwindSafe(|| run(&connection)));
        self.give_back(connection);
        answer.unwrap_or_else(|panic| Err(Error::panicked(&*panic)))
    }

    fn lend(&self) -> Result<Connection, Error> {
        let mut pool = self.lock();
        loop {
            if let Some(connection) = pool.idle.pop() {
                return Ok(connection);
            }
            if pool.open < CONNECTIONS_MAX {
                let connection = (self.open)()?;
                pool.open += 1;
                return Ok(connection);
            }
            // Whoever panicked with the lock had moved one connection, and nothing else.
            pool = self
                .returned
                .wait(pool)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn give_back(&self, connection: Connection) {
        let mut pool = self.lock();
        // A question that failed may have left its transaction open.
        match connection.is_autocommit() {
            true => pool.idle.push(connection),
            false => pool.open -= 1,
        }
        drop(pool);
        self.returned.notify_one();
    }
}
