//! Tags: listing them (distribution-spec, "Listing Tags").

use super::{Jobs, Registry, Ticket, refuse, respond};
use crate::catalog::{after, page};
use crate::oci::request::Page;
use crate::oci::{Refusal, Repository, Response, Tag};

impl Registry {
    pub(super) fn list_tags(&self, ticket: Ticket, repository: Repository, asked: Page) -> Jobs {
        let contents = self.contents(&repository);
        if contents.manifests.is_empty() && contents.blobs.is_empty() {
            return refuse(ticket, Refusal::NameUnknown(repository.to_string()));
        }
        // A marker need not be a tag that exists, but only a tag can be compared with tags.
        let last = match asked.last.as_deref().map(str::parse::<Tag>).transpose() {
            Ok(last) => last,
            Err(refusal) => return refuse(ticket, refusal),
        };
        let count = asked.count.unwrap_or(usize::MAX);
        let (tags, more) = page(
            contents
                .tags
                .range(after(last.as_ref()))
                .map(|(tag, _)| tag),
            count,
        );
        let next = tags
            .last()
            .filter(|_| more)
            .map(|last| self.url(&format!("{repository}/tags/list?last={last}&n={count}")));
        respond(ticket, Response::tags(&repository, tags.into_iter(), next))
    }
}
