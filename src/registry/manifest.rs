//! Manifests: pulling, pushing and deleting them (distribution-spec, "Pulling manifests",
//! "Pushing Manifests", "Deleting Manifests").

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use uuid::Uuid;

use super::answer::{Answer, Client};
use super::{Answered, Registry};
use crate::config::Platforms;
use crate::fault::Fault;
use crate::http::Body;
use crate::oci::manifest::SIZE_MAX;
use crate::oci::request::{self, Wanted};
use crate::oci::{
    Algorithm, Descriptor, Digest, Manifest, Reference, Refusal, Repository, Response,
};
use crate::store::blob::{Content, Place};
use crate::store::manifest::{self, NewManifest};
use crate::store::{Failure, Outcome, ROW_SIZE_MAX, tag};

/// The most tags that one push may set.
const TAGS_MAX: usize = 100;

impl Registry {
    pub(super) fn get_manifest(
        &self,
        name: &Repository,
        reference: &Reference,
        wanted: &Wanted,
    ) -> Answered {
        let unknown = || Refusal::ManifestUnknown(format!("{name} has no {reference}"));
        let found = self
            .store
            .find_manifest(name, reference)?
            .ok_or_else(unknown)?;
        if wanted.has(&found.digest) {
            return Ok(Response::not_modified(&found.digest).into());
        }
        let cid = self.cid(&found.digest)?;
        let head = |bytes: Arc<[u8]>| {
            let response = Response::manifest(&found.media_type, &found.digest, bytes);
            response.with_cid(cid.as_deref())
        };
        match (found.place, found.bytes) {
            (Place::Row, Some(bytes)) => Ok(head(bytes.into()).into()),
            (Place::File, _) => {
                let length = found.size;
                let head = Response {
                    length: Some(length),
                    ..head(Arc::from([]))
                };
                if wanted.head_only {
                    return Ok(head.into());
                }
                let opened = self.store.read_file(found.id, &found.digest, length)?;
                Ok(match opened.ok_or_else(unknown)? {
                    Ok(file) => Answer::File {
                        head,
                        file,
                        offset: 0,
                        length,
                    },
                    Err(body) => Answer::Stream {
                        head,
                        body: Box::new(body),
                        length,
                    },
                })
            }
            _ => Err(unknown().into()),
        }
    }

    pub(super) fn put_manifest(
        &self,
        name: Repository,
        reference: &Reference,
        new: request::NewManifest,
        client: &Client,
        body: &mut dyn Body,
    ) -> Answered {
        let tags: Vec<_> = match reference {
            Reference::Tag(tag) => std::iter::once(tag).chain(&new.tags).cloned().collect(),
            Reference::Digest(_) => new.tags.clone(),
        };
        if tags.len() > TAGS_MAX {
            let cause = format!("a push sets at most {TAGS_MAX} tags; send the rest in another");
            return Err(Refusal::TagInvalid(cause).into());
        }
        let file = Uuid::new_v4().to_string();
        match self.receive_manifest(&file, client, body)? {
            Some(bytes) => self.keep_manifest(&name, reference, &new, tags, &bytes, &file),
            None => {
                // One at a time is in memory.
                let _turn = self.large_manifest.lock();
                let bytes = self.store.files().read_upload(&file);
                let kept = bytes.map_err(Failure::from).and_then(|bytes| {
                    self.keep_manifest(&name, reference, &new, tags, &bytes, &file)
                });
                // It has another name by now, or none.
                let _ = self.store.files().end_upload(&file);
                kept
            }
        }
    }

    fn keep_manifest(
        &self,
        name: &Repository,
        reference: &Reference,
        new: &request::NewManifest,
        tags: Vec<crate::oci::Tag>,
        bytes: &[u8],
        file: &str,
    ) -> Answered {
        let digest = match reference {
            Reference::Tag(_) => Digest::of(Algorithm::Sha256, bytes),
            Reference::Digest(wanted) => verify(bytes, wanted)?,
        };
        let read = Manifest::parse(bytes, new.content_type.as_deref())?;
        self.check_urls(&read)?;
        let size = bytes.len() as u64;
        let subject = read.subject.as_ref().map(|subject| subject.digest);
        let needs = read
            .blobs
            .iter()
            .chain(&read.manifests)
            .map(|needed| needed.digest);
        let required = self.required(&read);
        self.store.check_files(name, &required)?;
        let put = NewManifest {
            repository: name.clone(),
            digest,
            media_type: read.media_type.clone(),
            content: match size <= ROW_SIZE_MAX {
                true => Content::Bytes(bytes.into()),
                false => Content::File(size),
            },
            referrer: subject.map(|subject| (subject, read.as_referrer(digest, size))),
            needs: needs.collect(),
            required,
            tags,
            actor: None,
            pins: self.background.pins(&digest, size, None),
        };
        let names: Vec<_> = put.tags.iter().map(|tag| format!("{name}:{tag}")).collect();
        self.store.put_manifest(put, file)?;
        for tagged in &names {
            self.background.tag_was_put(tagged, &digest)?;
        }
        let location = self.url(&format!("{name}/manifests/{digest}"));
        let created = Response::manifest_created(location, &digest, subject.as_ref(), &new.tags);
        self.acknowledge(&digest, created)
    }

    /// Receives a manifest. None of one that is not small: it lies in a file, so that slow clients
    /// take no memory.
    fn receive_manifest(
        &self,
        file: &str,
        client: &Client,
        body: &mut dyn Body,
    ) -> Outcome<Option<Vec<u8>>> {
        let too_large = || Refusal::ManifestTooLarge(SIZE_MAX);
        if body.length().is_some_and(|length| length > SIZE_MAX) {
            return Err(too_large().into());
        }
        let mut bytes = Vec::new();
        let read = (&mut *body).take(ROW_SIZE_MAX + 1).read_to_end(&mut bytes);
        read.map_err(Fault::client)?;
        if bytes.len() as u64 <= ROW_SIZE_MAX {
            return Ok(Some(bytes));
        }
        let _place = self.places.take(&client.address)?;
        let files = self.store.files();
        let received = files.receive(file, &bytes, &mut body.take(SIZE_MAX));
        let size = received.inspect_err(|_| drop(files.end_upload(file)))?;
        if size > SIZE_MAX {
            files.end_upload(file)?;
            return Err(too_large().into());
        }
        Ok(None)
    }

    /// Whether all URLs in a manifest are allowed (`validation.manifests.urls`).
    fn check_urls(&self, manifest: &Manifest) -> Result<(), Refusal> {
        let validation = &self.config.validation;
        let mut urls = manifest
            .blobs
            .iter()
            .flat_map(|blob| blob.urls.iter().flatten());
        let is_denied = |url: &str| {
            let allowed = validation.urls_allow.is_empty()
                || validation
                    .urls_allow
                    .iter()
                    .any(|allow| allow.is_match(url));
            !allowed || validation.urls_deny.iter().any(|deny| deny.is_match(url))
        };
        match urls.find(|url| is_denied(url)) {
            Some(url) if !validation.disabled => {
                let cause =
                    format!("the URL {url} is not allowed here (validation.manifests.urls)");
                Err(Refusal::ManifestInvalid(cause))
            }
            _ => Ok(()),
        }
    }

    /// What a manifest names that its repository must hold, as far as `validation` asks for it;
    /// each once.
    fn required(&self, manifest: &Manifest) -> Vec<Digest> {
        if self.config.validation.disabled {
            return Vec::new();
        }
        let blobs = manifest
            .blobs
            .iter()
            .filter(|blob| !blob.is_nondistributable());
        let children = manifest
            .manifests
            .iter()
            .filter(|child| self.must_exist(child));
        let mut seen = HashSet::new();
        let named = blobs.chain(children).map(|needed| needed.digest);
        named.filter(|digest| seen.insert(*digest)).collect()
    }

    /// Whether an index needs that manifest of its to be here (`validation.manifests.indexes`).
    fn must_exist(&self, child: &Descriptor) -> bool {
        let listed = |(os, architecture): &(String, String)| {
            let platform = child.platform.as_ref();
            platform.is_some_and(|own| own.os == *os && own.architecture == *architecture)
        };
        match &self.config.validation.platforms {
            Platforms::All => child.is_manifest() || child.urls.is_none(),
            Platforms::None => false,
            Platforms::List(platforms) => platforms.iter().any(listed),
        }
    }

    pub(super) fn delete_manifest(&self, name: Repository, reference: Reference) -> Answered {
        self.store.remove(move |tx| match &reference {
            Reference::Tag(tag) => tag::delete(tx, &name, tag, None),
            Reference::Digest(digest) => manifest::delete(tx, &name, digest, None),
        })?;
        Ok(Response::deleted().into())
    }
}

/// The digest of a manifest, which must be the one that the client says.
fn verify(bytes: &[u8], wanted: &Digest) -> Result<Digest, Refusal> {
    let found = Digest::of(wanted.algorithm(), bytes);
    match found == *wanted {
        true => Ok(found),
        false => {
            let cause = format!("the manifest hashes to {found}, not to {wanted}");
            Err(Refusal::DigestInvalid(cause))
        }
    }
}
