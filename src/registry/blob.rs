//! Blobs: pulling and deleting them (distribution-spec, "Pulling blobs", "Deleting Blobs").

use super::{Job, Jobs, RETRY_SECS, Registry, Task, Ticket, change, refuse, respond};
use crate::catalog::Change;
use crate::oci::request::Wanted;
use crate::oci::{Digest, Refusal, Repository, Response};

impl Registry {
    pub(super) fn get_blob(
        &mut self,
        ticket: Ticket,
        repository: Repository,
        digest: Digest,
        wanted: Wanted,
    ) -> Jobs {
        // A blob is readable in the repositories that hold it, however many bytes are stored.
        if !self.contents(&repository).blobs.contains(&digest) {
            return refuse(ticket, Refusal::BlobUnknown(digest));
        }
        if wanted.has(&digest) {
            return respond(ticket, Response::not_modified(&digest));
        }
        if self.begin_transfer(&ticket).is_none() {
            return refuse(ticket, Refusal::TooManyRequests(RETRY_SECS));
        }
        vec![Job::At(ticket, Task::Send(repository, digest, wanted))]
    }

    pub(super) fn delete_blob(
        &mut self,
        ticket: Ticket,
        repository: Repository,
        digest: Digest,
    ) -> Jobs {
        if !self.contents(&repository).blobs.contains(&digest) {
            return refuse(ticket, Refusal::BlobUnknown(digest));
        }
        change(
            ticket,
            repository,
            Change::UnlinkBlob(digest),
            Response::deleted(),
        )
    }
}
