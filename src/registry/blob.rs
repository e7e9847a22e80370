//! Blobs: pulling and deleting them (distribution-spec, "Pulling blobs", "Deleting Blobs").

use std::sync::Arc;

use super::{Job, Jobs, RETRY_SECS, Registry, Task, Ticket, change, fail, refuse, respond};
use crate::catalog::Change;
use crate::fault::Fault;
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
        if !wanted.head_only && self.begin_transfer(&ticket).is_none() {
            return refuse(ticket, Refusal::TooManyRequests(RETRY_SECS));
        }
        self.used(&digest);
        let cid = self.travel.cid(&digest).map(str::to_owned);
        vec![Job::At(ticket, Task::Send(repository, digest, wanted, cid))]
    }

    /// Answers for a blob whose bytes are not on this disk: from its voyage, from a gateway that
    /// the client is sent to, or through this registry.
    pub(super) fn send_from_afar(
        &mut self,
        ticket: Ticket,
        repository: &Repository,
        digest: Digest,
        wanted: Wanted,
    ) -> Jobs {
        let pull = (ticket, repository.clone(), digest, wanted);
        let Some((ticket, _, _, wanted)) = self.wait_for_survey(pull) else {
            return Jobs::new();
        };
        if wanted.head_only && self.travel.is_missed(&digest) {
            return refuse(ticket, Refusal::BlobUnknown(digest));
        }
        let Some((voyage, cid)) = self.travel.abroad(&digest) else {
            self.end_send(&ticket, &wanted);
            log::error!("{repository} holds {digest}, whose bytes are gone from the store");
            return refuse(ticket, Refusal::BlobUnknown(digest));
        };
        let gateway = self
            .gateways
            .iter()
            .enumerate()
            .find(|(n, _)| self.health.takes_clients(*n));
        let answer = if wanted.head_only {
            let part = wanted
                .range
                .map(|range| range.within(voyage.size))
                .transpose();
            match part {
                Ok(part) => Response::blob(&digest, voyage.size, part),
                Err(refusal) => Response::refusal(&refusal),
            }
        } else if let Some((_, gateway)) = gateway.filter(|_| self.config.storage.redirect) {
            Response::elsewhere(&digest, &gateway.url(&cid))
        } else {
            return vec![Job::At(ticket, Task::Relay(digest, wanted, voyage.clone()))];
        };
        let answer = answer.with_cid(Some(&cid.to_string()));
        self.end_send(&ticket, &wanted);
        respond(ticket, answer)
    }

    /// Gives back the place that sending took, which HEAD did not need.
    fn end_send(&mut self, ticket: &Ticket, wanted: &Wanted) {
        if !wanted.head_only {
            self.end_transfer(&ticket.peer);
        }
    }

    /// A blob came from the network, or could not.
    pub(super) fn relayed(
        &mut self,
        digest: &Digest,
        peer: &Arc<str>,
        result: Result<(), (Option<Ticket>, Fault)>,
    ) -> Jobs {
        self.end_transfer(peer);
        if result.as_ref().is_err_and(|(_, fault)| fault.is_missing()) {
            self.missed(digest);
        }
        match result {
            Ok(()) => {
                self.came_back(digest);
                Jobs::new()
            }
            Err((Some(ticket), fault)) => fail(ticket, &fault.into()),
            Err((None, fault)) => {
                log::error!("{digest} could not be fetched back: {fault}");
                Jobs::new()
            }
        }
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
