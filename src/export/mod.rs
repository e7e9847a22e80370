//! Export: the catalog as one object, written to where the blobs are, and read back from there.
//!
//! Blobs and manifests are on the content network by their CIDs; what they are called, and which
//! belong together, only this disk knows. An export takes that along, so that a machine with
//! nothing but a CID, or a name that Estuary keeps, becomes the registry again.

mod document;
pub mod restore;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use crate::blobs::Blobs;
use crate::catalog::Ledger;
use crate::catalog::voyage::{State, Voyage};
use crate::config::{Config, Store};
use crate::disk::Root;
use crate::fault::Fault;
use crate::oci::{Algorithm, Digest, Repository};
use crate::progress::Progress;
use crate::pump::Network;
use crate::status::{Verdict, open, say};
use document::{Content, Document, Holdings, SIZE_MAX};

/// Where to write the catalog to.
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
    /// The configuration; else the environment's, and a store in ./data
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Writes what the options ask for. An error says why it could not begin.
pub fn run(config: &Config, options: &Options) -> Result<Verdict, Box<dyn Error>> {
    let root = open(&config.storage)?;
    let network = Network::new(&config.storage)?;
    if options.cid && network.is_none() {
        return Err("--cid needs a content network: storage.estuary or storage.kubo".into());
    }
    let progress = Progress::new();
    let (document, missing) = gather(&root, &progress)?;
    let bytes = document.print();
    if SIZE_MAX < bytes.len() as u64 {
        let size = bytes.len();
        return Err(format!("the catalog makes {size} bytes, more than can be restored").into());
    }
    let written = match network.filter(|_| options.cid) {
        Some(network) => {
            let wait = Duration::from_secs(options.wait);
            send(config, &network, bytes, wait, &progress)
        }
        None => {
            drop(progress);
            say(&String::from_utf8_lossy(&bytes))?;
            Ok(Verdict::Well)
        }
    };
    match written {
        Ok(verdict) if warn(&document, &missing) => Ok(verdict),
        Ok(_) => Ok(Verdict::OnItsWay),
        Err(cause) => {
            eprintln!("error: {cause}");
            Ok(Verdict::Failed)
        }
    }
}

/// Puts the document on the network and prints its CID.
fn send(
    config: &Config,
    network: &Network,
    bytes: Vec<u8>,
    wait: Duration,
    progress: &Progress,
) -> Result<Verdict, String> {
    // Without a name of the owner's, it has one like a blob.
    let name = export_name(config).map(str::to_owned);
    let name = name.unwrap_or_else(|| Digest::of(Algorithm::Sha256, &bytes).hex());
    let tell = |state, so_far: Duration| {
        let doing = match state {
            State::Stored => "waiting until the export is pinned",
            _ => "sending the export",
        };
        progress.show(format_args!("{doing}: {} s", so_far.as_secs()));
    };
    let kept = network.keep(&name, bytes.into(), wait, tell);
    let kept = kept.map_err(|fault| format!("the export did not get through: {fault}"))?;
    let cause = kept.cause.as_deref();
    if !matches!(kept.state, State::Stored | State::Pinned) {
        let cause = cause.unwrap_or("nobody knows why");
        return Err(format!("the network does not keep the export: {cause}"));
    }
    let cid = kept.cid.unwrap_or_default();
    say(&format!("{cid}\n")).map_err(|err| err.to_string())?;
    if kept.state == State::Pinned {
        return Ok(Verdict::Well);
    }
    let cause = cause.unwrap_or("it takes longer than --wait");
    eprintln!("warning: the export is on the network and not pinned yet: {cause}");
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

/// Reads the catalog; also, what is in no document because it is lost: each with its cause.
fn gather(root: &Root, progress: &Progress) -> Result<(Document, BTreeMap<Digest, String>), Fault> {
    let (ledger, blobs) = (Ledger::new(root), Blobs::new(root));
    let mut document = Document::default();
    let mut missing = BTreeMap::new();
    for repository in ledger.names()? {
        progress.show(format_args!("reading {repository}"));
        let held = hold(&ledger, &blobs, &repository, &mut document, &mut missing)?;
        document.repositories.insert(repository, held);
    }
    Ok((document, missing))
}

fn hold(
    ledger: &Ledger,
    blobs: &Blobs,
    repository: &Repository,
    document: &mut Document,
    missing: &mut BTreeMap<Digest, String>,
) -> Result<Holdings, Fault> {
    let contents = ledger.open(repository)?;
    let mut held = Holdings::default();
    for digest in contents.manifests {
        let bytes = match blobs.read(&digest) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                missing.insert(digest, "it is not on this disk".into());
                continue;
            }
            Err(fault) => {
                missing.insert(digest, fault.to_string());
                continue;
            }
        };
        let media_type = ledger.media_type(repository, &digest, &bytes)?;
        held.manifests.insert(digest, media_type);
        note(blobs, digest, document)?;
    }
    for digest in contents.blobs {
        if note(blobs, digest, document)? {
            held.blobs.insert(digest);
        } else {
            missing.insert(
                digest,
                "it is neither on this disk nor on the network".into(),
            );
        }
    }
    held.tags = contents.tags;
    held.tags
        .retain(|_, digest| held.manifests.contains_key(digest));
    Ok(held)
}

/// Notes where a manifest or blob is; whether it is anywhere.
fn note(blobs: &Blobs, digest: Digest, document: &mut Document) -> Result<bool, Fault> {
    if document.contents.contains_key(&digest) {
        return Ok(true);
    }
    let voyage = Voyage::read(&blobs.path(&digest))?;
    let here = blobs.size(&digest)?;
    let is_abroad = |voyage: &Voyage| matches!(voyage.state, State::Stored | State::Pinned);
    let content = match (voyage, here) {
        (Some(voyage), here) if here.is_some() || is_abroad(&voyage) => Content {
            size: here.unwrap_or(voyage.size),
            cid: voyage.cid.and_then(|text| text.parse().ok()),
            state: voyage.state,
            content: voyage.content,
        },
        (None, Some(size)) => Content {
            size,
            cid: None,
            state: State::Local,
            content: None,
        },
        _ => return Ok(false),
    };
    document.contents.insert(digest, content);
    Ok(true)
}

/// Most digests that are warned of by name.
const WARNINGS_MAX: usize = 20;

/// Warns of what can't be restored from the document as it is; whether there is no such thing.
fn warn(document: &Document, missing: &BTreeMap<Digest, String>) -> bool {
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
            eprintln!("warning: {warning}");
        }
        count += 1;
    }
    if 0 < count {
        eprintln!(
            "warning: {count} blobs and manifests can't be restored from this export; `registry \
             status` tells how far they are, and a later export has them"
        );
    }
    count == 0
}
