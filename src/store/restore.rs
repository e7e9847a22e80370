//! Restoring: what an export says becomes what a store knows.
//!
//! Each command may be repeated: what is there already stays as it is. So a restore that was
//! interrupted goes on where it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::blob::{self, Content, Place};
use super::error::Error;
use super::manifest::{self, NewManifest};
use super::pin::State;
use super::transaction::{Transaction, sql, values};
use super::writer::Outcome;
use super::{ROW_SIZE_MAX, Store, repository, scan};
use crate::oci::{Digest, Manifest, Repository, Tag};

/// When a network is first asked whether it still keeps what is restored, in milliseconds.
const RECHECK_AFTER_MS: i64 = 24 * 60 * 60 * 1000;

/// Content that a network keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it hashes to.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// The network's name.
    pub network: String,
    /// Its CID.
    pub cid: String,
    /// What the network calls it.
    pub remote: Option<String>,
}

/// Notes that a network keeps a blob. Where its bytes are on this machine, they stay.
pub fn note_kept(tx: &Transaction, kept: &Kept) -> Result<(), Error> {
    let (id, place) = blob::name(tx, &kept.digest)?;
    if place == Place::Nowhere {
        let values = values![Place::Network as i64, kept.size as i64, id];
        tx.run(sql!("blob/place"), values)?;
    }
    let values = values![
        &kept.network,
        id,
        State::Pinned as i64,
        &kept.cid,
        kept.remote.as_deref(),
        tx.now() + RECHECK_AFTER_MS,
    ];
    tx.run(sql!("restore/pin"), values).map(drop)
}

/// Has a repository hold a blob that is somewhere; whether it is.
pub fn hold(tx: &Transaction, repository: &Repository, digest: &Digest) -> Result<bool, Error> {
    match scan::find(tx, digest)? {
        Some(content) if content.place != Place::Nowhere => {
            let repository = repository::find_or_make(tx, repository)?;
            tx.run(sql!("blob/hold"), values![repository, content.id])?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// A manifest that a repository shall hold, whose bytes the store has.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What it hashes to.
    pub digest: Digest,
    /// The media type that it was pushed with.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// The tags that pointed to it.
    pub tags: Vec<Tag>,
}

/// What became of tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// How many point now where they did not.
    pub moved: usize,
    /// Those that pointed elsewhere, and still do, with where.
    pub kept: BTreeMap<Tag, Digest>,
}

/// Has a repository hold a manifest, and lets the tags point to it that point nowhere.
pub fn put_manifest(
    tx: &Transaction,
    repository: &Repository,
    restored: &Restored,
) -> Result<Outcomes, Error> {
    let mut outcomes = Outcomes::default();
    let mut tags = Vec::new();
    for tag in &restored.tags {
        match scan::target(tx, repository, tag)? {
            Some((_, own)) if own == restored.digest => {}
            Some((_, own)) => drop(outcomes.kept.insert(tag.clone(), own)),
            None => tags.push(tag.clone()),
        }
    }
    let is_held = match scan::find(tx, &restored.digest)? {
        Some(content) => scan::is_manifest(tx, repository, content.id)?,
        None => false,
    };
    if is_held && tags.is_empty() {
        return Ok(outcomes);
    }
    outcomes.moved = tags.len();
    let (digest, size) = (restored.digest, restored.bytes.len() as u64);
    // What registry:2 took may be less strict than we are; it needs nothing then.
    let parsed = Manifest::parse(&restored.bytes, Some(&restored.media_type)).ok();
    let named = parsed
        .iter()
        .flat_map(|it| it.blobs.iter().chain(&it.manifests));
    let needs = named.map(|descriptor| descriptor.digest).collect();
    let referrer = parsed.as_ref().and_then(|it| {
        let subject = it.subject.as_ref()?.digest;
        Some((subject, it.as_referrer(digest, size)))
    });
    let new = NewManifest {
        repository: repository.clone(),
        digest,
        media_type: restored.media_type.clone(),
        content: match size <= ROW_SIZE_MAX {
            true => Content::Bytes(Arc::clone(&restored.bytes)),
            false => Content::File(size),
        },
        referrer,
        needs,
        required: Vec::new(),
        tags,
        actor: None,
        pins: Vec::new(),
    };
    // Nothing drops a copy while a store is restored: no server runs.
    manifest::put(tx, &new, || Ok(()))?;
    Ok(outcomes)
}

impl Store {
    /// Keeps the bytes of a manifest that a network keeps as well, before any repository holds it.
    pub fn keep_restored(&self, kept: Kept, bytes: Vec<u8>) -> Outcome<()> {
        let digest = kept.digest;
        if bytes.len() as u64 <= ROW_SIZE_MAX {
            let content = Content::Bytes(bytes.into());
            return self.write(move |tx| {
                blob::keep(tx, &digest, &content, || Ok(()))?;
                note_kept(tx, &kept)
            });
        }
        let name = Uuid::new_v4().to_string();
        let written = self.files.receive(&name, &bytes, &mut std::io::empty());
        let written = written.and_then(|_| self.files.place(&name, &digest));
        let (size, files, session) = (bytes.len() as u64, Arc::clone(&self.files), name.clone());
        let kept = written.map_err(Into::into).and_then(|()| {
            self.write(move |tx| {
                let stay = || files.keep(&session, &digest, size);
                blob::keep(tx, &digest, &Content::File(size), stay)?;
                note_kept(tx, &kept)
            })
        });
        self.end_upload_file(&name);
        kept
    }
}
