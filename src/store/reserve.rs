//! A reserve: room on the disk that is given up when nothing else is left, so that the catalog can
//! still be opened, and what is there can be deleted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::sqlite;
use crate::disk;
use crate::fault::Fault;

/// Which part of a disk is reserved: a 64th.
const PART: u64 = 64;
/// The least that is any use, in bytes: an index of SQLite's log, and a few changes in it.
const SIZE_MIN: u64 = 256 << 10;
/// The most that is needed, in bytes: twice what the log may grow to.
const SIZE_MAX: u64 = 32 << 20;

/// A file beside the catalog that holds nothing.
pub struct Reserve {
    path: PathBuf,
    is_given_up: AtomicBool,
}

impl Reserve {
    /// The reserve of the catalog at that path, as far as there is one.
    pub fn beside(catalog: &Path) -> Reserve {
        let path = sqlite::parent(catalog).join("reserve");
        let is_given_up = AtomicBool::new(!path.exists());
        Reserve { path, is_given_up }
    }

    /// Reserves room, if none is and there is plenty.
    pub fn take(&self) {
        if !self.is_given_up.load(Ordering::Relaxed) {
            return;
        }
        match self.try_take() {
            Ok(is_taken) => self.is_given_up.store(!is_taken, Ordering::Relaxed),
            Err(cause) => {
                let _ = fs::remove_file(&self.path);
                // Where files can't be made to hold nothing there is no reserve.
                self.is_given_up.store(false, Ordering::Relaxed);
                log::debug!("{}: no room is reserved: {cause}", self.path.display());
            }
        }
    }

    fn try_take(&self) -> io::Result<bool> {
        let found = statvfs(sqlite::parent(&self.path))?;
        let size = found.f_blocks.saturating_mul(found.f_frsize) / PART;
        let size = size.clamp(SIZE_MIN, SIZE_MAX);
        if found.f_bavail.saturating_mul(found.f_frsize) < 3 * size {
            return Ok(false);
        }
        let file = File::create(&self.path)?;
        fallocate(&file, FallocateFlags::empty(), 0, size)?;
        Ok(true)
    }

    /// Gives the room up; whether there was any.
    pub fn give_up(&self) -> Result<bool, Fault> {
        match fs::remove_file(&self.path) {
            Ok(()) => {}
            Err(err) if disk::is_missing(&err) => return Ok(false),
            Err(err) => return Err(Fault::disk("remove", &self.path, err)),
        }
        self.is_given_up.store(true, Ordering::Relaxed);
        // File systems that copy on write have the room back when this is on the disk.
        disk::sync(sqlite::parent(&self.path))?;
        log::warn!("the disk is full: its reserve is given up, for deletions alone");
        Ok(true)
    }
}
