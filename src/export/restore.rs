//! Restore: a registry from nothing but the CID of an export.
//!
//! Manifests are fetched, for a registry serves them from its own disk; blobs stay where they are
//! and are read through redirect or relay. Each step is durable before the next one begins, and
//! what refers to something comes after it, so a restore that was killed is begun again and goes
//! on: what is there already is not fetched twice.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;

use super::document::{Content, Document, Holdings, SIZE_MAX};
use super::export_name;
use crate::cid::Cid;
use crate::config::{Config, Storage};
use crate::disk::{self, Root};
use crate::estuary::PinState;
use crate::fault::{Fault, Neighbour, Trouble};
use crate::ipfs::{Ipfs, Network, Sources};
use crate::oci::{Digest, Repository, Tag, manifest};
use crate::store::blob::Place;
use crate::store::restore::{self, Kept, Restored};
use crate::store::{Store, View, scan};
use crate::terminal::{self, Verdict};

/// Manifests fetched at a time.
const AT_A_TIME: usize = 8;
/// Blobs written down in one command.
const BLOBS_AT_A_TIME: usize = 256;
/// Manifests with their tags written down in one command.
const MANIFESTS_AT_A_TIME: usize = 16;
/// How often a manifest is asked for, and how long to wait in between at first.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Restores an export, or the newest one with the configured name; into a store that holds
/// something only with `merge`. An error says why it could not begin.
pub fn run(config: &Config, cid: Option<Cid>, merge: bool) -> Result<Verdict, Box<dyn Error>> {
    let storage = &config.storage;
    let none = "a restore needs the content network that has the export: storage.estuary or \
        storage.kubo";
    let Ipfs { networks, sources } = Ipfs::new(storage)?;
    let network = networks.first().ok_or(none)?;
    let name = storage.store.network_name().ok_or(none)?;
    let path = storage.store.rootdirectory();
    let path = path.ok_or("an inmemory store can't be restored")?;
    let root = Root::claim(path, config.http.drain_timeout)?;
    let progress = terminal::progress();
    progress.set_message("fetching the export");
    let cid = match cid {
        Some(cid) => cid,
        None => find(network, config)?,
    };
    refuse_to_spoil(&root, storage, &cid, merge)?;
    let document = sources.fetch(cid, None, SIZE_MAX)?;
    let document = Document::parse(&document).map_err(|cause| format!("{cid}: {cause}"))?;
    let store = Store::open(&root, storage.catalog.as_deref())?;
    set_mark(&root, &cid)?;
    progress.suspend(|| terminal::tell(format_args!("restoring {cid}")));
    let restore = Restore {
        sources,
        name,
        store,
        document,
        progress,
    };
    let mut lost = Lost::default();
    let restored = restore.run(&mut lost).and_then(|tags| {
        if lost.unfetched.is_empty() {
            disk::discard(&mark(&root))?;
            disk::sync(&root.ours(""))?;
        }
        Ok(tags)
    });
    restore.progress.finish_and_clear();
    let verdict = restored.map(|tags| restore.tell(tags, &lost));
    // The catalog is closed before another server may open it.
    drop(restore);
    drop(root);
    verdict.or_else(|fault| {
        terminal::complain(format_args!(
            "{fault}; to go on from here, run the same command again"
        ));
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

/// Refuses a store that holds anything but what an earlier try of this restore left; with `merge`,
/// only one that can't be read.
fn refuse_to_spoil(
    root: &Root,
    storage: &Storage,
    cid: &Cid,
    merge: bool,
) -> Result<(), Box<dyn Error>> {
    let view = View::open(root, storage.catalog.as_deref())?;
    let begun = disk::read(&mark(root))?;
    let begun = begun.map(|text| String::from_utf8_lossy(&text).into_owned());
    if merge || begun.as_ref() == Some(&cid.to_string()) {
        return Ok(());
    }
    let first = view.read(|tx| scan::next(tx, 0)).map_err(Fault::from)?;
    if first.is_none() {
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

fn set_mark(root: &Root, cid: &Cid) -> Result<(), Fault> {
    let (path, new) = (mark(root), root.ours("restore.new"));
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(cid.to_string().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)
    });
    written.map_err(|cause| Fault::disk("write", &path, cause))?;
    disk::sync(&root.ours(""))
}

/// A restore under way.
struct Restore {
    sources: Sources,
    /// The network's name.
    name: &'static str,
    store: Store,
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
    /// How many tags were written.
    fn run(&self, lost: &mut Lost) -> Result<usize, Fault> {
        self.fetch_manifests(lost)?;
        self.note_blobs(lost)?;
        let mut count = 0;
        for (repository, held) in &self.document.repositories {
            self.progress.set_message(format!("writing {repository}"));
            count += self.write_repository(repository, held, lost)?;
        }
        Ok(count)
    }

    /// Sums up; how it ended.
    fn tell(&self, tags: usize, lost: &Lost) -> Verdict {
        let repositories = self.document.repositories.len();
        let contents = self.document.contents.len();
        terminal::tell(format_args!(
            "restored {tags} tags in {repositories} repositories, with {contents} blobs and \
             manifests"
        ));
        for note in &lost.notes {
            terminal::note(note);
        }
        for digest in &lost.unpinned {
            terminal::warn(format_args!(
                "{digest} was not on the network when this was exported"
            ));
        }
        for (digest, fault) in &lost.unfetched {
            terminal::complain(format_args!("{digest} could not be fetched: {fault}"));
        }
        match (lost.unfetched.is_empty(), lost.unpinned.is_empty()) {
            (false, _) => {
                terminal::complain("to go on from here, run the same command again");
                Verdict::Failed
            }
            (true, false) => Verdict::OnItsWay,
            (true, true) => Verdict::Well,
        }
    }

    /// Fetches every manifest that is not here, several at a time. Each is durable before the next
    /// one is fetched in its place; those that come together share the wait for the disk.
    fn fetch_manifests(&self, lost: &mut Lost) -> Result<(), Fault> {
        let repositories = self.document.repositories.values();
        let all: BTreeSet<Digest> = repositories
            .flat_map(|held| held.manifests.keys().copied())
            .collect();
        let mut wanted = Vec::new();
        for digest in all {
            if self.bytes(&digest)?.is_some() {
                continue;
            }
            match self.kept(&digest) {
                Some(kept) => wanted.push(kept),
                None => drop(lost.unpinned.insert(digest)),
            }
        }
        let (next, count) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let unfetched = Mutex::new(&mut lost.unfetched);
        let fetch_next = || -> Result<(), Fault> {
            while let Some((kept, cid)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.fetch_manifest(&kept.digest, kept.size, *cid) {
                    Ok(bytes) => self.store.keep_restored(kept.clone(), bytes)?,
                    Err(fault) => {
                        // Nobody panics while it is locked.
                        if let Ok(mut unfetched) = unfetched.lock() {
                            unfetched.insert(kept.digest, fault);
                        }
                    }
                }
                let at = count.fetch_add(1, Ordering::Relaxed) + 1;
                let all = wanted.len();
                self.progress
                    .set_message(format!("fetched {at} of {all} manifests"));
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads = AT_A_TIME.min(wanted.len());
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(fetch_next)).collect();
            threads.into_iter().try_for_each(|thread| {
                let panicked = |_| Err(Fault::panicked("a manifest was not fetched"));
                thread.join().unwrap_or_else(panicked)
            })
        })
    }

    /// Where the network keeps a digest, if it did when this was exported.
    fn kept(&self, digest: &Digest) -> Option<(Kept, Cid)> {
        let content = self.document.contents.get(digest)?;
        let cid = content.pinned()?;
        let Content { size, content, .. } = content;
        let kept = Kept {
            digest: *digest,
            size: *size,
            network: self.name.to_owned(),
            cid: cid.to_string(),
            remote: content.map(|number| number.to_string()),
        };
        Some((kept, cid))
    }

    /// The bytes of a manifest, if they are here and whole.
    fn bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Fault> {
        let view = self.store.view();
        Ok(view.read(|tx| match scan::find(tx, digest)? {
            Some(content) => view.content(tx, &content),
            None => Ok(None),
        })?)
    }

    /// A manifest from the network. What has the CID and not the digest is no fault of any
    /// gateway: the export itself lies.
    fn fetch_manifest(&self, digest: &Digest, size: u64, cid: Cid) -> Result<Vec<u8>, Fault> {
        let mut tries = 0;
        let bytes = loop {
            tries += 1;
            match self.sources.fetch(cid, Some(size), manifest::SIZE_MAX) {
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
    fn note_blobs(&self, lost: &mut Lost) -> Result<(), Fault> {
        let repositories = self.document.repositories.values();
        let blobs: BTreeSet<Digest> = repositories
            .flat_map(|held| held.blobs.iter().copied())
            .collect();
        let mut kept = Vec::new();
        for digest in &blobs {
            if self.is_known(digest)? {
                continue;
            }
            match self.kept(digest) {
                Some((found, _)) => kept.push(found),
                None => drop(lost.unpinned.insert(*digest)),
            }
        }
        for (at, some) in kept.chunks(BLOBS_AT_A_TIME).enumerate() {
            let (at, all) = (at * BLOBS_AT_A_TIME, kept.len());
            self.progress
                .set_message(format!("noted {at} of {all} blobs"));
            let some = some.to_vec();
            self.store.write(move |tx| {
                some.iter()
                    .try_for_each(|kept| restore::note_kept(tx, kept))
            })?;
        }
        Ok(())
    }

    /// Whether a blob can be served as it is: its bytes are here, or it is known where they are.
    fn is_known(&self, digest: &Digest) -> Result<bool, Fault> {
        let found = self.store.read(|tx| scan::find(tx, digest))?;
        Ok(match found.map(|content| content.place) {
            Some(Place::File) => self.store.files().size(digest)?.is_some(),
            Some(Place::Row | Place::Network | Place::Missing) => true,
            Some(Place::Nowhere) | None => false,
        })
    }

    /// Has a repository hold its blobs, then its manifests with their tags; how many tags.
    fn write_repository(
        &self,
        repository: &Repository,
        held: &Holdings,
        lost: &mut Lost,
    ) -> Result<usize, Fault> {
        let blobs: Vec<Digest> = held.blobs.iter().copied().collect();
        for some in blobs.chunks(BLOBS_AT_A_TIME) {
            let (some, name) = (some.to_vec(), repository.clone());
            self.store.write(move |tx| {
                let mut some = some.iter();
                some.try_for_each(|digest| restore::hold(tx, &name, digest).map(drop))
            })?;
        }
        let mut tags: BTreeMap<Digest, Vec<Tag>> = BTreeMap::new();
        for (tag, digest) in &held.tags {
            tags.entry(*digest).or_default().push(tag.clone());
        }
        let (mut count, mut batch) = (0, Vec::new());
        for (digest, media_type) in &held.manifests {
            let tags = tags.remove(digest).unwrap_or_default();
            let Some(bytes) = self.bytes(digest)? else {
                let left_out = |tag| format!("{repository}:{tag} is left out with its manifest");
                lost.notes.extend(tags.iter().map(left_out));
                continue;
            };
            batch.push(Restored {
                digest: *digest,
                media_type: media_type.clone(),
                bytes: bytes.into(),
                tags,
            });
            if batch.len() == MANIFESTS_AT_A_TIME {
                count += self.write_manifests(repository, std::mem::take(&mut batch), lost)?;
            }
        }
        Ok(count + self.write_manifests(repository, batch, lost)?)
    }

    fn write_manifests(
        &self,
        repository: &Repository,
        batch: Vec<Restored>,
        lost: &mut Lost,
    ) -> Result<usize, Fault> {
        let name = repository.clone();
        let outcomes = self.store.write(move |tx| {
            let put = |restored: &Restored| {
                let outcomes = restore::put_manifest(tx, &name, restored)?;
                Ok((restored.digest, outcomes))
            };
            batch.iter().map(put).collect::<Result<Vec<_>, _>>()
        })?;
        let mut moved = 0;
        for (digest, outcomes) in outcomes {
            moved += outcomes.moved;
            let stays = |(tag, own): (Tag, Digest)| {
                format!("{repository}:{tag} stays at {own}; the export has {digest}")
            };
            lost.notes.extend(outcomes.kept.into_iter().map(stays));
        }
        Ok(moved)
    }
}
