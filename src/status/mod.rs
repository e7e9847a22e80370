//! Status: how far images, and the blobs that they are made of, have come on their way to the
//! content network; and the list of what there is.
//!
//! All of it is read by page from a view of the store, so a server may run meanwhile. Only Filecoin
//! deals, which nobody writes down here, are asked from the network.

mod deals;
pub mod list;
mod look;
mod print;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{ErrorKind, Write};
use std::str::FromStr;

use crate::config::Storage;
use crate::disk::Root;
use crate::fault::Fault;
use crate::ipfs::Ipfs;
use crate::oci::{Reference, Repository};
use crate::store::{View, pin};
use crate::terminal::{self, Format, Verdict};
use deals::Deals;
use look::{Image, Look, Standing};
use print::Report;

/// An image, or all images of a repository: REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    repository: Repository,
    reference: Option<Reference>,
}

/// Prints how far what is wanted, or everything, has come. An error says why nothing could be told.
pub fn run(
    storage: &Storage,
    wanted: Option<&Wanted>,
    format: Format,
    out: &mut dyn Write,
) -> Result<Verdict, Box<dyn Error>> {
    let view = open(storage)?;
    let ipfs = Ipfs::new(storage)?;
    let progress = terminal::progress();
    let network = ipfs.networks.first();
    let mut deals = network
        .filter(|network| network.makes_deals())
        .map(|network| Deals::new(network, &progress));
    let network = storage.store.network_name();
    let look = Look::new(&view, network);
    if network.is_none()
        && let Some(pinned_on) = look.read(pin::first_network)?
    {
        terminal::warn(format_args!(
            "this store has pins of {pinned_on}, and no network is configured: use --config or \
             the same REGISTRY_ variables as the server"
        ));
    }
    let mut report = Report::new(format, network.is_some(), deals.is_some(), out);
    // Deals are asked for together.
    let mut waiting: Vec<Image> = Vec::new();
    let mut tell = |images: &mut Vec<Image>| -> Result<(), Fault> {
        if let Some(deals) = &mut deals {
            deals.ask(images);
        }
        let known = deals.as_ref().map(|deals| &deals.known);
        let mut tell_of = |image: Image| report.image(&image, known).map_err(print::fault);
        progress.suspend(|| images.drain(..).try_for_each(&mut tell_of))?;
        if let Some(deals) = &mut deals {
            deals.known.clear();
        }
        Ok(())
    };
    let mut visit = |image: Image| {
        progress.set_message(format!("reading {}", image.repository));
        waiting.push(image);
        match waiting.len() < IMAGES_AT_A_TIME {
            true => Ok(()),
            false => tell(&mut waiting),
        }
    };
    let visited = look.visit(wanted, &mut visit)?;
    if let Err(unknown) = visited {
        progress.finish_and_clear();
        terminal::complain(unknown);
        return Ok(Verdict::Failed);
    }
    tell(&mut waiting)?;
    progress.finish_and_clear();
    let note = deals.as_ref().and_then(Deals::note);
    if let Some(note) = &note {
        terminal::note(note);
    }
    let states = report.end(note.as_deref()).map_err(print::fault)?;
    Ok(judge(&states, network.is_some()))
}

/// How many images are told of together.
const IMAGES_AT_A_TIME: usize = 100;

/// Opens a view of the store of a configuration.
pub fn open(storage: &Storage) -> Result<View, Box<dyn Error>> {
    let Some(path) = storage.store.rootdirectory() else {
        return Err("an inmemory store is known to nobody but the server that has it".into());
    };
    let root = Root::open(path).map_err(|fault| match &fault {
        Fault::Disk { cause, .. } if cause.kind() == ErrorKind::NotFound => format!(
            "{fault}: nothing is served from here; use --config, or run it where the server runs"
        )
        .into(),
        _ => Box::<dyn Error>::from(fault),
    })?;
    Ok(View::open(&root, storage.catalog.as_deref())?)
}

fn judge(states: &BTreeMap<Standing, usize>, has_network: bool) -> Verdict {
    let has = |some: &[Standing]| some.iter().any(|one| states.contains_key(one));
    if has(&[Standing::Failed, Standing::Missing]) {
        Verdict::Failed
    } else if has_network && has(&[Standing::Local, Standing::Uploading, Standing::Stored]) {
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
