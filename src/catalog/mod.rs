//! What is known: repositories, their tags, manifests and blobs, and who refers to whom.
//!
//! The truth is the tree on disk, which the [`Ledger`] reads and durably changes, in order, off
//! the deciding thread. What was read once stays here in memory, and changes only after the
//! ledger has made the change durable; so whatever this catalog says survives a power cut.

pub mod ledger;
mod recent;
pub mod voyage;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

pub use ledger::Ledger;
pub use recent::Recent;
use voyage::Voyage;

use crate::oci::{Descriptor, Digest, Reference, Repository, Tag};

/// A manifest as it is served: its bytes and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The media type it was pushed with.
    pub media_type: String,
    /// The bytes, as they came.
    pub bytes: Arc<[u8]>,
}

/// All that one repository holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Where each tag points.
    pub tags: BTreeMap<Tag, Digest>,
    /// The manifests.
    pub manifests: HashSet<Digest>,
    /// The blobs: configurations and layers.
    pub blobs: HashSet<Digest>,
    /// The referrers of each subject, once somebody asked for them.
    pub referrers: Option<HashMap<Digest, BTreeMap<Digest, Descriptor>>>,
}

/// A change of one repository.
#[derive(Clone, Debug)]
pub enum Change {
    /// It holds a blob that is here already.
    LinkBlob(Digest),
    /// It holds a blob that has just arrived.
    KeepBlob(Box<Arrival>),
    /// It does not hold a blob any more.
    UnlinkBlob(Digest),
    /// It holds a manifest, and these tags point to it.
    PutManifest(Box<NewManifest>),
    /// A tag is no more.
    DeleteTag(Tag),
    /// A manifest is no more, nor are these tags, which pointed to it.
    DeleteManifest(Digest, Vec<Tag>),
}

/// A blob that came in whole: verified, small or synced, and not yet at its final name.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// What it hashes to.
    pub digest: Digest,
    /// The file that holds it, in the folder of its upload session.
    pub path: PathBuf,
    /// The name of that session.
    pub session: String,
    /// Its way to the content network, if there is one.
    pub voyage: Option<Voyage>,
}

/// A manifest to be put into a repository.
#[derive(Clone, Debug)]
pub struct NewManifest {
    /// What it hashes to.
    pub digest: Digest,
    /// The bytes and what they are.
    pub stored: Stored,
    /// The tags that shall point to it.
    pub tags: Vec<Tag>,
    /// The manifest it refers to, and how it is listed there.
    pub referrer: Option<(Digest, Descriptor)>,
    /// The blobs and manifests that it is made of and that are here.
    pub needs: Vec<Digest>,
    /// Its way to the content network, if there is one.
    pub voyage: Option<Voyage>,
}

/// What is known of all repositories that somebody asked for since the start.
#[derive(Debug, Default)]
pub struct Catalog {
    opened: HashMap<Repository, Contents>,
    names: Option<BTreeSet<Repository>>,
}

impl Catalog {
    /// What a repository holds; None if that was not read from disk yet.
    pub fn contents(&self, repository: &Repository) -> Option<&Contents> {
        self.opened.get(repository)
    }

    /// The names of all repositories that hold a manifest; None if they were not read yet.
    pub fn names(&self) -> Option<&BTreeSet<Repository>> {
        self.names.as_ref()
    }

    /// Learns what a repository holds on disk.
    pub fn open(&mut self, repository: Repository, contents: Contents) {
        self.opened.insert(repository, contents);
    }

    /// Learns the names of all repositories that hold a manifest.
    pub fn learn_names(&mut self, names: BTreeSet<Repository>) {
        self.names = Some(names);
    }

    /// Learns who refers to whom in a repository.
    pub fn learn_referrers(
        &mut self,
        repository: &Repository,
        referrers: HashMap<Digest, BTreeMap<Digest, Descriptor>>,
    ) {
        if let Some(contents) = self.opened.get_mut(repository) {
            contents.referrers = Some(referrers);
        }
    }

    /// Whether any repository that was read holds a blob.
    pub fn is_held(&self, blob: &Digest) -> bool {
        self.opened
            .values()
            .any(|contents| contents.blobs.contains(blob))
    }

    /// Takes in a change that is durable.
    pub fn apply(&mut self, repository: &Repository, change: Change) {
        let Some(contents) = self.opened.get_mut(repository) else {
            // What was forgotten will be read with this change in it.
            self.names = None;
            return;
        };
        contents.apply(change);
        if let Some(names) = &mut self.names {
            if contents.manifests.is_empty() {
                names.remove(repository);
            } else if !names.contains(repository) {
                names.insert(repository.clone());
            }
        }
    }

    /// Forgets what was read of a repository, whose place on disk may have changed otherwise
    /// than was meant.
    pub fn forget(&mut self, repository: &Repository) {
        self.opened.remove(repository);
        self.names = None;
    }

    /// Forgets what was read of repositories until about `entries_max` entries are left; all of
    /// it can be read again.
    pub fn shrink(&mut self, entries_max: usize) {
        let mut left: usize = self.opened.values().map(Contents::entries).sum();
        self.opened.retain(|_, contents| {
            let fits = left <= entries_max;
            if !fits {
                left -= contents.entries();
            }
            fits
        });
    }
}

impl Contents {
    fn entries(&self) -> usize {
        1 + self.tags.len() + self.manifests.len() + self.blobs.len()
    }

    /// The manifest that a reference names here.
    pub fn resolve(&self, reference: &Reference) -> Option<Digest> {
        match reference {
            Reference::Tag(tag) => self.tags.get(tag).copied(),
            Reference::Digest(digest) => self.manifests.get(digest).copied(),
        }
    }

    /// Whether the repository holds that digest, as a blob or as a manifest.
    pub fn holds(&self, digest: &Digest) -> bool {
        self.blobs.contains(digest) || self.manifests.contains(digest)
    }

    /// The tags that point to a manifest.
    pub fn tags_of(&self, manifest: &Digest) -> Vec<Tag> {
        let points = |(tag, digest): (&Tag, &Digest)| (digest == manifest).then(|| tag.clone());
        self.tags.iter().filter_map(points).collect()
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::LinkBlob(digest) => {
                self.blobs.insert(digest);
            }
            Change::KeepBlob(arrival) => {
                self.blobs.insert(arrival.digest);
            }
            Change::UnlinkBlob(digest) => {
                self.blobs.remove(&digest);
            }
            Change::PutManifest(new) => {
                self.manifests.insert(new.digest);
                self.tags
                    .extend(new.tags.into_iter().map(|tag| (tag, new.digest)));
                if let (Some(all), Some((subject, listed))) = (&mut self.referrers, new.referrer) {
                    all.entry(subject).or_default().insert(new.digest, listed);
                }
            }
            Change::DeleteTag(tag) => {
                self.tags.remove(&tag);
            }
            Change::DeleteManifest(digest, tags) => {
                self.manifests.remove(&digest);
                for tag in &tags {
                    self.tags.remove(tag);
                }
                for listed in self.referrers.iter_mut().flat_map(HashMap::values_mut) {
                    listed.remove(&digest);
                }
            }
        }
    }
}

/// The entries after `last`, at most `count` of them, and whether more would follow.
pub fn page<'e, T: Ord>(entries: impl Iterator<Item = &'e T>, count: usize) -> (Vec<&'e T>, bool) {
    let mut entries = entries.peekable();
    let page = entries.by_ref().take(count).collect();
    (page, entries.peek().is_some())
}

/// Where a page begins: after `last`, or at the very start.
pub fn after<T>(last: Option<&T>) -> (Bound<&T>, Bound<&T>) {
    (
        last.map_or(Bound::Unbounded, Bound::Excluded),
        Bound::Unbounded,
    )
}
