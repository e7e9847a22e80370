//! `registry restore`: a registry from nothing but an export.

use lighthouse::cid::Cid;
use lighthouse::export::restore;

use super::{Where, look};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Manifests are fetched; blobs stay on the network, and clients are sent to them or the registry
fetches them when they are asked for. No server may be using the root directory.

Exit codes:
  0  everything that the export names is restored
  1  something could not be fetched; the same command goes on from there
  2  it could not begin: the configuration is wrong, the root directory is not empty, or the export
     can't be read
  3  it is restored, except for what was not on the network when the export was made")]
pub struct Options {
    /// The CID that `registry export --cid` printed; without it, the newest export with the name
    /// that is configured as export-name (Estuary)
    cid: Option<Cid>,
    /// Add to a registry that holds something already; what it has stays as it is
    #[arg(long)]
    merge: bool,
    #[command(flatten)]
    place: Where,
}

pub fn run(options: &Options) -> u8 {
    look(&options.place, |config| {
        restore::run(config, options.cid, options.merge)
    })
}
