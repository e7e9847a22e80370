//! Status: how far images, and the blobs that they are made of, have come on their way to the
//! content network.
//!
//! What the root directory says is read without a lock and without a change, so a server may run
//! meanwhile. Only Filecoin deals, which nobody writes down here, are asked from the network.

mod deals;
mod look;
mod print;

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use crate::config::{Config, Storage};
use crate::disk::Root;
use crate::oci::{Reference, Repository};
use crate::pump::Network;
use look::{Look, Standing};
use print::Report;

/// What to tell of, and how.
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
    /// The configuration; else the environment's, and a store in ./data
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What the output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns.
    Table,
    /// One JSON document, with everything in full.
    Json,
}

/// An image, or all images of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    repository: Repository,
    reference: Option<Reference>,
}

/// How a command that looks at the network's side of things ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is where it should be.
    Well,
    /// Something failed, or is not there.
    Failed,
    /// Something is still on its way.
    OnItsWay,
}

/// Prints what the options ask for. An error says why nothing could be told.
pub fn run(config: &Config, options: &Options) -> Result<Verdict, Box<dyn Error>> {
    let root = open(&config.storage)?;
    let network = Network::new(&config.storage)?;
    let progress = progress()?;
    let look = Look::new(&root, network.is_some());
    let images = match look.images(options.image.as_ref(), &progress)? {
        Ok(images) => images,
        Err(unknown) => {
            drop(progress);
            eprintln!("error: {unknown}");
            return Ok(Verdict::Failed);
        }
    };
    let deals = network
        .filter(Network::makes_deals)
        .map(|network| deals::ask(&network, &images, &progress));
    drop(progress);
    let verdict = judge(images.iter().flat_map(|image| &image.parts), &look);
    let report = Report {
        images: &images,
        has_network: look.has_network,
        deals: deals.as_ref().map(|asked| &asked.known),
        note: deals.as_ref().and_then(deals::Asked::note),
    };
    if let Some(note) = &report.note {
        eprintln!("note: {note}");
    }
    let text = match options.format {
        Format::Table => report.table(),
        Format::Json => report.json(),
    };
    say(&text)?;
    Ok(verdict)
}

/// Opens the root directory of a store for reading; a server may be using it.
pub fn open(storage: &Storage) -> Result<Root, Box<dyn Error>> {
    let Some(path) = storage.store.rootdirectory() else {
        return Err("an inmemory store is known to nobody but the server that has it".into());
    };
    Ok(Root::open(path)?)
}

/// A line on standard error, if that is a terminal, for how far it is. It vanishes in the end.
pub fn progress() -> Result<ProgressBar, Box<dyn Error>> {
    let style = ProgressStyle::with_template("{wide_msg}")?;
    let line = ProgressBar::no_length().with_style(style);
    Ok(line.with_finish(ProgressFinish::AndClear))
}

/// Prints what was asked for; whoever has read enough may go.
pub fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(err) if err.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        said => said,
    }
}

fn judge<'p>(parts: impl Iterator<Item = &'p look::Part>, look: &Look) -> Verdict {
    let standings: BTreeSet<Standing> = parts.map(|part| part.standing).collect();
    let has = |some: &[Standing]| some.iter().any(|one| standings.contains(one));
    if has(&[Standing::Failed, Standing::Missing]) {
        Verdict::Failed
    } else if look.has_network && has(&[Standing::Local, Standing::Uploading, Standing::Stored]) {
        Verdict::OnItsWay
    } else {
        Verdict::Well
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        let (name, reference) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => match text.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
                _ => (text, None),
            },
        };
        if let Some((host, rest)) = text.split_once('/')
            && host.contains(':')
        {
            return Err(format!("leave out the registry's address: {rest}"));
        }
        let cause = |refusal: crate::oci::Refusal| refusal.to_string();
        let reference = reference.map(str::parse).transpose().map_err(cause)?;
        Ok(Wanted {
            repository: name.parse().map_err(cause)?,
            reference,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_as_for_docker() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let by_digest = format!("library/alpine@{digest}");
        for (text, repository, reference) in [
            ("alpine", "alpine", None),
            ("library/alpine:3.20", "library/alpine", Some("3.20")),
            (&by_digest, "library/alpine", Some(digest)),
        ] {
            let wanted = text.parse::<Wanted>().expect("a good name");
            assert_eq!(wanted.repository.as_str(), repository, "{text}");
            let found = wanted.reference.map(|reference| reference.to_string());
            assert_eq!(found.as_deref(), reference, "{text}");
        }
        for (bad, cause) in [
            (
                "127.0.0.1:5005/alpine:v1",
                "leave out the registry's address: alpine:v1",
            ),
            ("Alpine", "not a repository name"),
            ("alpine:", "not a tag"),
            ("alpine@sha256:12", "not a digest"),
            ("", "not a repository name"),
        ] {
            let said = bad.parse::<Wanted>().expect_err("a bad name");
            assert!(said.contains(cause), "{bad}: {said}");
        }
    }
}
