//! How far something is that takes its time: one line on the terminal of whoever waits.
//!
//! It goes to standard error, and only if that is a terminal; what a program prints for others
//! to read is never mixed with it.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Most often that the line changes.
const PAUSE: Duration = Duration::from_millis(100);

/// The line. It vanishes when this is dropped.
#[derive(Debug)]
pub struct Progress {
    /// When it last changed; `None` where nobody looks.
    shown: Option<Mutex<Option<Instant>>>,
}

impl Progress {
    /// A line, if somebody looks.
    pub fn new() -> Progress {
        let is_seen = std::io::stderr().is_terminal();
        Progress {
            shown: is_seen.then(|| Mutex::new(None)),
        }
    }

    /// Takes the line away, for what is said for good.
    pub fn clear(&self) {
        if self.shown.is_some() {
            write(format_args!("\r\x1b[K"));
        }
    }

    /// Says how far it is, from any thread; too soon after the last time it is left out.
    pub fn show(&self, how_far: impl Display) {
        // Who panicked meanwhile wrote half a line at worst.
        let Some(Ok(mut shown)) = self.shown.as_ref().map(Mutex::lock) else {
            return;
        };
        if shown.is_none_or(|last| PAUSE <= last.elapsed()) {
            write(format_args!("\r\x1b[K{how_far}"));
            *shown = Some(Instant::now());
        }
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn write(line: std::fmt::Arguments) {
    let mut terminal = std::io::stderr().lock();
    // A terminal that is gone misses nothing.
    let _ = terminal.write_fmt(line).and_then(|()| terminal.flush());
}
