//! What a tree that is the truth does not have any more, since it was handed over, leaves the
//! catalog: repositories page by page, each by a link that is looked for.

use super::super::manifest::Listed;
use super::super::{Error, Outcome, Transaction, blob, manifest, repository, tag};
use super::folder::Folder;
use super::repository::Link;
use super::{Import, fault};
use crate::fault::Fault;
use crate::oci::{Digest, Repository, Tag};

/// How many rows are read, and at most removed, at once.
const PAGE: u32 = 100;

impl Import<'_> {
    /// Removes from the catalog what no link of the tree stands for.
    pub(super) fn remove_what_is_gone(&mut self, tree: &Folder) -> Result<(), Fault> {
        let mut last = String::new();
        loop {
            let page = self.read(|tx| repository::list_all(tx, &last, PAGE))?;
            let Some((_, name)) = page.last() else {
                return Ok(());
            };
            last = name.as_str().to_owned();
            for (id, name) in &page {
                if self.is_stopped() {
                    return Ok(());
                }
                let names: Vec<&str> = name.as_str().split('/').collect();
                let folder = tree.below(&names)?;
                self.remove_tags(*id, name, folder.as_ref())?;
                self.remove_manifests(*id, folder.as_ref())?;
                self.remove_blobs(*id, folder.as_ref())?;
            }
        }
    }

    fn remove_tags(
        &mut self,
        id: i64,
        name: &Repository,
        folder: Option<&Folder>,
    ) -> Result<(), Fault> {
        let tags = below(folder, &["_manifests", "tags"])?;
        let mut last = String::new();
        loop {
            let page = self.read(|tx| tag::list_all(tx, id, &last, PAGE))?;
            let Some((tag, _)) = page.last() else {
                return Ok(());
            };
            last = tag.as_str().to_owned();
            let mut gone = Vec::new();
            for (tag, digest) in page {
                if !points_to(tags.as_ref(), &tag, &digest)? {
                    log::debug!("{name}:{tag} was deleted");
                    gone.push(tag);
                }
            }
            self.summary.removed += gone.len() as u64;
            self.remove(gone, move |tx, tag| tag::abandon(tx, id, tag.as_str()))?;
        }
    }

    fn remove_manifests(&mut self, id: i64, folder: Option<&Folder>) -> Result<(), Fault> {
        let revisions = below(folder, &["_manifests", "revisions"])?;
        let mut last = 0;
        loop {
            let page = self.read(|tx| manifest::list_all(tx, id, last, PAGE))?;
            let Some(Listed { id: last_id, .. }) = page.last() else {
                return Ok(());
            };
            last = *last_id;
            let mut gone = Vec::new();
            for listed in page {
                if !is_linked(revisions.as_ref(), &listed.digest)? {
                    gone.push(listed.id);
                }
            }
            self.summary.removed += gone.len() as u64;
            self.remove(gone, move |tx, manifest| {
                manifest::abandon(tx, id, *manifest)
            })?;
        }
    }

    fn remove_blobs(&mut self, id: i64, folder: Option<&Folder>) -> Result<(), Fault> {
        let layers = below(folder, &["_layers"])?;
        let mut last = 0;
        loop {
            let page = self.read(|tx| blob::list_held(tx, id, last, PAGE))?;
            let Some((last_id, _)) = page.last() else {
                return Ok(());
            };
            last = *last_id;
            let mut gone = Vec::new();
            for (blob, digest) in page {
                if !is_linked(layers.as_ref(), &digest)? {
                    gone.push(blob);
                }
            }
            self.summary.removed += gone.len() as u64;
            self.remove(gone, move |tx, blob| blob::release(tx, id, *blob))?;
        }
    }

    fn read<T>(&self, ask: impl FnOnce(&Transaction) -> Result<T, Error>) -> Result<T, Fault> {
        let answer: Outcome<T> = self.store.read(ask);
        answer.map_err(fault)
    }

    fn remove<T: Send + 'static>(
        &self,
        gone: Vec<T>,
        remove: impl Fn(&Transaction, &T) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Fault> {
        if gone.is_empty() {
            return Ok(());
        }
        let removed = self
            .store
            .note(move |tx| gone.iter().try_for_each(|each| remove(tx, each)));
        removed.map_err(fault)
    }
}

fn below(folder: Option<&Folder>, names: &[&str]) -> Result<Option<Folder>, Fault> {
    folder.map_or(Ok(None), |folder| folder.below(names))
}

fn is_linked(folder: Option<&Folder>, digest: &Digest) -> Result<bool, Fault> {
    let at = below(folder, &[digest.algorithm().name(), &digest.hex()])?;
    let link = at.map_or(Ok(None), |at| at.file("link"))?;
    Ok(link.is_some())
}

/// Whether a tag has a link that does not say otherwise; one that a power cut emptied does not.
fn points_to(tags: Option<&Folder>, tag: &Tag, digest: &Digest) -> Result<bool, Fault> {
    let current = below(tags, &[tag.as_str(), "current"])?;
    let link = current.map_or(Ok(None), |at| at.read("link", 1 << 10))?;
    Ok(link.is_some_and(|(_, link)| match Link::of(&link) {
        Link::To(target) => target == *digest,
        Link::Empty | Link::Garbage => true,
    }))
}
