//! The way back: distribution's tree is written again from the catalog, and is the truth until it
//! is read the next time (see [`super::import`], which draws it).
//!
//! All is written under another name, `repositories.new`, and made durable; then the catalog notes
//! that it was handed over, and the folder gets its name. Whoever is killed before that begins
//! again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::blob::{self, Listed, Place};
use super::bulk::{self, Bulk};
use super::import::pin_file::{self, PinFile};
use super::import::{FOLDER, NEW_FOLDER, fault};
use super::{Error, Store, Transaction, hand_over, manifest, pin, repository, tag};
use crate::disk::{self, Root};
use crate::fault::Fault;
use crate::oci::{Digest, Manifest, Repository};

/// How many rows are read at once: readers hold no transaction while files are written.
const PAGE: u32 = 500;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Repositories, also those that hold nothing any more.
    pub repositories: u64,
    /// Manifests of repositories.
    pub manifests: u64,
    /// Tags.
    pub tags: u64,
    /// Contents that were in the catalog alone and are files now.
    pub contents: u64,
    /// Blobs that are on a content network alone: distribution can't serve them.
    pub remote: u64,
}

/// Writes distribution's tree. None if it was written before, and nobody has read it since.
///
/// Fails where there is a tree that was never handed over: it is to be read first.
pub fn write(store: &Store, root: &Root) -> Result<Option<Summary>, Fault> {
    let folder = root.tree().join(FOLDER);
    if folder.is_dir() {
        if store.read(hand_over::is_noted).map_err(fault)? {
            return Ok(None);
        }
        let cause = "it was not read yet: start Lighthouse once, and stop it, before this";
        return Err(Fault::disk("replace", folder, io::Error::other(cause)));
    }
    let new = root.tree().join(NEW_FOLDER);
    disk::discard(&new)?;
    fs::create_dir(&new).map_err(|err| Fault::disk("make the folder", &new, err))?;
    let mut writing = Writing {
        store,
        bulk: Bulk::open(root.path())?,
        folder: new.clone(),
        summary: Summary::default(),
    };
    writing.write_blobs()?;
    writing.write_repositories()?;
    let Writing { bulk, summary, .. } = writing;
    bulk.finish()?;
    store.write(hand_over::note).map_err(fault)?;
    // A file that kept distribution's garbage collector away.
    disk::discard(&folder)?;
    fs::rename(&new, &folder).map_err(|err| Fault::disk("rename to", &folder, err))?;
    disk::sync(&root.tree())?;
    Ok(Some(summary))
}

struct Writing<'s> {
    store: &'s Store,
    bulk: Bulk,
    folder: PathBuf,
    summary: Summary,
}

impl Writing<'_> {
    /// Contents that the catalog holds, and what is known of each blob's network.
    fn write_blobs(&mut self) -> Result<(), Fault> {
        let mut last = 0;
        loop {
            let page = self.read(|tx| blob::list_all(tx, last, PAGE))?;
            let Some(end) = page.last() else {
                return Ok(());
            };
            last = end.id;
            page.iter().try_for_each(|blob| self.write_blob(blob))?;
        }
    }

    fn write_blob(&mut self, blob: &Listed) -> Result<(), Fault> {
        let path = self.store.files().blob_path(&blob.digest);
        match blob.place {
            Place::Nowhere => return Ok(()),
            Place::File => {}
            Place::Network | Place::Missing => self.summary.remote += 1,
            Place::Row => {
                let bytes = self
                    .read(|tx| blob::bytes(tx, blob.id))?
                    .unwrap_or_default();
                if !bulk::holds(&path, &bytes) {
                    self.bulk.write(&path, &bytes)?;
                    self.summary.contents += 1;
                }
            }
        }
        let pins = self.read(|tx| pin::of_digest(tx, &blob.digest))?;
        // The file has room for one network: the one that keeps it, if any does.
        let best = pins
            .iter()
            .max_by_key(|pin| pin.state == pin::State::Pinned);
        let is_manifest = self.read(|tx| manifest::is_anywhere(tx, blob.id))?;
        let Some(file) = best.and_then(|pin| PinFile::of(pin, blob.size, is_manifest)) else {
            return Ok(());
        };
        // A struct of texts and numbers always has its JSON.
        let bytes = serde_json::to_vec(&file).unwrap_or_default();
        self.bulk
            .write(&path.with_file_name(pin_file::NAME), &bytes)
    }

    fn write_repositories(&mut self) -> Result<(), Fault> {
        let mut last = String::new();
        loop {
            let page = self.read(|tx| repository::list_all(tx, &last, PAGE))?;
            let Some((_, name)) = page.last() else {
                return Ok(());
            };
            last = name.as_str().to_owned();
            for (id, name) in &page {
                let folder = self.folder.join(name.as_str());
                self.write_layers(*id, &folder)?;
                self.write_manifests(*id, &folder)?;
                self.write_tags(*id, name, &folder)?;
                self.summary.repositories += 1;
            }
        }
    }

    fn write_layers(&mut self, id: i64, folder: &Path) -> Result<(), Fault> {
        let folder = folder.join("_layers");
        let mut last = 0;
        loop {
            let page = self.read(|tx| blob::list_held(tx, id, last, PAGE))?;
            let Some((end, _)) = page.last() else {
                return Ok(());
            };
            last = *end;
            for (_, digest) in &page {
                self.write_link(&folder, digest)?;
            }
        }
    }

    fn write_manifests(&mut self, id: i64, folder: &Path) -> Result<(), Fault> {
        let folder = folder.join("_manifests/revisions");
        let mut last = 0;
        loop {
            let page = self.read(|tx| manifest::list_all(tx, id, last, PAGE))?;
            let Some(end) = page.last() else {
                return Ok(());
            };
            last = end.id;
            for listed in &page {
                let link = self.write_link(&folder, &listed.digest)?;
                let path = self.store.files().blob_path(&listed.digest);
                let bytes = disk::read(&path)?.unwrap_or_default();
                if Manifest::media_type_of(&bytes) != listed.media_type {
                    let beside = link.with_file_name("mediatype");
                    self.bulk.write(&beside, listed.media_type.as_bytes())?;
                }
                self.summary.manifests += 1;
            }
        }
    }

    fn write_tags(&mut self, id: i64, name: &Repository, folder: &Path) -> Result<(), Fault> {
        let folder = folder.join("_manifests/tags");
        let mut last = String::new();
        loop {
            let page = self.read(|tx| tag::list_all(tx, id, &last, PAGE))?;
            let Some((tag, _)) = page.last() else {
                return Ok(());
            };
            last = tag.as_str().to_owned();
            for (tag, digest) in &page {
                log::debug!("{name}:{tag}");
                let folder = folder.join(tag.as_str());
                self.write_link(&folder.join("index"), digest)?;
                let link = digest.to_string();
                self.bulk
                    .write(&folder.join("current/link"), link.as_bytes())?;
                self.summary.tags += 1;
            }
        }
    }

    /// Writes the link of a digest in a folder of `ALGORITHM/HEX/link`; where it is.
    fn write_link(&self, folder: &Path, digest: &Digest) -> Result<PathBuf, Fault> {
        let folder = folder.join(digest.algorithm().name()).join(digest.hex());
        let link = folder.join("link");
        self.bulk.write(&link, digest.to_string().as_bytes())?;
        Ok(link)
    }

    fn read<T>(&self, ask: impl FnOnce(&Transaction) -> Result<T, Error>) -> Result<T, Fault> {
        self.store.read(ask).map_err(fault)
    }
}
