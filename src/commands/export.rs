//! `registry export`: the catalog as one document.

use std::time::Duration;

use lighthouse::export;
use lighthouse::terminal::Output;

use super::{Where, look};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
The document is JSON: repositories with their tags and manifests, and the CID and size of every
manifest and blob. Without --cid it goes to standard output.

Exit codes:
  0  it is written, and all that it names is pinned
  1  it could not be put on the network
  2  it could not begin: the configuration is wrong, or the root directory can't be read
  3  it is written, but some of what it names, or the document itself, is not pinned yet")]
pub struct Options {
    /// Put the document on the content network, wait until it is pinned there, and print its CID;
    /// with export-name configured, Estuary finds it again by that name
    #[arg(long)]
    cid: bool,
    /// How long to wait for the network
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
    #[command(flatten)]
    place: Where,
}

pub fn run(options: &Options) -> u8 {
    let wait = options.cid.then(|| Duration::from_secs(options.wait));
    look(&options.place, |config| {
        export::run(config, wait, &mut Output::new())
    })
}
