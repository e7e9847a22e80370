//! `registry tree`: the way back to registry:2, and to version 0.1.

use std::error::Error;

use lighthouse::config::Config;
use lighthouse::disk::Root;
use lighthouse::store::{Store, View, tree};
use lighthouse::terminal::{self, Verdict};

use super::{Where, look};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Every repository, manifest and tag gets its link again, and every small content its file, as
registry:2 (distribution) and Lighthouse 0.1 read them. No server may be using the root directory.
From then on the tree is the truth: the next start of Lighthouse reads it again, and keeps pins and
histories of tags.

Exit codes:
  0  the tree is written, or was before
  1  it could not be written; the same command begins again
  2  it could not begin: the configuration is wrong, or there is no store
  3  it is written, but some blobs are on a content network alone, where registry:2 finds none")]
pub struct Options {
    #[command(flatten)]
    place: Where,
    /// Say nothing of a tree that is whole
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(options: &Options) -> u8 {
    look(&options.place, |config| write(config, options.quiet))
}

fn write(config: &Config, quiet: bool) -> Result<Verdict, Box<dyn Error>> {
    let storage = &config.storage;
    let path = storage.store.rootdirectory();
    let path = path.ok_or("an inmemory store has no folder for a tree")?;
    // Neither a folder nor a catalog is made by looking.
    let view = View::open(&Root::open(path)?, storage.catalog.as_deref())?;
    if !view.catalog_path().exists() {
        return Err(format!("{}: there is no catalog here", path.display()).into());
    }
    drop(view);
    let root = Root::claim(path, config.http.drain_timeout)?;
    let store = Store::open(&root, storage.catalog.as_deref())?;
    let summary = match tree::write(&store, &root) {
        Ok(summary) => summary,
        Err(fault) => {
            terminal::complain(fault);
            return Ok(Verdict::Failed);
        }
    };
    let Some(summary) = summary else {
        if !quiet {
            terminal::tell("the tree was written before, and nobody has changed it since");
        }
        return Ok(Verdict::Well);
    };
    if !quiet {
        terminal::tell(format_args!(
            "wrote {} repositories with {} manifests and {} tags, and {} small contents as files",
            summary.repositories, summary.manifests, summary.tags, summary.contents
        ));
    }
    if summary.remote == 0 {
        return Ok(Verdict::Well);
    }
    terminal::warn(format_args!(
        "{} blobs are on a content network alone: registry:2 can't serve them",
        summary.remote
    ));
    Ok(Verdict::OnItsWay)
}
