//! `registry backup`: a copy of the catalog, while the registry runs.

use std::path::PathBuf;

use lighthouse::status;
use lighthouse::store::backup;
use lighthouse::terminal::{self, Verdict, size_text};

use super::{Where, look};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
The copy is of one moment, and is checked before it takes the place of what has its name. It holds
repositories, tags, manifests and all content of up to 64 KiB. Larger blobs are files below
docker/registry/v2/blobs: copy those after it, with whatever copies files.

To go back to a copy, put it in the place of ROOT/lighthouse/catalog.sqlite while no server runs.

Exit codes:
  0  the copy is made
  1  it could not be made, and what had its name is as it was
  2  it could not begin: the configuration is wrong, or the root directory can't be read")]
pub struct Options {
    /// The file that the copy shall be
    file: PathBuf,
    #[command(flatten)]
    place: Where,
    /// Say nothing of a copy that is made
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(options: &Options) -> u8 {
    look(&options.place, |config| {
        let view = status::open(&config.storage)?;
        match backup::write(&view, &options.file) {
            Ok(size) if !options.quiet => {
                let file = options.file.display();
                terminal::tell(format_args!("copied {} to {file}", size_text(size)));
                Ok(Verdict::Well)
            }
            Ok(_) => Ok(Verdict::Well),
            Err(fault) => {
                terminal::complain(fault);
                Ok(Verdict::Failed)
            }
        }
    })
}
