//! What one repository's folder holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::super::blob::{Content, Place};
use super::super::manifest::Adopted;
use super::super::{ROW_SIZE_MAX, sqlite};
use super::Import;
use super::batch::{NEEDS_MAX, Row};
use super::folder::{Folder, Found};
use super::pin_file::PinFile;
use crate::fault::Fault;
use crate::oci::manifest::{self, is_media_type};
use crate::oci::{Algorithm, Digest, Manifest, Repository, Tag};

/// A link is a digest as text.
const LINK_SIZE_MAX: u64 = 1 << 10;
/// The most that a media type takes.
const MEDIA_TYPE_SIZE_MAX: u64 = 1 << 10;

impl Import<'_> {
    /// Reads a repository: its blobs, then its manifests, then its tags, each of which refers to
    /// what came before.
    pub(super) fn read_repository(
        &mut self,
        name: &Repository,
        folder: &Folder,
    ) -> Result<(), Fault> {
        if let Some(layers) = folder.folder("_layers")? {
            self.each_link(&layers, |import, digest, _, _| {
                import.read_blob(name, digest)
            })?;
        }
        if let Some(revisions) = folder.below(&["_manifests", "revisions"])? {
            self.each_link(&revisions, |import, digest, revision, link| {
                import.read_manifest(name, digest, revision, link)
            })?;
        }
        if let Some(tags) = folder.below(&["_manifests", "tags"])? {
            tags.each(|tag| self.read_tag(name, &tags, tag))?;
        }
        if let Some(uploads) = folder.folder("_uploads")? {
            uploads.each(|_| {
                self.summary.uploads += 1;
                Ok(())
            })?;
        }
        self.progress.repository();
        self.summary.repositories += 1;
        Ok(())
    }

    /// Shows each digest that has a link in a folder of `ALGORITHM/HEX/link`, with its folder.
    fn each_link(
        &mut self,
        folder: &Folder,
        mut see: impl FnMut(&mut Self, Digest, &Folder, Found) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        for algorithm in Algorithm::ALL {
            let Some(folder) = folder.folder(algorithm.name())? else {
                continue;
            };
            folder.each(|hex| {
                if self.is_stopped() {
                    return Ok(());
                }
                let Some(digest) = Digest::from_parts(algorithm.name(), hex) else {
                    return Ok(());
                };
                // distribution deletes a link and leaves its folder.
                let Some(at) = folder.folder(hex)? else {
                    return Ok(());
                };
                // What it says is what its path says, unless a power cut took it.
                match at.file("link")? {
                    Some(link) => see(self, digest, &at, link),
                    None => Ok(()),
                }
            })?;
        }
        Ok(())
    }

    fn read_blob(&mut self, repository: &Repository, digest: Digest) -> Result<(), Fault> {
        let Some(folder) = self.blob_folder(&digest)? else {
            return Ok(());
        };
        let file = folder.file("data")?;
        let pin = PinFile::read(&folder)?;
        let is_whole = |size: u64| match &pin {
            Some(pin) => pin.size == size,
            // A power cut empties files.
            None => size > 0 || digest == Digest::of(digest.algorithm(), b""),
        };
        let (place, size) = match (file, &pin) {
            (Some(file), _) if is_whole(file.size) => (Place::File, file.size),
            (_, Some(pin)) if pin.is_pinned() => (Place::Network, pin.size),
            (None, _) => return Ok(()),
            (Some(_), _) => {
                self.skip(folder.path(), "its bytes are not all there");
                return Ok(());
            }
        };
        let pin = pin.and_then(|pin| pin.to_pin(self.network, sqlite::now()));
        self.add(repository, Row::Blob(digest, place, size, pin))
    }

    fn read_manifest(
        &mut self,
        repository: &Repository,
        digest: Digest,
        revision: &Folder,
        link: Found,
    ) -> Result<(), Fault> {
        let Some(folder) = self.blob_folder(&digest)? else {
            return Ok(());
        };
        let Some((_, bytes)) = folder.read("data", manifest::SIZE_MAX)? else {
            if folder.file("data")?.is_some() {
                self.skip(folder.path(), "it is too large for a manifest");
            }
            return Ok(());
        };
        if Digest::of(digest.algorithm(), &bytes) != digest {
            self.skip(folder.path(), "its bytes have another digest");
            return Ok(());
        }
        let written_down = revision.read("mediatype", MEDIA_TYPE_SIZE_MAX)?;
        let media_type = written_down
            .and_then(|(_, text)| String::from_utf8(text).ok())
            .filter(|text| is_media_type(text))
            .unwrap_or_else(|| Manifest::media_type_of(&bytes));
        let size = bytes.len() as u64;
        let (referrer, needed) = named_by(&bytes, &media_type, digest);
        for needed in needed.chunks(NEEDS_MAX) {
            self.add(repository, Row::Needs(digest, needed.to_vec()))?;
        }
        let content = match size <= ROW_SIZE_MAX {
            true => Content::Bytes(Arc::from(bytes)),
            false => Content::File(size),
        };
        let found = Adopted {
            digest,
            media_type,
            content,
            referrer,
            pushed_at: link.written_at,
        };
        let pin = PinFile::read(&folder)?;
        let pin = pin.and_then(|pin| pin.to_pin(self.network, sqlite::now()));
        self.progress.manifest();
        self.add(repository, Row::Manifest(Box::new(found), pin))
    }

    fn read_tag(
        &mut self,
        repository: &Repository,
        tags: &Folder,
        name: &str,
    ) -> Result<(), Fault> {
        let Ok(tag) = name.parse::<Tag>() else {
            return Ok(());
        };
        let Some(current) = tags.below(&[name, "current"])? else {
            return Ok(());
        };
        match current.read("link", LINK_SIZE_MAX)? {
            None => Ok(()),
            Some((found, link)) => match Link::of(&link) {
                Link::To(digest) => self.add(repository, Row::Tag(tag, digest, found.written_at)),
                Link::Empty | Link::Garbage => {
                    self.skip(current.path(), "the tag's link is no digest");
                    Ok(())
                }
            },
        }
    }

    fn blob_folder(&self, digest: &Digest) -> Result<Option<Folder>, Fault> {
        let hex = digest.hex();
        let blobs = self.blobs.iter();
        let mut blobs = blobs.filter(|(algorithm, _)| *algorithm == digest.algorithm());
        match blobs.next() {
            Some((_, blobs)) => blobs.below(&[&hex[..2], &hex]),
            None => Ok(None),
        }
    }
}

/// What a link says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Link {
    To(Digest),
    /// Nothing, or the zeros that some file systems leave after a power cut.
    Empty,
    Garbage,
}

impl Link {
    pub fn of(bytes: &[u8]) -> Link {
        if bytes
            .iter()
            .all(|byte| *byte == 0 || byte.is_ascii_whitespace())
        {
            return Link::Empty;
        }
        let digest = std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        digest.map_or(Link::Garbage, Link::To)
    }
}

type Referrer = (Digest, crate::oci::Descriptor);

/// The manifest that one refers to, and all content that it names. distribution takes what we
/// would refuse to take: such a one refers to nobody, and names every digest that is in it.
fn named_by(bytes: &[u8], media_type: &str, digest: Digest) -> (Option<Referrer>, Vec<Digest>) {
    let mut needed = BTreeSet::new();
    let mut referrer = None;
    match Manifest::parse(bytes, Some(media_type)) {
        Ok(manifest) => {
            let all = manifest.blobs.iter().chain(&manifest.manifests);
            needed.extend(all.map(|descriptor| descriptor.digest));
            referrer = manifest.subject.as_ref().map(|subject| {
                let listed = manifest.as_referrer(digest, bytes.len() as u64);
                (subject.digest, listed)
            });
        }
        Err(_) => digests_in(
            &serde_json::from_slice(bytes).unwrap_or_default(),
            &mut needed,
        ),
    }
    (referrer, needed.into_iter().collect())
}

/// Collects what a document's descriptors, and schema 1's layers, name.
fn digests_in(document: &Value, found: &mut BTreeSet<Digest>) {
    match document {
        Value::Array(items) => items.iter().for_each(|item| digests_in(item, found)),
        Value::Object(fields) => {
            for (key, value) in fields.iter().filter(|(key, _)| *key != "subject") {
                match (key.as_str(), value) {
                    ("digest" | "blobSum", Value::String(text)) => {
                        found.extend(text.parse::<Digest>())
                    }
                    _ => digests_in(value, found),
                }
            }
        }
        _ => {}
    }
}
