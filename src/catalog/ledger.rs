//! The catalog on disk, as registry:2 keeps it:
//!
//! ```text
//! docker/registry/v2/
//! ├── blobs/sha256/ab/ab…/data                      the bytes, manifests too
//! └── repositories/NAME/
//!     ├── _layers/sha256/HEX/link                   a blob of this repository
//!     ├── _manifests/revisions/sha256/HEX/link      a manifest of this repository
//!     │                              └─ mediatype   ours: its type, if its bytes don't say it
//!     ├── _manifests/tags/TAG/current/link          where a tag points
//!     ├── _manifests/tags/TAG/index/sha256/HEX/link where it pointed once
//!     └── _uploads/SESSION/data                     an upload on its way
//! ```
//!
//! A link holds the digest it stands for, as text. A registry that lost power may have left empty
//! links: where the path tells the digest, that is enough for us; a tag whose link is empty has
//! lost its target and is not there.
//!
//! One thread at a time uses a ledger, so reads and changes have an order.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Change, Contents, NewManifest};
use crate::disk::{self, Root, Settling};
use crate::fault::Fault;
use crate::oci::manifest::is_media_type;
use crate::oci::{Algorithm, Digest, Manifest, Repository, Tag};

/// The catalog of a root directory, on disk.
#[derive(Clone, Debug)]
pub struct Ledger {
    root: Root,
}

impl Ledger {
    /// The ledger under that root.
    pub fn new(root: &Root) -> Ledger {
        Ledger { root: root.clone() }
    }

    /// All that a repository holds; nothing, if there is no such repository.
    pub fn open(&self, repository: &Repository) -> Result<Contents, Fault> {
        let place = self.place(repository);
        let mut contents = Contents {
            manifests: linked(&place.revisions())?.collect(),
            blobs: linked(&place.layers())?.collect(),
            ..Contents::default()
        };
        for name in disk::list(&place.tags())? {
            let Ok(tag) = name.parse::<Tag>() else {
                continue;
            };
            let Some(link) = disk::read(&place.current(&tag))? else {
                continue;
            };
            let target = std::str::from_utf8(&link)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            match target {
                // A tag whose manifest was deleted points nowhere.
                Some(digest) if !contents.manifests.contains(&digest) => {}
                Some(digest) => {
                    contents.tags.insert(tag, digest);
                }
                None => log::warn!("{repository}:{tag} is lost: its link is no digest"),
            }
        }
        Ok(contents)
    }

    /// The names of all repositories that hold a manifest.
    pub fn names(&self) -> Result<BTreeSet<Repository>, Fault> {
        let mut names = BTreeSet::new();
        self.root.walk_repositories(&mut |name, _| {
            if let Ok(repository) = name.parse::<Repository>()
                && linked(&self.place(&repository).revisions())?
                    .next()
                    .is_some()
            {
                names.insert(repository);
            }
            Ok(())
        })?;
        Ok(names)
    }

    /// The media type of a manifest with these bytes, as it was pushed to a repository. What is
    /// written down and is none is no better than nothing.
    pub fn media_type(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<String, Fault> {
        let written_down = disk::read(&self.place(repository).media_type(digest))?
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .filter(|text| is_media_type(text));
        Ok(written_down.unwrap_or_else(|| Manifest::media_type_of(bytes)))
    }

    /// Writes a change down; the bytes of a manifest or blob are settled already. It is durable
    /// once `settling` has finished.
    pub fn change(
        &self,
        settling: &mut Settling,
        repository: &Repository,
        change: &Change,
    ) -> Result<(), Fault> {
        let place = self.place(repository);
        match change {
            Change::LinkBlob(digest) => put_blob(settling, &place, digest)?,
            Change::KeepBlob(arrival) => put_blob(settling, &place, &arrival.digest)?,
            Change::UnlinkBlob(digest) => settling.remove(place.layer(digest)),
            Change::PutManifest(new) => put_manifest(settling, &place, new)?,
            Change::DeleteTag(tag) => settling.remove(place.tag(tag)),
            Change::DeleteManifest(digest, tags) => {
                // Tags first: one that outlived its manifest would point nowhere.
                for tag in tags {
                    settling.remove(place.tag(tag));
                }
                settling.remove(place.revision(digest));
            }
        }
        Ok(())
    }

    fn place(&self, repository: &Repository) -> Place {
        Place(
            self.root
                .tree()
                .join("repositories")
                .join(repository.as_str()),
        )
    }
}

fn put_blob(settling: &mut Settling, place: &Place, digest: &Digest) -> Result<(), Fault> {
    settling.write(&place.layer(digest), digest.to_string().as_bytes())
}

/// The manifest, then its tags: each refers only to what is there.
fn put_manifest(settling: &mut Settling, place: &Place, new: &NewManifest) -> Result<(), Fault> {
    let NewManifest {
        digest,
        stored,
        tags,
        ..
    } = new;
    if stored.media_type != Manifest::media_type_of(&stored.bytes) {
        settling.write(&place.media_type(digest), stored.media_type.as_bytes())?;
    } else {
        settling.remove(place.media_type(digest));
    }
    let link = digest.to_string();
    settling.write(&place.revision(digest), link.as_bytes())?;
    for tag in tags {
        settling.write(&place.once(tag, digest), link.as_bytes())?;
        settling.write(&place.current(tag), link.as_bytes())?;
    }
    Ok(())
}

/// The digests that have a link in a folder of `ALGORITHM/HEX/link`.
fn linked(folder: &std::path::Path) -> Result<impl Iterator<Item = Digest>, Fault> {
    let mut digests = Vec::new();
    for algorithm in Algorithm::ALL {
        let folder = folder.join(algorithm.name());
        for hex in disk::list(&folder)? {
            // registry:2 deletes the link and leaves its folder.
            if folder.join(&hex).join("link").exists() {
                digests.extend(Digest::from_parts(algorithm.name(), &hex));
            }
        }
    }
    Ok(digests.into_iter())
}

/// The folder of a repository.
struct Place(PathBuf);

impl Place {
    fn layers(&self) -> PathBuf {
        self.0.join("_layers")
    }

    fn layer(&self, digest: &Digest) -> PathBuf {
        link_in(self.layers(), digest)
    }

    fn revisions(&self) -> PathBuf {
        self.0.join("_manifests/revisions")
    }

    fn revision(&self, digest: &Digest) -> PathBuf {
        link_in(self.revisions(), digest)
    }

    fn media_type(&self, digest: &Digest) -> PathBuf {
        self.revision(digest).with_file_name("mediatype")
    }

    fn tags(&self) -> PathBuf {
        self.0.join("_manifests/tags")
    }

    fn tag(&self, tag: &Tag) -> PathBuf {
        self.tags().join(tag.as_str())
    }

    fn current(&self, tag: &Tag) -> PathBuf {
        self.tag(tag).join("current/link")
    }

    fn once(&self, tag: &Tag, digest: &Digest) -> PathBuf {
        link_in(self.tag(tag).join("index"), digest)
    }
}

fn link_in(folder: PathBuf, digest: &Digest) -> PathBuf {
    folder
        .join(digest.algorithm().name())
        .join(digest.hex())
        .join("link")
}
