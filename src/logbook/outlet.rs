//! Where lines go: standard error, as far as somebody reads it. A log stops nobody.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::{Level, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Form;

/// How long a line may wait for whoever reads standard error. After one that waited in vain, none
/// waits until it is read again.
const READER_TIME_MAX: Duration = Duration::from_millis(100);
/// What surely fits where anything does, in bytes (pipe(7), "PIPE_BUF").
const PIECE_SIZE: usize = 4096;

/// Standard error, as far as somebody reads it.
pub(super) struct Outlet {
    form: Arc<Form>,
    began: Instant,
    /// Lines that were lost since one was written.
    lost: u64,
}

impl Outlet {
    /// Standard error, of which no line was lost yet; told losses have that form.
    pub fn new(form: Arc<Form>, began: Instant) -> Outlet {
        Outlet {
            form,
            began,
            lost: 0,
        }
    }

    /// Writes a line; whether that could be done without waiting for long.
    fn put(&self, line: &[u8]) -> bool {
        let time_max = match self.lost {
            0 => READER_TIME_MAX,
            _ => Duration::ZERO,
        };
        let mut pieces = line.chunks(PIECE_SIZE);
        pieces.all(|piece| has_room(time_max) && io::stderr().write_all(piece).is_ok())
    }

    fn tell_loss(&self) -> bool {
        let lost = self.lost;
        let line = self.form.line(
            &Record::builder()
                .level(Level::Warn)
                .target("lighthouse")
                .args(format_args!(
                    "lines of this log were lost, for nobody read them: {lost}"
                ))
                .build(),
            self.began.elapsed(),
            SystemTime::now(),
        );
        self.put(line.as_bytes())
    }
}

impl Write for Outlet {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lost > 0 && self.tell_loss() {
            self.lost = 0;
        }
        if self.lost > 0 || !self.put(line) {
            self.lost += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether standard error takes a piece at once, or does so in time.
fn has_room(time_max: Duration) -> bool {
    let errors = io::stderr();
    let mut polled = [PollFd::new(&errors, PollFlags::OUT)];
    // A time of this length fits.
    let time_max = Timespec::try_from(time_max).ok();
    match poll(&mut polled, time_max.as_ref()) {
        Ok(count) => count > 0,
        Err(Errno::INTR) => false,
        // What can't be asked is written to as it is.
        Err(_) => true,
    }
}
