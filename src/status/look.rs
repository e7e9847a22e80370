//! What the root directory says of images and their parts.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::Wanted;
use crate::blobs::Blobs;
use crate::catalog::voyage::{State, Voyage};
use crate::catalog::{Contents, Ledger};
use crate::cid::Cid;
use crate::disk::Root;
use crate::fault::Fault;
use crate::nearest::nearest;
use crate::oci::manifest::{DOCKER_MANIFEST, OCI_MANIFEST};
use crate::oci::{Descriptor, Digest, Manifest, Reference, Repository, Tag};
use crate::progress::Progress;

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

/// Looks at a root directory.
pub struct Look {
    blobs: Blobs,
    ledger: Ledger,
    /// Whether blobs travel from here.
    pub has_network: bool,
}

impl Look {
    /// A look at that root.
    pub fn new(root: &Root, has_network: bool) -> Look {
        Look {
            blobs: Blobs::new(root),
            ledger: Ledger::new(root),
            has_network,
        }
    }

    /// The images that are wanted, or all; the inner error says that there is no such image, and
    /// which one may have been meant.
    pub fn images(
        &self,
        wanted: Option<&Wanted>,
        progress: &Progress,
    ) -> Result<Result<Vec<Image>, String>, Fault> {
        let Some(Wanted {
            repository,
            reference,
        }) = wanted
        else {
            let mut images = Vec::new();
            for repository in self.ledger.names()? {
                progress.show(format_args!("reading {repository}"));
                images.extend(self.all(&repository, &self.ledger.open(&repository)?)?);
            }
            return Ok(Ok(images));
        };
        let contents = self.ledger.open(repository)?;
        if contents.manifests.is_empty() && contents.blobs.is_empty() {
            let names = self.ledger.names()?;
            let known = names.iter().map(Repository::as_str);
            return Ok(Err(unknown("repository", repository.as_str(), known)));
        }
        let Some(reference) = reference else {
            return self.all(repository, &contents).map(Ok);
        };
        let Some(digest) = contents.resolve(reference) else {
            let known = contents.tags.keys().map(Tag::as_str);
            let named = reference.to_string();
            let what = format!("image in {repository} is called");
            return Ok(Err(unknown(&what, &named, known)));
        };
        let tags = match reference {
            Reference::Tag(tag) => vec![tag.clone()],
            Reference::Digest(digest) => contents.tags_of(digest),
        };
        let image = self.image(repository, &contents, tags, digest)?;
        Ok(Ok(vec![image]))
    }

    /// Everything that a repository holds: the tagged images, then those without a tag that are
    /// in no other, then the blobs that are in none of them.
    fn all(&self, repository: &Repository, contents: &Contents) -> Result<Vec<Image>, Fault> {
        let mut tagged: BTreeMap<Digest, Vec<Tag>> = BTreeMap::new();
        for (tag, digest) in &contents.tags {
            tagged.entry(*digest).or_default().push(tag.clone());
        }
        let mut tagged: Vec<_> = tagged.into_iter().collect();
        tagged.sort_by(|one, other| one.1.cmp(&other.1));
        let mut images = Vec::new();
        let mut within = HashSet::new();
        let mut add = |tags, digest, images: &mut Vec<Image>| {
            let image = self.image(repository, contents, tags, digest)?;
            let parts = image.parts.iter().filter(|part| part.depth > 0);
            within.extend(parts.map(|part| part.digest));
            images.push(image);
            Ok::<(), Fault>(())
        };
        for (digest, tags) in tagged {
            add(tags, digest, &mut images)?;
        }
        let is_tagged: HashSet<Digest> = contents.tags.values().copied().collect();
        let mut others: Vec<_> = contents.manifests.difference(&is_tagged).copied().collect();
        others.sort();
        for digest in others {
            add(Vec::new(), digest, &mut images)?;
        }
        images.retain(|image| {
            let is_within = image.digest.is_some_and(|digest| within.contains(&digest));
            !(image.tags.is_empty() && is_within)
        });
        let mut spare: Vec<_> = contents.blobs.difference(&within).copied().collect();
        spare.sort();
        if !spare.is_empty() {
            let part = |digest| self.part(Kind::Blob, 1, digest, None);
            images.push(Image {
                repository: repository.clone(),
                tags: Vec::new(),
                digest: None,
                parts: spare.into_iter().map(part).collect::<Result<_, _>>()?,
            });
        }
        Ok(images)
    }

    fn image(
        &self,
        repository: &Repository,
        contents: &Contents,
        tags: Vec<Tag>,
        digest: Digest,
    ) -> Result<Image, Fault> {
        let mut parts = Vec::new();
        let (mut seen, mut ahead) = (HashSet::new(), vec![(0, digest)]);
        while let Some((depth, digest)) = ahead.pop() {
            if !seen.insert(digest) {
                continue;
            }
            let mut own = self.part(Kind::Manifest, depth, digest, None)?;
            let manifest = match self.blobs.read(&digest) {
                Ok(bytes) => bytes.unwrap_or_default(),
                Err(fault) => {
                    own.standing = Standing::Missing;
                    own.cause = Some(fault.to_string());
                    Vec::new()
                }
            };
            let media_type = self.ledger.media_type(repository, &digest, &manifest)?;
            // What registry:2 took may be less strict than we are; it has no parts then.
            let manifest = Manifest::parse(&manifest, Some(&media_type)).ok();
            if manifest.as_ref().is_some_and(|it| !it.manifests.is_empty()) {
                own.kind = Kind::Index;
            }
            parts.push(own);
            let Some(manifest) = manifest else {
                continue;
            };
            let kinds = kinds(&manifest.media_type);
            for (descriptor, kind) in manifest.blobs.iter().zip(kinds) {
                if seen.insert(descriptor.digest) {
                    let digest = descriptor.digest;
                    parts.push(self.part(kind, depth + 1, digest, Some(descriptor))?);
                }
            }
            // An index may list what nobody pushed here.
            let below = manifest.manifests.iter().map(|below| below.digest);
            let below = below.filter(|digest| contents.manifests.contains(digest));
            ahead.extend(below.rev().map(|digest| (depth + 1, digest)));
        }
        Ok(Image {
            repository: repository.clone(),
            tags,
            digest: Some(digest),
            parts,
        })
    }

    fn part(
        &self,
        kind: Kind,
        depth: usize,
        digest: Digest,
        descriptor: Option<&Descriptor>,
    ) -> Result<Part, Fault> {
        // Without a network, what a voyage says is of no use to anybody.
        let voyage = match self.has_network {
            true => Voyage::read(&self.blobs.path(&digest))?,
            false => None,
        };
        let here = self.blobs.size(&digest)?;
        let standing = match voyage.as_ref().map(|voyage| voyage.state) {
            Some(State::Pinned) => Standing::Pinned,
            Some(State::Stored) => Standing::Stored,
            None if descriptor.is_some_and(Descriptor::is_nondistributable) && here.is_none() => {
                Standing::Foreign
            }
            _ if here.is_none() => Standing::Missing,
            Some(State::Uploading) => Standing::Uploading,
            Some(State::Failed) => Standing::Failed,
            Some(State::Local) | None => Standing::Local,
        };
        let said = descriptor.map(|descriptor| descriptor.size);
        let travelled = voyage.as_ref().map(|voyage| voyage.size);
        let cid = voyage.as_ref().and_then(|voyage| voyage.cid.as_deref());
        Ok(Part {
            kind,
            depth,
            digest,
            size: here.or(travelled).or(said).unwrap_or(0),
            cid: cid.and_then(|text| text.parse().ok()),
            standing,
            cause: voyage.and_then(|voyage| voyage.cause),
            is_here: here.is_some(),
        })
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

/// `no repository "hellowrold"; did you mean helloworld?`
fn unknown<'k>(what: &str, name: &str, known: impl Iterator<Item = &'k str>) -> String {
    match nearest(name, known) {
        Some(known) => format!("no {what} {name:?}; did you mean {known:?}?"),
        None => format!("no {what} {name:?}"),
    }
}
