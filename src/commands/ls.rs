//! `registry ls`: repositories, and the tags of one.

use lighthouse::oci::Repository;
use lighthouse::status::{self, list, list::Shape};
use lighthouse::terminal::{Format, Output};

use super::{Where, look};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Without REPOSITORY each repository that holds a manifest is listed, with how many it holds; with
it, each of its tags: the size of all that the image is made of, when it was pushed, its digest,
what it runs on, and how far it is on the content network, as `registry status` tells it.

Exit codes:
  0  it is listed
  1  there is no such repository
  2  nothing could be listed: the configuration is wrong, or the root directory can't be read")]
pub struct Options {
    /// The repository whose tags to list
    #[arg(value_parser = repository)]
    repository: Option<Repository>,
    #[command(flatten)]
    place: Where,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Names alone, one a line
    #[arg(short, long)]
    quiet: bool,
}

fn repository(text: &str) -> Result<Repository, String> {
    text.parse()
        .map_err(|refusal: lighthouse::oci::Refusal| refusal.to_string())
}

pub fn run(options: &Options) -> u8 {
    let shape = match options.quiet {
        true => Shape::Names,
        false => Shape::Full(options.format),
    };
    look(&options.place, |config| {
        let storage = &config.storage;
        let (view, wanted) = (status::open(storage)?, options.repository.as_ref());
        list::run(&view, storage, wanted, shape, &mut Output::new())
    })
}
