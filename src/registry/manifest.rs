//! Manifests: pulling, pushing and deleting them (distribution-spec, "Pulling manifests",
//! "Pushing Manifests", "Deleting Manifests").

use std::collections::HashSet;

use super::{Draft, Job, Jobs, Registry, Setback, Task, Ticket, change, fail, refuse, respond};
use crate::catalog::{self, Change, Stored};
use crate::config::Platforms;
use crate::oci::manifest::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, OCI_INDEX, OCI_MANIFEST};
use crate::oci::request::{NewManifest, Wanted};
use crate::oci::{Digest, Manifest, Reference, Refusal, Repository, Request, Response};

impl Registry {
    pub(super) fn get_manifest(
        &mut self,
        ticket: Ticket,
        repository: Repository,
        reference: Reference,
        wanted: Wanted,
    ) -> Jobs {
        let Some(digest) = self.contents(&repository).resolve(&reference) else {
            let unknown = format!("{repository} has no {reference}");
            return refuse(ticket, Refusal::ManifestUnknown(unknown));
        };
        if wanted.has(&digest) {
            return respond(ticket, Response::not_modified(&digest));
        }
        match self.recent.get(&repository, &digest) {
            Some(stored) => respond(
                ticket,
                served(digest, stored).with_cid(self.travel.cid(&digest)),
            ),
            None => {
                let request = Request::GetManifest(repository.clone(), reference, wanted);
                vec![Job::At(
                    ticket,
                    Task::FetchManifest(request, repository, digest),
                )]
            }
        }
    }

    /// Serves a manifest that was read from disk.
    pub(super) fn give_manifest(
        &mut self,
        ticket: Ticket,
        repository: &Repository,
        digest: Digest,
        stored: Option<Stored>,
    ) -> Jobs {
        match stored {
            Some(stored) => {
                let response = served(digest, &stored).with_cid(self.travel.cid(&digest));
                self.recent.put(repository, digest, stored);
                respond(ticket, response)
            }
            None => {
                log::error!("the bytes of manifest {digest} are gone from the store");
                refuse(ticket, Refusal::ManifestUnknown(digest.to_string()))
            }
        }
    }

    pub(super) fn put_manifest(
        &mut self,
        ticket: Ticket,
        repository: Repository,
        reference: Reference,
        new: NewManifest,
    ) -> Jobs {
        self.drafts += 1;
        vec![Job::At(
            ticket,
            Task::ReadManifest(repository, reference, new),
        )]
    }

    /// Keeps a manifest that came in, if its repository holds all that it needs.
    pub(super) fn take_manifest(
        &mut self,
        ticket: Ticket,
        repository: Repository,
        reference: Reference,
        new: NewManifest,
        draft: Result<Box<Draft>, Setback>,
    ) -> Jobs {
        self.drafts -= 1;
        let Draft {
            digest,
            stored,
            manifest,
            voyage,
        } = match draft {
            Ok(draft) => *draft,
            Err(setback) => return fail(ticket, &setback),
        };
        if let Err(refusal) = self.check(&repository, &manifest) {
            return refuse(ticket, refusal);
        }
        let tags = match &reference {
            Reference::Tag(tag) => std::iter::once(tag.clone())
                .chain(new.tags.clone())
                .collect(),
            Reference::Digest(_) => new.tags.clone(),
        };
        let size = stored.bytes.len() as u64;
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        let location = self.url(&format!("{repository}/manifests/{digest}"));
        let response = Response::manifest_created(location, &digest, subject.as_ref(), &new.tags);
        let referrer = subject.map(|subject| (subject, manifest.as_referrer(digest, size)));
        let held = self.contents(&repository);
        let needs = manifest.blobs.iter().chain(&manifest.manifests);
        let needs = needs.map(|needed| needed.digest);
        let needs = needs.filter(|digest| held.holds(digest)).collect();
        let new = catalog::NewManifest {
            digest,
            stored,
            tags,
            referrer,
            needs,
            voyage,
        };
        change(
            ticket,
            repository,
            Change::PutManifest(Box::new(new)),
            response,
        )
    }

    /// Whether a repository holds what a manifest needs, as far as `validation` asks for it.
    fn check(&self, repository: &Repository, manifest: &Manifest) -> Result<(), Refusal> {
        let validation = &self.config.validation;
        if validation.disabled {
            return Ok(());
        }
        let held = self.contents(repository);
        for url in manifest
            .blobs
            .iter()
            .flat_map(|blob| blob.urls.iter().flatten())
        {
            let denied = validation.urls_deny.iter().any(|deny| deny.is_match(url));
            let allowed = validation.urls_allow.is_empty()
                || validation
                    .urls_allow
                    .iter()
                    .any(|allow| allow.is_match(url));
            if denied || !allowed {
                let cause =
                    format!("the URL {url} is not allowed here (validation.manifests.urls)");
                return Err(Refusal::ManifestInvalid(cause));
            }
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
        let missing: Vec<Digest> = blobs
            .chain(children)
            .map(|needed| needed.digest)
            .filter(|digest| !held.holds(digest) && seen.insert(*digest))
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Refusal::ManifestBlobUnknown(missing))
        }
    }

    /// Whether an index needs that manifest of its to be here (`validation.manifests.indexes`).
    fn must_exist(&self, child: &Descriptor) -> bool {
        let is_manifest = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST]
            .contains(&child.media_type.as_str());
        let listed = |(os, architecture): &(String, String)| {
            let platform = child.platform.as_ref();
            platform.is_some_and(|own| own.os == *os && own.architecture == *architecture)
        };
        match &self.config.validation.platforms {
            Platforms::All => is_manifest || child.urls.is_none(),
            Platforms::None => false,
            Platforms::List(platforms) => platforms.iter().any(listed),
        }
    }

    pub(super) fn delete_manifest(
        &mut self,
        ticket: Ticket,
        repository: Repository,
        reference: Reference,
    ) -> Jobs {
        let contents = self.contents(&repository);
        let Some(digest) = contents.resolve(&reference) else {
            let unknown = format!("{repository} has no {reference}");
            return refuse(ticket, Refusal::ManifestUnknown(unknown));
        };
        let forget = match reference {
            Reference::Tag(tag) => Change::DeleteTag(tag),
            Reference::Digest(_) => Change::DeleteManifest(digest, contents.tags_of(&digest)),
        };
        change(ticket, repository, forget, Response::deleted())
    }
}

fn served(digest: Digest, stored: &Stored) -> Response {
    Response::manifest(&stored.media_type, &digest, stored.bytes.clone())
}
