//! Repositories: listing them (distribution's catalog, `GET /v2/_catalog`).

use super::{Answered, Registry};
use crate::oci::request::Page;
use crate::oci::{Repository, Response};
use crate::store::repository;

impl Registry {
    pub(super) fn list_repositories(&self, asked: &Page) -> Answered {
        let last = asked
            .last
            .as_deref()
            .map(str::parse::<Repository>)
            .transpose()?;
        let count = page_size(asked, self.config.catalog_entries_max);
        let last = last.as_ref().map_or("", Repository::as_str);
        let names = self
            .store
            .read(|tx| repository::list(tx, last, count + 1))?;
        let (names, next) = page(&names, count);
        let next = next.map(|last| {
            let last = last.replace('/', "%2F");
            self.url(&format!("_catalog?last={last}&n={count}"))
        });
        Ok(Response::repositories(names, next).into())
    }
}

/// How many entries a client gets.
pub(super) fn page_size(asked: &Page, size_max: usize) -> u32 {
    let size = asked.count.map_or(size_max, |count| count.min(size_max));
    u32::try_from(size).unwrap_or(u32::MAX - 1)
}

/// The first `count` entries, and the last of them where more follow.
pub(super) fn page(entries: &[String], count: u32) -> (&[String], Option<&String>) {
    let count = count as usize;
    let page = &entries[..entries.len().min(count)];
    (page, page.last().filter(|_| entries.len() > count))
}
