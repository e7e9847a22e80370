//! What a store says of images and their parts.

use std::collections::HashSet;

use serde::Serialize;

use super::Wanted;
use crate::cid::Cid;
use crate::fault::Fault;
use crate::nearest::nearest;
use crate::oci::manifest::{DOCKER_MANIFEST, OCI_MANIFEST};
use crate::oci::{Descriptor, Digest, Manifest, Reference, Repository, Tag};
use crate::store::blob::Place;
use crate::store::pin::State;
use crate::store::scan::{self, Content, Tagged};
use crate::store::{self, Transaction, View};

/// Entries of a page.
const PAGE: u32 = 100;

/// An image with all that it is made of, or what a repository holds beside its images.
#[derive(Debug)]
pub struct Image {
    /// Where it is.
    pub repository: Repository,
    /// The tags that point to it, in order.
    pub tags: Vec<Tag>,
    /// Its manifest or index; `None` for blobs that no image of the repository needs.
    pub digest: Option<Digest>,
    /// Its manifest and all below, each once, with how deep below it is.
    pub parts: Vec<Part>,
}

/// A manifest or a blob.
#[derive(Debug)]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// 0 for what the image is named by, 1 for what that consists of.
    pub depth: usize,
    /// What it hashes to.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What the network calls it, if that is known.
    pub cid: Option<Cid>,
    /// How far it is.
    pub standing: Standing,
    /// Why it is not farther.
    pub cause: Option<String>,
    /// Whether its bytes are on this disk.
    pub is_here: bool,
}

/// What a part is to its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An image manifest, or anything that is no index.
    Manifest,
    /// An image index.
    Index,
    /// An image's configuration.
    Config,
    /// A layer of an image.
    Layer,
    /// Of another kind of manifest, or of no manifest at all.
    Blob,
}

/// How far a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// The network keeps it.
    Pinned,
    /// The network has it and has not pinned it yet.
    Stored,
    /// On its way.
    Uploading,
    /// On this disk only.
    Local,
    /// The network refuses it; it is tried again.
    Failed,
    /// Neither here nor on the network.
    Missing,
    /// Meant to be fetched from elsewhere, as its media type says.
    Foreign,
}

/// Looks at a store.
pub struct Look<'v> {
    view: &'v View,
    /// The network that blobs travel to from here, if they do.
    network: Option<&'v str>,
}

/// What is told of each image; it may end the scan.
type Visit<'f> = &'f mut dyn FnMut(Image) -> Result<(), Fault>;

impl<'v> Look<'v> {
    /// A look at a store whose blobs travel to that network.
    pub fn new(view: &'v View, network: Option<&'v str>) -> Look<'v> {
        Look { view, network }
    }

    /// Asks the catalog within one page.
    pub fn read<T>(
        &self,
        ask: impl FnOnce(&Transaction) -> Result<T, store::Error>,
    ) -> Result<T, Fault> {
        Ok(self.view.read(ask)?)
    }

    /// Visits the images that are wanted, or all. The text says that there is no such image, and
    /// which one may have been meant.
    pub fn visit(
        &self,
        wanted: Option<&Wanted>,
        visit: Visit,
    ) -> Result<Result<(), String>, Fault> {
        let Some(wanted) = wanted else {
            return self
                .each_repository(&mut |listed| self.visit_all(&listed.name, visit).map(drop))
                .map(Ok);
        };
        let repository = &wanted.repository;
        let Some(reference) = &wanted.reference else {
            return match self.visit_all(repository, visit)? {
                true => Ok(Ok(())),
                false => self.unknown_repository(repository).map(Err),
            };
        };
        let Some((id, digest)) = self.resolve(repository, reference)? else {
            return self.unknown_image(repository, reference).map(Err);
        };
        let tags = match reference {
            Reference::Tag(tag) => vec![tag.clone()],
            Reference::Digest(_) => self.read(|tx| scan::tags_of(tx, repository, id))?,
        };
        visit(self.image(repository, tags, digest)?).map(Ok)
    }

    /// Visits each repository that holds a manifest.
    pub fn each_repository(
        &self,
        visit: &mut dyn FnMut(scan::Listed) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut last = String::new();
        loop {
            let page = self.read(|tx| scan::repositories(tx, &last, PAGE))?;
            let Some(end) = page.last() else {
                return Ok(());
            };
            last = end.name.to_string();
            page.into_iter().try_for_each(&mut *visit)?;
        }
    }

    /// Visits each tag of a repository; whether there was one.
    pub fn each_tag(
        &self,
        repository: &Repository,
        visit: &mut dyn FnMut(Tagged) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let (mut last, mut is_any) = (String::new(), false);
        loop {
            let page = self.read(|tx| scan::tags(tx, repository, &last, PAGE))?;
            let Some(end) = page.last() else {
                return Ok(is_any);
            };
            is_any = true;
            last = end.name.to_string();
            page.into_iter().try_for_each(&mut *visit)?;
        }
    }

    /// Everything that a repository holds: the tagged images, each at the first of its tags; then
    /// those without a tag that are in no other; then the blobs that are in none of them. Whether
    /// it holds anything.
    fn visit_all(&self, repository: &Repository, visit: Visit) -> Result<bool, Fault> {
        let mut is_any = self.each_tag(repository, &mut |tagged| {
            let tags = self.read(|tx| scan::tags_of(tx, repository, tagged.manifest))?;
            match tags.first() == Some(&tagged.name) {
                true => visit(self.image(repository, tags, tagged.digest)?),
                false => Ok(()),
            }
        })?;
        let mut last = 0;
        loop {
            let page = self.read(|tx| scan::manifests(tx, repository, last, PAGE))?;
            let Some((end, _)) = page.last() else {
                break;
            };
            (is_any, last) = (true, end.id);
            for (content, _) in page {
                let is_in_another = self.read(|tx| {
                    Ok(scan::is_needed(tx, repository, content.id)?
                        || !scan::tags_of(tx, repository, content.id)?.is_empty())
                })?;
                if !is_in_another {
                    visit(self.image(repository, Vec::new(), content.digest)?)?;
                }
            }
        }
        let spare = self.spare(repository, &mut is_any)?;
        if !spare.is_empty() {
            visit(Image {
                repository: repository.clone(),
                tags: Vec::new(),
                digest: None,
                parts: spare,
            })?;
        }
        Ok(is_any)
    }

    /// The blobs of a repository that none of its manifests needs.
    fn spare(&self, repository: &Repository, is_any: &mut bool) -> Result<Vec<Part>, Fault> {
        let (mut parts, mut last) = (Vec::new(), 0);
        loop {
            let page = self.read(|tx| {
                let page = scan::blobs(tx, repository, last, PAGE)?;
                for content in &page {
                    if !scan::is_needed(tx, repository, content.id)?
                        && !scan::is_manifest(tx, repository, content.id)?
                    {
                        let digest = content.digest;
                        parts.push(self.part(tx, Kind::Blob, 1, digest, None)?);
                    }
                }
                Ok(page)
            })?;
            let Some(end) = page.last() else {
                return Ok(parts);
            };
            (*is_any, last) = (true, end.id);
        }
    }

    /// An image of a repository, with its manifest and all below.
    pub fn image(
        &self,
        repository: &Repository,
        tags: Vec<Tag>,
        digest: Digest,
    ) -> Result<Image, Fault> {
        let mut parts = Vec::new();
        let (mut seen, mut ahead) = (HashSet::new(), vec![(0, digest)]);
        while let Some((depth, digest)) = ahead.pop() {
            if !seen.insert(digest) {
                continue;
            }
            let below = self.read(|tx| {
                let mut own = self.part(tx, Kind::Manifest, depth, digest, None)?;
                let manifest = match self.manifest(tx, repository, &digest) {
                    Ok(manifest) => manifest,
                    Err(store::Error::Fault(fault)) => {
                        own.standing = Standing::Missing;
                        own.cause = Some(fault.to_string());
                        None
                    }
                    Err(error) => return Err(error),
                };
                let is_index = manifest.as_ref().is_some_and(|it| !it.manifests.is_empty());
                own.kind = if is_index {
                    Kind::Index
                } else {
                    Kind::Manifest
                };
                parts.push(own);
                let Some(manifest) = manifest else {
                    return Ok(Vec::new());
                };
                let kinds = kinds(&manifest.media_type);
                for (descriptor, kind) in manifest.blobs.iter().zip(kinds) {
                    if seen.insert(descriptor.digest) {
                        let digest = descriptor.digest;
                        parts.push(self.part(tx, kind, depth + 1, digest, Some(descriptor))?);
                    }
                }
                // An index may list what nobody pushed here.
                let mut below = Vec::new();
                for descriptor in manifest.manifests {
                    if self.held(tx, repository, &descriptor.digest)?.is_some() {
                        below.push(descriptor.digest);
                    }
                }
                Ok(below)
            })?;
            ahead.extend(below.into_iter().rev().map(|digest| (depth + 1, digest)));
        }
        Ok(Image {
            repository: repository.clone(),
            tags,
            digest: Some(digest),
            parts,
        })
    }

    /// What a repository's manifest says. None if its bytes are not here, or nothing that we can
    /// read: what registry:2 took may be less strict than we are.
    pub fn manifest(
        &self,
        tx: &Transaction,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Manifest>, store::Error> {
        let Some(content) = scan::find(tx, digest)? else {
            return Ok(None);
        };
        let reference = Reference::Digest(*digest);
        let Some(found) = store::manifest::find(tx, repository, &reference)? else {
            return Ok(None);
        };
        let bytes = self.view.content(tx, &content)?;
        Ok(bytes.and_then(|bytes| Manifest::parse(&bytes, Some(&found.media_type)).ok()))
    }

    /// The bytes of small content, such as a configuration, if they are here and whole.
    pub fn bytes(
        &self,
        tx: &Transaction,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, store::Error> {
        let Some(content) = scan::find(tx, digest)? else {
            return Ok(None);
        };
        match self.view.content(tx, &content) {
            Err(store::Error::Fault(_)) => Ok(None),
            found => found,
        }
    }

    /// A manifest that a repository holds.
    fn held(
        &self,
        tx: &Transaction,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Content>, store::Error> {
        let Some(content) = scan::find(tx, digest)? else {
            return Ok(None);
        };
        let is_held = scan::is_manifest(tx, repository, content.id)?;
        Ok(is_held.then_some(content))
    }

    fn resolve(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<(i64, Digest)>, Fault> {
        self.read(|tx| match reference {
            Reference::Tag(tag) => scan::target(tx, repository, tag),
            Reference::Digest(digest) => {
                let held = self.held(tx, repository, digest)?;
                Ok(held.map(|content| (content.id, *digest)))
            }
        })
    }

    fn part(
        &self,
        tx: &Transaction,
        kind: Kind,
        depth: usize,
        digest: Digest,
        descriptor: Option<&Descriptor>,
    ) -> Result<Part, store::Error> {
        let content = scan::find(tx, &digest)?;
        let here = match &content {
            Some(content) => self.size_here(content)?,
            None => None,
        };
        // Without a network, what was once pinned is of no use to anybody.
        let pin = match (self.network, &content) {
            (Some(network), Some(content)) => scan::pin(tx, network, content.id)?,
            _ => None,
        };
        let standing = match pin.as_ref().map(|pin| pin.state) {
            Some(State::Pinned) => Standing::Pinned,
            Some(State::Stored) => Standing::Stored,
            None if descriptor.is_some_and(Descriptor::is_nondistributable) && here.is_none() => {
                Standing::Foreign
            }
            _ if here.is_none() => Standing::Missing,
            Some(State::Uploading) => Standing::Uploading,
            Some(State::Failed) => Standing::Failed,
            Some(State::Queued) | None => Standing::Local,
        };
        let known = content.and_then(|content| content.size);
        let said = descriptor.map(|descriptor| descriptor.size);
        let cid = pin.as_ref().and_then(|pin| pin.cid.as_deref());
        Ok(Part {
            kind,
            depth,
            digest,
            size: here.or(known).or(said).unwrap_or(0),
            cid: cid.and_then(|text| text.parse().ok()),
            standing,
            cause: pin.and_then(|pin| pin.cause),
            is_here: here.is_some(),
        })
    }

    /// The size of content whose bytes are on this machine.
    pub fn size_here(&self, content: &Content) -> Result<Option<u64>, Fault> {
        match content.place {
            Place::Row => Ok(content.size),
            Place::File => self.view.files().size(&content.digest),
            Place::Nowhere | Place::Network | Place::Missing => Ok(None),
        }
    }

    /// `no repository "hellowrold"; did you mean helloworld?`
    pub fn unknown_repository(&self, repository: &Repository) -> Result<String, Fault> {
        let mut known = Vec::new();
        self.each_repository(&mut |listed| {
            known.push(listed.name.to_string());
            Ok(())
        })?;
        Ok(unknown("repository", repository.as_str(), &known))
    }

    fn unknown_image(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<String, Fault> {
        let mut known = Vec::new();
        self.each_tag(repository, &mut |tagged| {
            known.push(tagged.name.to_string());
            Ok(())
        })?;
        let is_here = self.read(|tx| {
            let holds_manifest = !scan::manifests(tx, repository, 0, 1)?.is_empty();
            Ok(holds_manifest || !scan::blobs(tx, repository, 0, 1)?.is_empty())
        })?;
        if !is_here {
            return self.unknown_repository(repository);
        }
        let what = format!("image in {repository} is called");
        Ok(unknown(&what, &reference.to_string(), &known))
    }
}

/// What the blobs of a manifest are, in their order.
fn kinds(media_type: &str) -> impl Iterator<Item = Kind> {
    let is_image = [OCI_MANIFEST, DOCKER_MANIFEST].contains(&media_type);
    let (first, rest) = match is_image {
        true => (Kind::Config, Kind::Layer),
        false => (Kind::Blob, Kind::Blob),
    };
    std::iter::once(first).chain(std::iter::repeat(rest))
}

fn unknown(what: &str, name: &str, known: &[String]) -> String {
    match nearest(name, known.iter().map(String::as_str)) {
        Some(known) => format!("no {what} {name:?}; did you mean {known:?}?"),
        None => format!("no {what} {name:?}"),
    }
}
