//! Clients that try TLS on a port without it, as docker, containerd, buildx and helm do first.
//!
//! Go's clients fall back to plain HTTP when the answer to their hello begins with `HTTP/`, and
//! take a connection that just ends for a fault of the network.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;
use socket2::Socket;

/// The content type of a TLS record that holds a handshake, with which a hello begins (RFC 8446,
/// section 5.1). No HTTP request begins with it.
pub(super) const HANDSHAKE: u8 = 0x16;
/// How long a hello may take from its first byte to its last.
const HELLO_TIME_MAX: Duration = Duration::from_secs(30);
/// The most that is taken in behind the hello, in bytes, before the answer and again after it.
const BEHIND_SIZE_MAX: usize = 64 << 10;
/// How long the client's end is waited for after the answer.
const LINGER_TIME_MAX: Duration = Duration::from_millis(200);
/// The least time between two lines of the log.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

const SENTENCE: &str = "this port speaks plain HTTP, not TLS";

/// Reads the hello with which a connection begins, and answers it. The connection is then to be
/// closed.
///
/// A close while bytes are unread becomes a reset, which may take the answer away on its way, so
/// all that has come is read first, and what still comes after the answer. That ends soon: a client
/// of TLS closes as soon as it has an answer that is none.
pub(super) fn answer(socket: &Socket) -> io::Result<()> {
    let deadline = Instant::now() + HELLO_TIME_MAX;
    let mut client = Until { socket, deadline };
    let mut record = [0; 5];
    // What is cut, or is no TLS of any version, is answered as well.
    if client.read_exact(&mut record).is_ok() && record[1] == 3 {
        let length = u16::from_be_bytes([record[3], record[4]]);
        let _ = io::copy(&mut client.by_ref().take(length.into()), &mut io::sink());
    }
    let (mut buffer, mut behind) = ([0; 4096], 0);
    while behind < BEHIND_SIZE_MAX && ioctl_fionread(socket)? > 0 {
        behind += client.read(&mut buffer)?;
    }
    let length = SENTENCE.len() + 1;
    let answer = format!(
        "HTTP/1.0 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\n\r\n{SENTENCE}\n"
    );
    (&*socket).write_all(answer.as_bytes())?;
    socket.shutdown(Shutdown::Write)?;
    client.deadline = Instant::now() + LINGER_TIME_MAX;
    io::copy(&mut client.take(BEHIND_SIZE_MAX as u64), &mut io::sink()).map(drop)
}

/// What comes over a socket until some time.
struct Until<'s> {
    socket: &'s Socket,
    deadline: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        (&*self.socket).read(buffer)
    }
}

/// The hellos of a listener: a line of the log a minute, however many come.
#[derive(Debug, Default)]
pub struct Hellos(Mutex<Unlogged>);

#[derive(Debug, Default)]
struct Unlogged {
    logged: Option<Instant>,
    count: u64,
}

impl Hellos {
    /// Logs a hello of a client at that address, unless one was logged a short while ago.
    pub(super) fn log(&self, peer: &str) {
        let Some(unlogged) = self.count(Instant::now()) else {
            return;
        };
        log::info!(
            remote = peer;
            "a client tried TLS, and was told that this port speaks plain HTTP \
             ({unlogged} more since the last such line)"
        );
    }

    /// Counts a hello; if it is to be logged, how many were not since the last that was.
    fn count(&self, now: Instant) -> Option<u64> {
        // Nothing can panic in between: a poisoned lock is as good as any.
        let mut unlogged = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let is_due = |logged: Instant| now.duration_since(logged) >= LINE_INTERVAL;
        if unlogged.logged.is_none_or(is_due) {
            unlogged.logged = Some(now);
            return Some(std::mem::take(&mut unlogged.count));
        }
        unlogged.count += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hellos_are_counted_until_a_minute_is_over() {
        let (hellos, start) = (Hellos::default(), Instant::now());
        let at = |secs| hellos.count(start + Duration::from_secs(secs));
        assert_eq!(at(0), Some(0));
        assert_eq!((at(1), at(59)), (None, None));
        assert_eq!(at(60), Some(2));
        assert_eq!((at(61), at(200)), (None, Some(1)));
    }
}
