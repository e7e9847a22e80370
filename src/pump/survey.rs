//! What is on disk and has to travel: every blob with its voyage, and every tagged image whose
//! parts are not all on the network.

use std::collections::HashSet;
use std::fs;
use std::time::SystemTime;

use super::Pump;
use super::transfer::raw_cid;
use crate::catalog::Contents;
use crate::catalog::voyage::{State, Voyage};
use crate::fault::Fault;
use crate::oci::{Digest, Manifest, Repository};
use crate::registry::Survey;

impl Pump {
    /// Looks at everything that rests here, the oldest first.
    pub(super) fn survey(&self) -> Result<Survey, Fault> {
        let mut found = Vec::new();
        for digest in self.blobs.list()? {
            match self.look_at(digest) {
                Ok(one) => found.extend(one),
                Err(fault) => log::error!("{digest} does not travel: {fault}"),
            }
        }
        found.sort_by_key(|(since, digest, ..)| (*since, *digest));
        let is_open = |voyage: &Voyage| voyage.state != State::Pinned;
        let is_any_open = found.iter().any(|(_, _, voyage, _)| is_open(voyage));
        let mut survey = Survey::default();
        let mut manifests = HashSet::new();
        for repository in self.ledger.names()? {
            let contents = self.ledger.open(&repository)?;
            if is_any_open {
                self.look_into(&repository, &contents, &mut survey)?;
            }
            manifests.extend(contents.manifests);
        }
        for (_, digest, voyage, _) in &mut found {
            // Whatever was pushed first under this digest: a manifest stays on this disk.
            voyage.is_manifest |= manifests.contains(digest);
        }
        let voyages = found
            .into_iter()
            .map(|(_, digest, voyage, here)| (digest, voyage, here));
        survey.voyages = voyages.collect();
        Ok(survey)
    }

    /// A blob with its voyage, since when it is there, and whether its bytes are here.
    fn look_at(&self, digest: Digest) -> Result<Option<(SystemTime, Digest, Voyage, bool)>, Fault> {
        let path = self.blobs.path(&digest);
        let bytes = fs::metadata(&path).ok();
        let since = bytes.as_ref().and_then(|bytes| bytes.modified().ok());
        let since = since.unwrap_or(SystemTime::UNIX_EPOCH);
        let voyage = match (Voyage::read(&path)?, &bytes) {
            (Some(voyage), _) => voyage,
            (None, Some(bytes)) => {
                let cid = raw_cid(&digest, bytes.len()).map(|cid| cid.to_string());
                Voyage {
                    cid,
                    ..Voyage::of(bytes.len())
                }
            }
            // An empty folder is what is left of a blob.
            (None, None) => return Ok(None),
        };
        let is_abroad = matches!(voyage.state, State::Stored | State::Pinned);
        if bytes.is_none() && !is_abroad {
            // A push that was never acknowledged.
            return Ok(None);
        }
        Ok(Some((since, digest, voyage, bytes.is_some())))
    }

    /// Notes a repository's tagged images with all that they need.
    fn look_into(
        &self,
        repository: &Repository,
        contents: &Contents,
        survey: &mut Survey,
    ) -> Result<(), Fault> {
        for (tag, digest) in &contents.tags {
            let mut needs = HashSet::new();
            let mut unread = vec![*digest];
            while let Some(manifest) = unread.pop() {
                let stored = match self.fetch_manifest(repository, &manifest) {
                    Ok(Some(stored)) => stored,
                    Ok(None) => continue,
                    Err(fault) => {
                        log::error!("what {manifest} needs is not known: {fault}");
                        continue;
                    }
                };
                let Ok(manifest) = Manifest::parse(&stored.bytes, Some(&stored.media_type)) else {
                    continue;
                };
                let within = manifest.manifests.iter().map(|child| child.digest);
                let within = within.filter(|child| contents.manifests.contains(child));
                // What was met before has been read, or waits for it.
                unread.extend(within.filter(|child| needs.insert(*child)));
                let blobs = manifest.blobs.iter().map(|blob| blob.digest);
                needs.extend(blobs.filter(|blob| contents.holds(blob)));
            }
            let needs = needs.into_iter().collect();
            let name = format!("{repository}:{tag}");
            survey.images.push((name, *digest, needs));
        }
        Ok(())
    }
}
