//! Referrers: who refers to a manifest (distribution-spec, "Listing Referrers").

use super::{Jobs, Question, Registry, Ticket, respond};
use crate::oci::{Digest, Repository, Response};

impl Registry {
    /// Whose manifests have to be read before its referrers are known. They are found in the
    /// manifests themselves, so that those which registry:2 took count as well.
    pub(super) fn needs_referrers(&self, repository: &Repository) -> Option<Question> {
        let contents = self.contents(repository);
        let manifests = || contents.manifests.iter().copied().collect();
        let unknown = contents.referrers.is_none() && !contents.manifests.is_empty();
        unknown.then(|| Question::Referrers(repository.clone(), manifests()))
    }

    pub(super) fn list_referrers(
        &self,
        ticket: Ticket,
        repository: &Repository,
        subject: &Digest,
        kind: Option<String>,
    ) -> Jobs {
        let referrers = self.contents(repository).referrers.as_ref();
        let listed = referrers
            .and_then(|all| all.get(subject))
            .into_iter()
            .flatten();
        let wanted = listed
            .map(|(_, descriptor)| descriptor)
            .filter(|descriptor| kind.is_none() || descriptor.artifact_type == kind)
            .cloned()
            .collect::<Vec<_>>();
        respond(ticket, Response::referrers(&wanted, kind.is_some()))
    }
}
