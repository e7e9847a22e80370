//! `registry check`: everything that is wrong with a configuration.

use std::io::Write;
use std::path::PathBuf;

use lighthouse::config::Config;
use lighthouse::status;
use lighthouse::store::backup;
use lighthouse::terminal::{self, Output, size_text};

use super::{FAILED, WELL, read, tell_problems};

#[derive(clap::Args, Debug)]
pub struct Options {
    /// The configuration.
    config: PathBuf,
}

pub fn run(options: &Options) -> u8 {
    let path = options.config.as_path();
    let is_good = match read(Some(path)) {
        Ok((config, warnings)) => {
            tell_problems(Some(path), &warnings);
            warn_of_copies(&config);
            let mut out = Output::new();
            let said = writeln!(out, "{}: good", path.display()).and_then(|()| out.flush());
            said.is_ok()
        }
        Err(problems) => {
            tell_problems(Some(path), &problems);
            false
        }
    };
    if is_good { WELL } else { FAILED }
}

/// Says whether a catalog that is there has outgrown the copy that is made of it each day.
fn warn_of_copies(config: &Config) {
    // A store that is elsewhere, or is to be made yet, has nothing to say.
    let Ok(view) = status::open(&config.storage) else {
        return;
    };
    if view.catalog_path().exists()
        && let Ok(Some((size, free))) = backup::too_large(&view)
    {
        terminal::warn(format_args!(
            "the catalog, {}, is not copied each day: that would take more than a tenth of the \
             {} that are free; `registry backup` copies it to another disk",
            size_text(size),
            size_text(free)
        ));
    }
}
