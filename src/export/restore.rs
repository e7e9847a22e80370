//! Restore: a registry from nothing but the CID of an export.
//!
//! Manifests are fetched, for a registry serves them from its own disk; blobs stay where they are
//! and are read through redirect or relay. Each step is durable before the next one begins, and
//! what refers to something comes after it, so a restore that was killed is begun again and goes
//! on: what is there already is not fetched twice.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;

use super::document::{Content, Document, Holdings, SIZE_MAX};
use super::export_name;
use crate::blobs::Blobs;
use crate::catalog::voyage::{State, Voyage};
use crate::catalog::{Change, Contents, Ledger, NewManifest, Stored};
use crate::cid::Cid;
use crate::config::Config;
use crate::disk::{self, Root, Settling};
use crate::estuary::PinState;
use crate::fault::{Fault, Neighbour, Trouble};
use crate::oci::{Digest, Repository, Tag, manifest};
use crate::pump::Network;
use crate::status::{Verdict, progress};

/// What to restore, and into what.
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
    /// The configuration; else the environment's, and a store in ./data
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Manifests fetched at a time.
const AT_A_TIME: usize = 8;
/// Changes made durable together.
const BATCH: usize = 64;
/// Tags written down together; each takes two files.
const TAGS_AT_A_TIME: usize = BATCH / 4;
/// How often a manifest is asked for, and how long to wait in between at first.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Restores what the options say. An error says why it could not begin.
pub fn run(config: &Config, options: &Options) -> Result<Verdict, Box<dyn Error>> {
    let network = Network::new(&config.storage)?.ok_or(
        "a restore needs the content network that has the export: storage.estuary or storage.kubo",
    )?;
    let path = config.storage.store.rootdirectory();
    let path = path.ok_or("an inmemory store can't be restored")?;
    let root = Root::claim(path)?;
    let progress = progress()?;
    progress.set_message("fetching the export");
    let cid = match options.cid {
        Some(cid) => cid,
        None => find(&network, config)?,
    };
    if !options.merge {
        refuse_to_spoil(&root, &cid)?;
    }
    let document = network.fetch(cid, None, SIZE_MAX)?;
    let document = Document::parse(&document).map_err(|cause| format!("{cid}: {cause}"))?;
    let mut settling = Settling::new(&root);
    settling.write(&mark(&root), cid.to_string().as_bytes())?;
    settling.finish()?;
    progress.suspend(|| eprintln!("restoring {cid}"));
    let restore = Restore {
        network,
        blobs: Blobs::new(&root),
        ledger: Ledger::new(&root),
        root,
        document,
        progress,
    };
    let restored = restore.run();
    let restored = restored.and_then(|verdict| restore.root.close().map(|()| verdict));
    restored.or_else(|fault| {
        eprintln!("error: {fault}; to go on from here, run the same command again");
        Ok(Verdict::Failed)
    })
}

/// Finds the newest pinned export by its name.
fn find(network: &Network, config: &Config) -> Result<Cid, Box<dyn Error>> {
    let name = export_name(config).ok_or(
        "say which CID to restore, or configure the export-name that it was exported with",
    )?;
    let named = network.named(name)?;
    let named =
        named.ok_or("say which CID to restore: only Estuary finds an export by its name")?;
    let mut pinned = named
        .into_iter()
        .filter(|content| content.state == PinState::Pinned);
    let newest = pinned.next().map(|content| content.cid);
    newest.ok_or_else(|| format!("no pinned export is called {name:?}").into())
}

/// Refuses a root directory that holds anything but what an earlier try of this restore left.
fn refuse_to_spoil(root: &Root, cid: &Cid) -> Result<(), Box<dyn Error>> {
    let begun = disk::read(&mark(root))?;
    let begun = begun.map(|text| String::from_utf8_lossy(&text).into_owned());
    if begun.as_ref() == Some(&cid.to_string()) {
        return Ok(());
    }
    if Ledger::new(root).names()?.is_empty() && Blobs::new(root).list()?.is_empty() {
        return Ok(());
    }
    let path = root.path().display();
    let cause = match begun {
        Some(begun) => format!("{path}: a restore of {begun} has begun here; go on with that one"),
        None => format!("{path} is not empty; restore into an empty directory"),
    };
    Err(format!("{cause}, or add what is missing: --merge").into())
}

/// The file that stands while a restore is under way, with its CID.
fn mark(root: &Root) -> PathBuf {
    root.ours("restore")
}

/// A restore under way.
struct Restore {
    network: Network,
    root: Root,
    blobs: Blobs,
    ledger: Ledger,
    document: Document,
    progress: ProgressBar,
}

/// What did not go as it should.
#[derive(Default)]
struct Lost {
    /// Manifests that are on the network, but did not come: worth another try.
    unfetched: BTreeMap<Digest, Fault>,
    /// Blobs and manifests that were not pinned when the export was made.
    unpinned: BTreeSet<Digest>,
    /// What became of tags that are not as the export has them.
    notes: Vec<String>,
}

impl Restore {
    fn run(&self) -> Result<Verdict, Fault> {
        let mut lost = Lost::default();
        self.fetch_manifests(&mut lost)?;
        self.write_voyages(&mut lost)?;
        let mut count = 0;
        for (repository, held) in &self.document.repositories {
            self.progress.set_message(format!("writing {repository}"));
            count += self.write_repository(repository, held, &mut lost)?;
        }
        if lost.unfetched.is_empty() {
            let mut settling = Settling::new(&self.root);
            settling.remove(mark(&self.root));
            settling.finish()?;
        }
        self.progress.finish_and_clear();
        Ok(self.tell(count, &lost))
    }

    /// Sums up; how it ended.
    fn tell(&self, tags: usize, lost: &Lost) -> Verdict {
        let repositories = self.document.repositories.len();
        let contents = self.document.contents.len();
        eprintln!(
            "restored {tags} tags in {repositories} repositories, with {contents} blobs and \
             manifests"
        );
        for note in &lost.notes {
            eprintln!("note: {note}");
        }
        for digest in &lost.unpinned {
            eprintln!("warning: {digest} was not on the network when this was exported");
        }
        for (digest, fault) in &lost.unfetched {
            eprintln!("error: {digest} could not be fetched: {fault}");
        }
        match (lost.unfetched.is_empty(), lost.unpinned.is_empty()) {
            (false, _) => {
                eprintln!("error: to go on from here, run the same command again");
                Verdict::Failed
            }
            (true, false) => Verdict::OnItsWay,
            (true, true) => Verdict::Well,
        }
    }

    /// Fetches every manifest that is not here, several at a time, and makes them durable.
    fn fetch_manifests(&self, lost: &mut Lost) -> Result<(), Fault> {
        let repositories = self.document.repositories.values();
        let all: BTreeSet<Digest> = repositories
            .flat_map(|held| held.manifests.keys().copied())
            .collect();
        let mut wanted = Vec::new();
        for digest in all {
            match self
                .document
                .contents
                .get(&digest)
                .map(|it| (it, it.pinned()))
            {
                _ if self.blobs.read(&digest)?.is_some() => {}
                Some((content, Some(cid))) => wanted.push((digest, content, cid)),
                _ => drop(lost.unpinned.insert(digest)),
            }
        }
        let (next, (sender, fetched)) = (AtomicUsize::new(0), sync_channel(AT_A_TIME));
        thread::scope(|scope| {
            for _ in 0..AT_A_TIME.min(wanted.len()) {
                let (sender, next, wanted) = (sender.clone(), &next, &wanted);
                scope.spawn(move || {
                    while let Some(wanted) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let (digest, content, cid) = wanted;
                        let bytes = self.fetch_manifest(digest, content, *cid);
                        if sender.send((digest, content, bytes)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let mut batch = Batch::new(&self.root);
            for (at, (digest, content, bytes)) in fetched.into_iter().enumerate() {
                let (at, all) = (at + 1, wanted.len());
                self.progress
                    .set_message(format!("fetched {at} of {all} manifests"));
                match bytes {
                    Ok(bytes) => {
                        // A manifest that is here must not set out on a voyage again.
                        let path = self.blobs.path(digest);
                        voyage(content, true).settle(&mut batch.settling, &path)?;
                        self.blobs.write(&mut batch.settling, digest, &bytes)?;
                        batch.count(2)?;
                    }
                    Err(fault) => drop(lost.unfetched.insert(*digest, fault)),
                }
            }
            batch.finish()
        })
    }

    /// A manifest from the network. What has the CID and not the digest is no fault of any
    /// gateway: the export itself lies.
    fn fetch_manifest(
        &self,
        digest: &Digest,
        content: &Content,
        cid: Cid,
    ) -> Result<Vec<u8>, Fault> {
        let mut tries = 0;
        let bytes = loop {
            tries += 1;
            match self
                .network
                .fetch(cid, Some(content.size), manifest::SIZE_MAX)
            {
                Err(fault) if tries < TRIES && fault.retry_after().is_some() => {
                    thread::sleep(PAUSE * tries);
                }
                fetched => break fetched?,
            }
        };
        let found = Digest::of(digest.algorithm(), &bytes);
        if found == *digest {
            return Ok(bytes);
        }
        let (expected, received) = (digest.to_string(), found.to_string());
        let lied = Trouble::Lied { expected, received };
        let url = format!("ipfs://{cid}");
        Err(Fault::neighbour(Neighbour::Gateway, &url, lied))
    }

    /// Writes down where every blob is that is not here.
    fn write_voyages(&self, lost: &mut Lost) -> Result<(), Fault> {
        let repositories = self.document.repositories.values();
        let blobs: BTreeSet<Digest> = repositories
            .flat_map(|held| held.blobs.iter().copied())
            .collect();
        let mut batch = Batch::new(&self.root);
        for (at, digest) in blobs.iter().enumerate() {
            self.progress
                .set_message(format!("noted {at} of {} blobs", blobs.len()));
            if self.is_known(digest)? {
                continue;
            }
            match self.document.contents.get(digest) {
                Some(content) if content.pinned().is_some() => {
                    let path = self.blobs.path(digest);
                    voyage(content, false).settle(&mut batch.settling, &path)?;
                    batch.count(1)?;
                }
                _ => drop(lost.unpinned.insert(*digest)),
            }
        }
        batch.finish()
    }

    /// Whether a blob can be served as it is: its bytes are here, or it is known where they are.
    fn is_known(&self, digest: &Digest) -> Result<bool, Fault> {
        let voyage = Voyage::read(&self.blobs.path(digest))?;
        let is_abroad = voyage.is_some_and(|it| matches!(it.state, State::Stored | State::Pinned));
        Ok(is_abroad || self.blobs.size(digest)?.is_some())
    }

    /// Links what a repository holds, then its manifests with their tags; how many tags.
    fn write_repository(
        &self,
        repository: &Repository,
        held: &Holdings,
        lost: &mut Lost,
    ) -> Result<usize, Fault> {
        let known = self.ledger.open(repository)?;
        let mut batch = Batch::new(&self.root);
        let links = held.blobs.iter();
        for digest in links.filter(|digest| !known.blobs.contains(digest)) {
            if self.is_known(digest)? {
                let link = Change::LinkBlob(*digest);
                self.ledger.change(&mut batch.settling, repository, &link)?;
                batch.count(1)?;
            }
        }
        // A manifest must not be durable before what it needs.
        batch.finish()?;
        let mut tags = new_tags(repository, held, &known, &mut lost.notes);
        let mut count = 0;
        let mut batch = Batch::new(&self.root);
        for (digest, media_type) in &held.manifests {
            let tags = tags.remove(digest).unwrap_or_default();
            if known.manifests.contains(digest) && tags.is_empty() {
                continue;
            }
            let Some(bytes) = self.blobs.read(digest)? else {
                let left_out = |tag| format!("{repository}:{tag} is left out with its manifest");
                lost.notes.extend(tags.iter().map(left_out));
                continue;
            };
            count += tags.len();
            let stored = Stored {
                media_type: media_type.clone(),
                bytes: bytes.into(),
            };
            // Once, even if nothing points to it.
            let mut shares = tags.chunks(TAGS_AT_A_TIME);
            let first = shares.next().unwrap_or_default();
            for tags in std::iter::once(first).chain(shares) {
                let put = Change::PutManifest(Box::new(NewManifest {
                    digest: *digest,
                    stored: stored.clone(),
                    tags: tags.to_vec(),
                    referrer: None,
                    needs: Vec::new(),
                    voyage: None,
                }));
                self.ledger.change(&mut batch.settling, repository, &put)?;
                batch.count(2 + 2 * tags.len())?;
            }
        }
        batch.finish()?;
        Ok(count)
    }
}

/// The tags that are to be made, by what they point to. One that is here stays as it is.
fn new_tags(
    repository: &Repository,
    held: &Holdings,
    known: &Contents,
    notes: &mut Vec<String>,
) -> BTreeMap<Digest, Vec<Tag>> {
    let mut tags: BTreeMap<Digest, Vec<Tag>> = BTreeMap::new();
    for (tag, digest) in &held.tags {
        match known.tags.get(tag) {
            Some(own) if own == digest => {}
            Some(own) => notes.push(format!(
                "{repository}:{tag} stays at {own}; the export has {digest}"
            )),
            None => tags.entry(*digest).or_default().push(tag.clone()),
        }
    }
    tags
}

/// The voyage of what the network keeps.
fn voyage(content: &Content, is_manifest: bool) -> Voyage {
    Voyage {
        cid: content.cid.map(|cid| cid.to_string()),
        state: State::Pinned,
        content: content.content,
        is_manifest,
        ..Voyage::of(content.size)
    }
}

/// Changes that become durable together, a bounded number at a time.
struct Batch<'r> {
    root: &'r Root,
    settling: Settling<'r>,
    count: usize,
}

impl<'r> Batch<'r> {
    fn new(root: &'r Root) -> Batch<'r> {
        Batch {
            root,
            settling: Settling::new(root),
            count: 0,
        }
    }

    /// So many files more; if they are enough, they become durable now.
    fn count(&mut self, files: usize) -> Result<(), Fault> {
        self.count += files;
        if BATCH <= self.count {
            self.count = 0;
            std::mem::replace(&mut self.settling, Settling::new(self.root)).finish()?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Fault> {
        self.settling.finish()
    }
}
