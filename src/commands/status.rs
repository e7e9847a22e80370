//! `registry status`: how far images have come on their way to the content network.

use lighthouse::status::{self, Wanted};
use lighthouse::terminal::{Format, Output};

use super::{Where, look};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
States:
  local      on this disk only; it will travel, if a network is configured
  uploading  on its way
  stored     the network has it and has not pinned it yet
  pinned     the network keeps it
  failed     the network refuses it; it is tried again
  missing    neither here nor on the network
  foreign    to be fetched from elsewhere, as its media type says

Exit codes:
  0  all that was asked for is pinned, or stays on this disk because no network is configured
  1  something failed, or is not there
  2  nothing could be told: the configuration is wrong, or the root directory can't be read
  3  something is still on its way")]
pub struct Options {
    /// What to tell of: REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST; else all images
    #[arg(value_name = "REPOSITORY[:TAG]")]
    image: Option<Wanted>,
    #[command(flatten)]
    place: Where,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub fn run(options: &Options) -> u8 {
    look(&options.place, |config| {
        let wanted = options.image.as_ref();
        status::run(&config.storage, wanted, options.format, &mut Output::new())
    })
}
