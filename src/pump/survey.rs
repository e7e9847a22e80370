//! What is on disk and has to travel: every blob with its voyage, and every tagged image whose
//! parts are not all on the network.

use std::collections::HashSet;
use std::fs;
use std::time::SystemTime;

use super::Pump;
use super::transfer::raw_cid;
use crate::catalog::voyage::{State, Voyage};
use crate::fault::Fault;
use crate::oci::{Digest, Manifest, Repository};
use crate::registry::Survey;

impl Pump {
    /// Looks at everything that rests here, the oldest first.
    pub(super) fn survey(&self) -> Result<Survey, Fault> {
        let mut found = Vec::new();
        for digest in self.blobs.list()? {
            found.extend(self.look_at(digest)?);
        }
        found.sort_by_key(|(since, digest, ..)| (*since, *digest));
        let is_open = |voyage: &Voyage| voyage.state != State::Pinned;
        let mut survey = Survey::default();
        if found.iter().any(|(_, _, voyage, _)| is_open(voyage)) {
            let mut manifests = HashSet::new();
            for repository in self.ledger.names()? {
                self.look_into(&repository, &mut manifests, &mut survey)?;
            }
            for (_, digest, voyage, _) in &mut found {
                // registry:2 wrote no voyages; a manifest must be known for one in any case.
                voyage.is_manifest |= manifests.contains(digest);
            }
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
        Ok(Some((since, digest, voyage, bytes.is_some())))
    }

    /// Notes a repository's manifests, and its tagged images with all that they need.
    fn look_into(
        &self,
        repository: &Repository,
        manifests: &mut HashSet<Digest>,
        survey: &mut Survey,
    ) -> Result<(), Fault> {
        let contents = self.ledger.open(repository)?;
        for (tag, digest) in &contents.tags {
            let Some(stored) = self.fetch_manifest(repository, digest)? else {
                continue;
            };
            let Ok(manifest) = Manifest::parse(&stored.bytes, Some(&stored.media_type)) else {
                continue;
            };
            let needs = manifest.blobs.iter().chain(&manifest.manifests);
            let needs = needs
                .map(|needed| needed.digest)
                .filter(|digest| contents.holds(digest));
            survey
                .images
                .push((format!("{repository}:{tag}"), *digest, needs.collect()));
        }
        manifests.extend(contents.manifests);
        Ok(())
    }
}
