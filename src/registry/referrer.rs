//! Referrers: who refers to a manifest (distribution-spec, "Listing Referrers").

use super::{Answered, Registry};
use crate::oci::manifest::SIZE_MAX;
use crate::oci::request::Page;
use crate::oci::{Descriptor, Digest, Repository, Response};
use crate::store::referrer;

/// The most referrers in one answer. It has to be read as a manifest, so it must not be larger
/// than one.
const COUNT_MAX: u32 = 1000;

impl Registry {
    pub(super) fn list_referrers(
        &self,
        name: &Repository,
        subject: &Digest,
        kind: Option<&str>,
        asked: &Page,
    ) -> Answered {
        let last = asked
            .last
            .as_deref()
            .map(str::parse::<Digest>)
            .transpose()?;
        let count = asked
            .count
            .map_or(COUNT_MAX, |count| count.min(COUNT_MAX as usize) as u32);
        let mut listed = self
            .store
            .read(|tx| referrer::list(tx, name, subject, kind, last.as_ref(), count + 1))?;
        let fits = fitting(&listed).min(count as usize);
        let more = listed.len() > fits;
        listed.truncate(fits);
        let next = listed.last().filter(|_| more).map(|last| {
            let kind = kind.map_or(String::new(), |kind| {
                format!("&artifactType={}", kind.replace('+', "%2B"))
            });
            let last = last.digest;
            self.url(&format!(
                "{name}/referrers/{subject}?last={last}&n={count}{kind}"
            ))
        });
        Ok(Response::referrers(&listed, kind.is_some(), next).into())
    }
}

/// How many of the descriptors fit into one answer; at least one, for else nothing would follow.
fn fitting(listed: &[Descriptor]) -> usize {
    let mut size = 0;
    let fits = listed.iter().take_while(|descriptor| {
        // What was a row of texts has its JSON.
        size += serde_json::to_vec(descriptor).map_or(0, |bytes| bytes.len() as u64 + 1);
        size + 1024 < SIZE_MAX
    });
    fits.count().max(1)
}
