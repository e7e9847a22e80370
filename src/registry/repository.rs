//! Repositories: listing them (distribution's catalog, `GET /v2/_catalog`).

use std::collections::BTreeSet;

use super::{Jobs, Registry, Ticket, refuse, respond};
use crate::catalog::{after, page};
use crate::oci::request::Page;
use crate::oci::{Repository, Response};

impl Registry {
    pub(super) fn list_repositories(&self, ticket: Ticket, asked: Page) -> Jobs {
        let none = BTreeSet::new();
        let names = self.catalog.names().unwrap_or(&none);
        let last = match asked
            .last
            .as_deref()
            .map(str::parse::<Repository>)
            .transpose()
        {
            Ok(last) => last,
            Err(refusal) => return refuse(ticket, refusal),
        };
        let max = self.config.catalog_entries_max;
        let count = asked.count.map_or(max, |count| count.min(max));
        let (names, more) = page(names.range(after(last.as_ref())), count);
        let next = names.last().filter(|_| more).map(|last| {
            let last = last.as_str().replace('/', "%2F");
            self.url(&format!("_catalog?last={last}&n={count}"))
        });
        respond(ticket, Response::repositories(names.into_iter(), next))
    }
}
