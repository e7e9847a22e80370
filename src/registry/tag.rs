//! Tags: listing them (distribution-spec, "Listing Tags").

use super::repository::{page, page_size};
use super::{Answered, Registry};
use crate::oci::request::Page;
use crate::oci::{Refusal, Repository, Response, Tag};
use crate::store::{repository, tag};

impl Registry {
    pub(super) fn list_tags(&self, name: &Repository, asked: &Page) -> Answered {
        // A marker need not be a tag that exists, but only a tag can be compared with tags.
        let last = asked.last.as_deref().map(str::parse::<Tag>).transpose()?;
        let count = page_size(asked, self.config.tags_max);
        let last = last.as_ref().map_or("", Tag::as_str);
        let tags = self.store.read(|tx| {
            if !repository::holds_anything(tx, name)? {
                return Err(Refusal::NameUnknown(name.to_string()).into());
            }
            tag::list(tx, name, last, count + 1)
        })?;
        let (tags, next) = page(&tags, count);
        let next = next.map(|last| self.url(&format!("{name}/tags/list?last={last}&n={count}")));
        Ok(Response::tags(name, tags, next).into())
    }
}
