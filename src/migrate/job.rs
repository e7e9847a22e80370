//! Jobs: one thing to do on the wire, in straight-line blocking code, and what came of it.

use std::sync::atomic::AtomicU64;

use crate::oci::manifest::{DOCKER_LIST, OCI_INDEX};
use crate::oci::{Algorithm, Descriptor, Digest, Manifest, Reference, Repository, Tag};

use super::Failure;
use super::blob::{Arrival, Way};
use super::quota::Quota;
use super::remote::{Document, Remote};

/// One repository, from its source to its destination.
pub struct Route {
    /// Where images come from.
    pub source: Remote,
    /// The repository there.
    pub from: Repository,
    /// Where they go.
    pub destination: std::sync::Arc<Remote>,
    /// The repository there.
    pub to: Repository,
}

/// Something to do for one repository.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which of the routes it is for.
    pub route: usize,
    /// What is to be done.
    pub task: Task,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Task {
    /// List the tags of the source.
    List,
    /// See what a tag points to at both ends.
    Resolve {
        /// The number that it has in the run.
        root: usize,
        /// The tag, or the digest that stands for itself.
        reference: Reference,
        /// The tag at the destination, where that is another.
        target: Reference,
        /// What an earlier run, not long ago, brought there under it.
        known: Option<Digest>,
    },
    /// See whether the destination has a manifest.
    Look(Digest),
    /// Get a manifest from the source. This is what counts as a pull.
    Fetch(Digest),
    /// Bring a blob; the repository of the destination has it already.
    Copy(Box<Descriptor>, Option<Repository>),
    /// Keep a manifest whose parts have all arrived.
    Put(Document, Vec<Reference>),
    /// Let a tag point to a manifest that the destination has.
    Tag {
        /// The number that it has in the run.
        root: usize,
        /// The manifest.
        digest: Digest,
        /// Its new name.
        tag: Tag,
    },
    /// See which manifests refer to that one, and which of them the destination lacks.
    Referrers(Digest),
    /// Add to the referrers of that manifest, at a destination that can't list them by itself.
    Refer(Digest, Vec<Descriptor>),
}

/// What came of a job.
#[derive(Debug)]
pub enum Outcome {
    /// The tags of the source.
    Listed(Vec<Tag>),
    /// What a tag points to.
    Resolved {
        /// At the source.
        digest: Digest,
        /// At the destination.
        there: Option<Digest>,
        /// What is left to pull.
        quota: Option<Quota>,
    },
    /// The destination lacks the manifest.
    Absent,
    /// The destination has the manifest: an index, with what it says, or else an image.
    Present(Option<Document>),
    /// A manifest from the source, and what is left to pull.
    Fetched(Document, Option<Quota>),
    /// A blob is there.
    Brought(Arrival),
    /// The manifest is kept, the tag is set, or the referrers are added to.
    Done,
    /// The source has no API for referrers.
    NoReferrers,
    /// The manifests that refer to this one.
    Referred {
        /// All of them.
        all: Vec<Descriptor>,
        /// Those that the destination doesn't list, if it can't list them by itself.
        unlisted: Vec<Descriptor>,
    },
}

impl Job {
    /// Whether the source counts it against a quota.
    pub fn is_pull(&self) -> bool {
        matches!(self.task, Task::Fetch(_))
    }

    /// Does it. A dry run leaves the destination as it is.
    pub fn run(&self, routes: &[Route], meter: &AtomicU64, dry: bool) -> Result<Outcome, Failure> {
        let route = &routes[self.route];
        let Route {
            source,
            from,
            destination,
            to,
            ..
        } = route;
        match &self.task {
            Task::List => source.tags(from).map(Outcome::Listed),
            Task::Resolve {
                reference,
                target,
                known,
                ..
            } => route.resolve(reference, target, known),
            Task::Look(digest) => route.look(digest),
            Task::Fetch(digest) => {
                let (document, quota) = source.manifest(from, &Reference::Digest(*digest))?;
                Ok(Outcome::Fetched(document, quota))
            }
            Task::Copy(blob, _) if dry => {
                let present = destination.has_blob(to, &blob.digest)?;
                Ok(Outcome::Brought(if present {
                    Arrival::Present
                } else {
                    Arrival::Copied
                }))
            }
            Task::Copy(blob, elsewhere) => {
                let way = Way {
                    source,
                    from,
                    destination,
                    to,
                    meter,
                };
                way.copy(blob, elsewhere.as_ref()).map(Outcome::Brought)
            }
            Task::Put(..) | Task::Tag { .. } | Task::Refer(..) if dry => Ok(Outcome::Done),
            Task::Put(document, references) => {
                for reference in references {
                    destination.put_manifest(to, reference, document)?;
                }
                Ok(Outcome::Done)
            }
            Task::Tag { digest, tag, .. } => {
                let (document, _) = destination.manifest(to, &Reference::Digest(*digest))?;
                destination.put_manifest(to, &Reference::Tag(tag.clone()), &document)?;
                Ok(Outcome::Done)
            }
            Task::Referrers(subject) => route.referrers(subject),
            Task::Refer(subject, new) => route.refer(subject, new).map(|()| Outcome::Done),
        }
    }
}

impl Route {
    fn resolve(
        &self,
        reference: &Reference,
        target: &Reference,
        known: &Option<Digest>,
    ) -> Result<Outcome, Failure> {
        let there = self
            .destination
            .head(&self.to, target)?
            .and_then(|head| head.digest);
        let resolved = |digest, quota| {
            Ok(Outcome::Resolved {
                digest,
                there,
                quota,
            })
        };
        if let Some(digest) = known.filter(|known| there == Some(*known)) {
            return resolved(digest, None);
        }
        let missing = || Failure::Missing(format!("{}:{reference} at the source", self.from));
        let head = self
            .source
            .head(&self.from, reference)?
            .ok_or_else(missing)?;
        match (reference, head.digest) {
            (Reference::Digest(digest), _) => resolved(*digest, head.quota),
            (_, Some(digest)) => resolved(digest, head.quota),
            (_, None) => {
                // Only the manifest itself tells; that is a pull.
                let (document, quota) = self.source.manifest(&self.from, reference)?;
                resolved(document.digest, quota)
            }
        }
    }

    fn look(&self, digest: &Digest) -> Result<Outcome, Failure> {
        let reference = Reference::Digest(*digest);
        let Some(head) = self.destination.head(&self.to, &reference)? else {
            return Ok(Outcome::Absent);
        };
        let media_type = head.media_type.split(';').next().unwrap_or_default();
        if ![OCI_INDEX, DOCKER_LIST].contains(&media_type) {
            return Ok(Outcome::Present(None));
        }
        match self.destination.manifest(&self.to, &reference) {
            Ok((document, _)) => Ok(Outcome::Present(Some(document))),
            // A damaged one is brought again.
            Err(Failure::Corrupt { .. } | Failure::Missing(_)) => Ok(Outcome::Absent),
            Err(failure) => Err(failure),
        }
    }

    fn referrers(&self, subject: &Digest) -> Result<Outcome, Failure> {
        let Some(all) = self.source.referrers(&self.from, subject)? else {
            return Ok(Outcome::NoReferrers);
        };
        if all.is_empty() || self.destination.referrers(&self.to, subject)?.is_some() {
            return Ok(Outcome::Referred {
                all,
                unlisted: Vec::new(),
            });
        }
        let listed = self
            .fallback(subject)?
            .map_or(Vec::new(), |index| index.manifest.manifests.clone());
        let is_unlisted = |one: &&Descriptor| !listed.iter().any(|two| two.digest == one.digest);
        let unlisted = all.iter().filter(is_unlisted).cloned().collect();
        Ok(Outcome::Referred { all, unlisted })
    }

    /// The index at the destination that lists the referrers of a manifest where there is no API
    /// for it (distribution-spec, "Referrers Tag Schema").
    fn fallback(&self, subject: &Digest) -> Result<Option<Document>, Failure> {
        match self.destination.manifest(&self.to, &fallback_tag(subject)) {
            Ok((document, _)) => Ok(Some(document)),
            Err(Failure::Missing(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn refer(&self, subject: &Digest, new: &[Descriptor]) -> Result<(), Failure> {
        // What others wrote there stays as it is, whatever else their index says.
        let old = self.fallback(subject)?;
        let mut index: serde_json::Value = match &old {
            Some(old) => serde_json::from_slice(&old.bytes)
                .map_err(|cause| Failure::protocol("the referrers", cause.to_string()))?,
            None => serde_json::json!({
                "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []
            }),
        };
        if let Some(list) = index["manifests"].as_array_mut() {
            list.extend(new.iter().map(|one| serde_json::json!(one)));
        }
        let bytes = index.to_string().into_bytes();
        let manifest = Manifest::parse(&bytes, Some(OCI_INDEX))
            .map_err(|refusal| Failure::protocol("the referrers", refusal.detail()))?;
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        let document = Document {
            bytes: bytes.into(),
            digest,
            manifest: manifest.into(),
        };
        self.destination
            .put_manifest(&self.to, &fallback_tag(subject), &document)
    }
}

fn fallback_tag(subject: &Digest) -> Reference {
    // The spec cuts what would be too long for a tag.
    let name = format!("{}-{:.64}", subject.algorithm().name(), subject.hex());
    Reference::Tag(
        name.parse()
            .expect("an algorithm and hexadecimal make a tag"),
    )
}
