//! Export: the catalog as one object, written to where the blobs are, and read back from there.
//!
//! Blobs and manifests are on the content network by their CIDs; what they are called, and which
//! belong together, only this disk knows. An export takes that along, so that a machine with
//! nothing but a CID, or a name that Estuary keeps, becomes the registry again.

mod document;
pub mod restore;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::time::Duration;

use indicatif::ProgressBar;

use crate::config::{Config, Store};
use crate::fault::Fault;
use crate::ipfs::{Ipfs, Network, Reached};
use crate::oci::{Algorithm, Digest, Repository};
use crate::status::open;
use crate::store::blob::Place;
use crate::store::scan;
use crate::store::{self, Transaction, View};
use crate::terminal::{self, Verdict};
use document::{Content, Document, Holdings, SIZE_MAX, State};

/// Entries of a page.
const PAGE: u32 = 100;
/// The least that a manifest or blob takes of a document, in bytes.
const CONTENT_SIZE_MIN: u64 = 100;

/// Writes the catalog as a document: to the network, within the time `wait`, printing its CID, or
/// else to `out`. An error says why it could not begin.
pub fn run(
    config: &Config,
    wait: Option<Duration>,
    out: &mut dyn Write,
) -> Result<Verdict, Box<dyn Error>> {
    let view = open(&config.storage)?;
    let ipfs = Ipfs::new(&config.storage)?;
    let network = ipfs.networks.first();
    if wait.is_some() && network.is_none() {
        return Err("--cid needs a content network: storage.estuary or storage.kubo".into());
    }
    let progress = terminal::progress();
    let name = config.storage.store.network_name();
    let (document, missing) = gather(&view, name, &progress)?;
    let bytes = document.print();
    refuse_too_large(bytes.len() as u64)?;
    let written = match network.zip(wait) {
        Some((network, wait)) => send(config, network, bytes, wait, (&progress, out)),
        None => {
            progress.finish_and_clear();
            out.write_all(&bytes)?;
            out.flush()?;
            Ok(Verdict::Well)
        }
    };
    match written {
        Ok(verdict) if warn(&document, &missing) => Ok(verdict),
        Ok(_) => Ok(Verdict::OnItsWay),
        Err(cause) => {
            terminal::complain(cause);
            Ok(Verdict::Failed)
        }
    }
}

fn refuse_too_large(size: u64) -> Result<(), String> {
    match size <= SIZE_MAX {
        true => Ok(()),
        false => Err(format!(
            "the catalog makes {size} bytes or more, more than can be restored"
        )),
    }
}

/// Puts the document on the network and prints its CID.
fn send(
    config: &Config,
    network: &Network,
    bytes: Vec<u8>,
    wait: Duration,
    (progress, out): (&ProgressBar, &mut dyn Write),
) -> Result<Verdict, String> {
    // Without a name of the owner's, it has one like a blob.
    let name = export_name(config).map(str::to_owned);
    let name = name.unwrap_or_else(|| Digest::of(Algorithm::Sha256, &bytes).hex());
    let tell = |state, so_far: Duration| {
        let doing = match state {
            Reached::Stored => "waiting until the export is pinned",
            _ => "sending the export",
        };
        progress.set_message(format!("{doing}: {} s", so_far.as_secs()));
    };
    let kept = network.keep(&name, bytes.into(), wait, tell);
    progress.finish_and_clear();
    let kept = kept.map_err(|fault| format!("the export did not get through: {fault}"))?;
    let cid = kept.cid;
    let said = writeln!(out, "{cid}").and_then(|()| out.flush());
    said.map_err(|err| err.to_string())?;
    if kept.reached == Reached::Pinned {
        return Ok(Verdict::Well);
    }
    let cause = kept.cause.as_deref();
    let cause = cause.unwrap_or("it takes longer than --wait");
    terminal::warn(format_args!(
        "the export is on the network and not pinned yet: {cause}"
    ));
    Ok(Verdict::OnItsWay)
}

/// The name under which exports can be found again, if one is configured.
fn export_name(config: &Config) -> Option<&str> {
    match &config.storage.store {
        Store::Estuary(estuary) => estuary.export_name.as_deref(),
        Store::Kubo(kubo) => kubo.export_name.as_deref(),
        Store::Filesystem { .. } | Store::Inmemory => None,
    }
}

/// What is in no document because it is lost: each with its cause.
type Missing = BTreeMap<Digest, String>;

/// Reads the catalog, page by page.
fn gather(
    view: &View,
    network: Option<&str>,
    progress: &ProgressBar,
) -> Result<(Document, Missing), Box<dyn Error>> {
    let mut gathered = Gathered {
        view,
        network,
        document: Document::default(),
        missing: Missing::new(),
    };
    let mut last = String::new();
    loop {
        let page = read(view, |tx| scan::repositories(tx, &last, PAGE))?;
        let Some(end) = page.last() else {
            return Ok((gathered.document, gathered.missing));
        };
        last = end.name.to_string();
        for listed in page {
            progress.set_message(format!("reading {}", listed.name));
            let held = gathered.hold(&listed.name)?;
            // What can't be restored need not be held in memory first.
            refuse_too_large(gathered.document.contents.len() as u64 * CONTENT_SIZE_MIN)?;
            gathered.document.repositories.insert(listed.name, held);
        }
    }
}

fn read<T>(
    view: &View,
    ask: impl FnOnce(&Transaction) -> Result<T, store::Error>,
) -> Result<T, Fault> {
    Ok(view.read(ask)?)
}

/// A document on its way.
struct Gathered<'v> {
    view: &'v View,
    network: Option<&'v str>,
    document: Document,
    missing: Missing,
}

impl Gathered<'_> {
    fn hold(&mut self, repository: &Repository) -> Result<Holdings, Fault> {
        let mut held = Holdings::default();
        let mut last = 0;
        while let Some(end) = read(self.view, |tx| {
            let page = scan::manifests(tx, repository, last, PAGE)?;
            for (content, media_type) in &page {
                match self.view.content(tx, content) {
                    Ok(Some(_)) => {
                        self.note(tx, content)?;
                        held.manifests.insert(content.digest, media_type.clone());
                    }
                    Ok(None) => self.lose(content, "it is not on this disk"),
                    Err(store::Error::Fault(fault)) => self.lose(content, &fault.to_string()),
                    Err(error) => return Err(error),
                }
            }
            Ok(page.last().map(|(content, _)| content.id))
        })? {
            last = end;
        }
        last = 0;
        while let Some(end) = read(self.view, |tx| {
            let page = scan::blobs(tx, repository, last, PAGE)?;
            for content in &page {
                match self.note(tx, content)? {
                    true => drop(held.blobs.insert(content.digest)),
                    false => self.lose(content, "it is neither on this disk nor on the network"),
                }
            }
            Ok(page.last().map(|content| content.id))
        })? {
            last = end;
        }
        let mut last = String::new();
        while let Some(end) = read(self.view, |tx| {
            let page = scan::tags(tx, repository, &last, PAGE)?;
            let end = page.last().map(|tagged| tagged.name.to_string());
            let there = page
                .into_iter()
                .filter(|tagged| held.manifests.contains_key(&tagged.digest));
            held.tags
                .extend(there.map(|tagged| (tagged.name, tagged.digest)));
            Ok(end)
        })? {
            last = end;
        }
        Ok(held)
    }

    fn lose(&mut self, content: &scan::Content, cause: &str) {
        self.missing.insert(content.digest, cause.to_owned());
    }

    /// Notes where a manifest or blob is; whether it is anywhere.
    fn note(&mut self, tx: &Transaction, found: &scan::Content) -> Result<bool, store::Error> {
        if self.document.contents.contains_key(&found.digest) {
            return Ok(true);
        }
        let here = match found.place {
            Place::Row => found.size,
            Place::File => self.view.files().size(&found.digest)?,
            Place::Nowhere | Place::Network | Place::Missing => None,
        };
        let pin = match self.network {
            Some(network) => scan::pin(tx, network, found.id)?,
            None => None,
        };
        let state = pin.as_ref().map_or(State::Local, |pin| pin.state.into());
        let is_there = matches!(state, State::Stored | State::Pinned);
        let Some(size) = here.or(found.size.filter(|_| is_there)) else {
            return Ok(false);
        };
        let (cid, remote) = pin.map(|pin| (pin.cid, pin.remote)).unwrap_or_default();
        let content = Content {
            size,
            cid: cid.and_then(|text| text.parse().ok()),
            state,
            content: remote.and_then(|text| text.parse().ok()),
        };
        self.document.contents.insert(found.digest, content);
        Ok(true)
    }
}

/// Most digests that are warned of by name.
const WARNINGS_MAX: usize = 20;

/// Warns of what can't be restored from the document as it is; whether there is no such thing.
fn warn(document: &Document, missing: &Missing) -> bool {
    let missing = missing
        .iter()
        .map(|(digest, cause)| format!("{digest} is left out: {cause}"));
    let contents = document.contents.iter();
    let open = contents.filter(|(_, content)| content.pinned().is_none());
    let open = open.map(|(digest, content)| {
        let how_far = match content.state {
            State::Local => "it is on this disk only",
            State::Uploading => "it is on its way",
            State::Stored => "the network has it, and has not pinned it",
            State::Pinned => "its CID is not known",
            State::Failed => "the network refuses it",
        };
        format!("{digest} is not pinned: {how_far}")
    });
    let mut count = 0;
    for warning in missing.chain(open) {
        if count < WARNINGS_MAX {
            terminal::warn(&warning);
        }
        count += 1;
    }
    if 0 < count {
        terminal::warn(format_args!(
            "{count} blobs and manifests can't be restored from this export; `registry \
             status` tells how far they are, and a later export has them"
        ));
    }
    count == 0
}
