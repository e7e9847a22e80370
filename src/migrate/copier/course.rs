//! The course of one image: what follows from each thing that came of a job.

use std::sync::Arc;

use crate::oci::{Descriptor, Digest, Reference, Tag};

use super::super::Failure;
use super::super::graph::{Key, Piece, Wait};
use super::super::job::{Job, Outcome, Task};
use super::super::platform::{first_of, wanted_of};
use super::super::remote::Document;
use super::super::select::companions;
use super::super::tally::Notice;
use super::{Copier, Root, Then};

impl Copier {
    pub(super) fn ended(&mut self, route: usize, task: Task, outcome: Outcome) {
        match (task, outcome) {
            (Task::List, Outcome::Listed(tags)) => self.listed(route, &tags),
            (Task::Resolve { root, .. }, Outcome::Resolved { digest, there, .. }) => {
                self.resolved(root, digest, there);
            }
            (Task::Look(digest), Outcome::Absent) => {
                let key = (route, Piece::Manifest(digest));
                let is_part = |waiter: &Key| matches!(waiter.1, Piece::Manifest(_));
                let is_part = self.graph.waiters(&key).iter().any(is_part);
                self.lanes.pull(
                    Job {
                        route,
                        task: Task::Fetch(digest),
                    },
                    is_part,
                );
            }
            (Task::Look(digest), Outcome::Present(None)) => {
                self.arrive((route, Piece::Manifest(digest)));
            }
            (Task::Look(_), Outcome::Present(Some(document))) => {
                self.gather(route, document, true);
            }
            (Task::Fetch(_), Outcome::Fetched(document, _)) => self.gather(route, document, false),
            (Task::Copy(blob, _), Outcome::Brought(how)) => {
                self.tally.brought(how, blob.size);
                self.arrive((route, Piece::Blob(blob.digest)));
            }
            (Task::Put(document, references), Outcome::Done) => {
                self.kept(route, &document, &references);
            }
            (Task::Tag { root, .. }, Outcome::Done) => self.named(root),
            (Task::Referrers(subject), Outcome::NoReferrers) => {
                self.known[route].lists_none = true;
                self.arrive((route, Piece::Referrers(subject)));
            }
            (Task::Referrers(subject), Outcome::Referred { all, unlisted }) => {
                self.referred(route, subject, &all, unlisted);
            }
            (Task::Refer(subject, _), Outcome::Done) => {
                self.arrive((route, Piece::Referrers(subject)));
            }
            (task, outcome) => unreachable!("{task:?} does not end in {outcome:?}"),
        }
    }

    pub(super) fn failed(&mut self, route: usize, task: Task, failure: Failure) {
        let piece = match task {
            Task::List => return self.unlisted(route, failure),
            Task::Resolve { root, .. } | Task::Tag { root, .. } => Piece::Root(root),
            Task::Look(digest) | Task::Fetch(digest) => Piece::Manifest(digest),
            Task::Put(document, _) => Piece::Manifest(document.digest),
            Task::Copy(blob, _) => Piece::Blob(blob.digest),
            Task::Referrers(subject) | Task::Refer(subject, _) => Piece::Referrers(subject),
        };
        self.fail((route, piece), &Arc::new(failure));
    }

    fn listed(&mut self, route: usize, tags: &[Tag]) {
        self.known[route].companions = if self.plan.referrers {
            companions(tags)
        } else {
            Default::default()
        };
        self.want_ones(route);
        if !self.trips[route].is_all() {
            return;
        }
        let wanted = self.plan.selection.of(tags);
        self.notices.push_back(Notice::Found {
            name: self.trips[route].name(),
            tags: tags.len(),
            wanted: wanted.len(),
        });
        for tag in wanted {
            self.want(route, Reference::Tag(tag.clone()), Reference::Tag(tag));
        }
    }

    fn unlisted(&mut self, route: usize, failure: Failure) {
        // Whoever may pull an image need not be allowed to list them all.
        self.want_ones(route);
        if self.trips[route].is_all() {
            self.tally.failed += 1;
            let name = self.trips[route].name();
            let failure = Arc::new(failure);
            self.notices.push_back(Notice::Failed { name, failure });
        }
    }

    /// The images that were named one by one are to be brought.
    pub(super) fn want_ones(&mut self, route: usize) {
        let sources = self.trips[route].sources.iter();
        let ones: Vec<_> = sources.filter_map(|source| source.one()).collect();
        for (reference, target) in ones {
            self.want(route, reference, target);
        }
    }

    /// A tag or digest is to be brought, unless it already is.
    fn want(&mut self, route: usize, reference: Reference, target: Reference) {
        let name = target.to_string();
        if !self.known[route].wanted.insert(name.clone()) {
            return;
        }
        let root = self.roots.len();
        self.graph.add((route, Piece::Root(root)));
        self.tally.wanted += 1;
        let known = self.trips[route].known.get(&name).copied();
        let task = Task::Resolve {
            root,
            reference: reference.clone(),
            target: target.clone(),
            known,
        };
        self.lanes.begin(Job { route, task });
        self.roots.push(Root {
            route,
            reference,
            target,
            digest: None,
            there: None,
            is_set: false,
        });
    }

    fn resolved(&mut self, index: usize, digest: Digest, there: Option<Digest>) {
        let root = &mut self.roots[index];
        (root.digest, root.there) = (Some(digest), there);
        let route = root.route;
        let manifest = (route, Piece::Manifest(digest));
        self.need((route, Piece::Root(index)), vec![manifest], &[], Then::Set);
    }

    /// A manifest is read; `present` if that was at the destination.
    fn gather(&mut self, route: usize, document: Document, present: bool) {
        let digest = document.digest;
        let key = (route, Piece::Manifest(digest));
        let manifest = &document.manifest;
        let is_index = !manifest.manifests.is_empty();
        let platforms = &self.plan.platforms;
        let mut children = wanted_of(manifest, platforms);
        if is_index && children.is_empty() {
            let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            return self.fail(key, &Arc::new(Failure::NoPlatform(platforms.join(", "))));
        }
        if let (true, [platform]) = (is_index, &platforms[..]) {
            children = first_of(manifest, platform).into_iter().collect();
            self.known[route]
                .stand_ins
                .extend(children.iter().map(|one| (digest, one.digest)));
        } else if self.plan.referrers && is_index {
            let digests = children.iter().map(|child| child.digest).collect();
            self.known[route].children.insert(digest, digests);
        }
        let blobs: Vec<Descriptor> = match present {
            true => Vec::new(),
            false => manifest
                .blobs
                .iter()
                .filter(|b| !b.is_nondistributable())
                .cloned()
                .collect(),
        };
        if !present {
            self.tally.read(is_index);
        }
        let blob_parts = blobs.iter().map(|blob| (route, Piece::Blob(blob.digest)));
        let manifests = children
            .iter()
            .map(|child| (route, Piece::Manifest(child.digest)));
        let mut parts: Vec<Key> = manifests.chain(blob_parts).collect();
        // The same blob can be in a manifest twice, as an empty layer often is.
        let mut seen = std::collections::HashSet::new();
        parts.retain(|part| seen.insert(*part));
        let stands_aside = self.known[route].stand_ins.contains_key(&digest);
        let then = if present || stands_aside {
            Then::Arrive
        } else {
            Then::Put(Box::new(document))
        };
        self.need(key, parts, &blobs, then);
    }

    fn kept(&mut self, route: usize, document: &Document, references: &[Reference]) {
        self.tally.manifests += 1;
        self.tally.manifest_bytes += document.bytes.len() as u64;
        let key = (route, Piece::Manifest(document.digest));
        for waiter in self.graph.waiters(&key) {
            if let Piece::Root(index) = waiter.1 {
                let root = &mut self.roots[index];
                root.is_set |= references.contains(&root.target);
            }
        }
        self.arrive(key);
    }

    /// The manifest of a root is there: now its name.
    fn name_it(&mut self, index: usize) {
        let root = &mut self.roots[index];
        let route = root.route;
        let Some(digest) = root.digest else { return };
        let digest = self.known[route]
            .stand_ins
            .get(&digest)
            .copied()
            .unwrap_or(digest);
        root.digest = Some(digest);
        match &root.target {
            Reference::Tag(tag) if !root.is_set && root.there != Some(digest) => {
                let task = Task::Tag {
                    root: index,
                    digest,
                    tag: tag.clone(),
                };
                self.lanes.go_on(Job { route, task });
            }
            _ => self.named(index),
        }
    }

    /// A root is there under its name: now what refers to it.
    fn named(&mut self, index: usize) {
        let root = &self.roots[index];
        let key = (root.route, Piece::Root(index));
        match root
            .digest
            .map(|digest| (root.route, Piece::Referrers(digest)))
        {
            Some(referrers) if self.plan.referrers => {
                self.need(key, vec![referrers], &[], Then::Arrive);
            }
            _ => self.arrive(key),
        }
    }

    fn referred(
        &mut self,
        route: usize,
        subject: Digest,
        all: &[Descriptor],
        unlisted: Vec<Descriptor>,
    ) {
        let children = self.known[route]
            .children
            .get(&subject)
            .into_iter()
            .flatten();
        let mut parts: Vec<Key> = children
            .map(|child| (route, Piece::Referrers(*child)))
            .collect();
        for one in all {
            // A signature can itself be signed.
            parts.push((route, Piece::Manifest(one.digest)));
            parts.push((route, Piece::Referrers(one.digest)));
        }
        let then = if unlisted.is_empty() {
            Then::Arrive
        } else {
            Then::Refer(unlisted)
        };
        self.need((route, Piece::Referrers(subject)), parts, &[], then);
    }

    /// A piece needs parts, and then goes on. Blobs among them are described in `blobs`.
    fn need(&mut self, key: Key, parts: Vec<Key>, blobs: &[Descriptor], then: Then) {
        match self.graph.expect(key, parts, then) {
            Wait::Over => self.go_on(key),
            Wait::Failed(failure) => self.fail(key, &failure),
            // The last to be added is the first to be done.
            Wait::For(unknown) => unknown.iter().rev().for_each(|part| self.ask(*part, blobs)),
        }
    }

    /// Sends for a piece that nobody has asked for yet.
    fn ask(&mut self, (route, piece): Key, blobs: &[Descriptor]) {
        match piece {
            // Nothing has a root for a part.
            Piece::Root(_) => {}
            Piece::Manifest(digest) => {
                let beside = self.known[route]
                    .companions
                    .remove(&digest)
                    .unwrap_or_default();
                for tag in beside {
                    self.want(route, Reference::Tag(tag.clone()), Reference::Tag(tag));
                }
                self.lanes.go_on(Job {
                    route,
                    task: Task::Look(digest),
                });
            }
            Piece::Blob(digest) => {
                let Some(blob) = blobs.iter().find(|blob| blob.digest == digest) else {
                    return;
                };
                self.ask_blob(route, Box::new(blob.clone()));
            }
            Piece::Referrers(digest) if self.known[route].lists_none => {
                self.arrive((route, Piece::Referrers(digest)));
            }
            Piece::Referrers(digest) => {
                self.lanes.go_on(Job {
                    route,
                    task: Task::Referrers(digest),
                });
            }
        }
    }

    /// A blob travels once; other repositories of the destination then take it from there.
    fn ask_blob(&mut self, route: usize, blob: Box<Descriptor>) {
        if self.trips.len() > 1 {
            let carrier = *self.carriers.entry(blob.digest).or_insert(route);
            if carrier != route {
                let there = (carrier, Piece::Blob(blob.digest));
                let key = (route, Piece::Blob(blob.digest));
                return self.need(key, vec![there], &[], Then::Mount(blob, carrier));
            }
        }
        let beside = self.trips[route].beside.clone();
        self.lanes.go_on(Job {
            route,
            task: Task::Copy(blob, beside),
        });
    }

    /// All parts of a piece are there.
    fn go_on(&mut self, key: Key) {
        let (route, piece) = key;
        match (self.graph.then(&key), piece) {
            (Some(Then::Put(document)), _) => {
                let references = self.names_for(key, document.digest);
                self.lanes.go_on(Job {
                    route,
                    task: Task::Put(*document, references),
                });
            }
            (Some(Then::Set), Piece::Root(index)) => self.name_it(index),
            (Some(Then::Refer(unlisted)), Piece::Referrers(subject)) => {
                self.lanes.go_on(Job {
                    route,
                    task: Task::Refer(subject, unlisted),
                });
            }
            (Some(Then::Mount(blob, carrier)), _) => {
                let holder = Some(self.trips[carrier].to.clone());
                self.lanes.go_on(Job {
                    route,
                    task: Task::Copy(blob, holder),
                });
            }
            _ => self.arrive(key),
        }
    }

    /// The names under which a manifest is wanted by now; its digest, if there are none.
    fn names_for(&self, key: Key, digest: Digest) -> Vec<Reference> {
        let names = self
            .graph
            .waiters(&key)
            .iter()
            .filter_map(|waiter| match waiter.1 {
                Piece::Root(index) => Some(&self.roots[index]),
                _ => None,
            });
        let tags = names.filter(|root| matches!(root.target, Reference::Tag(_)));
        let mut names: Vec<Reference> = tags.map(|root| root.target.clone()).collect();
        if names.is_empty() {
            names.push(Reference::Digest(digest));
        }
        names
    }

    pub(super) fn arrive(&mut self, key: Key) {
        if let (_, Piece::Root(index)) = key {
            let root = &self.roots[index];
            let copied = root.there != root.digest;
            if copied {
                self.tally.copied += 1;
            } else {
                self.tally.present += 1;
            }
            if let Some(digest) = root.digest {
                let (route, target) = (root.route, root.target.clone());
                let name = self.name(index);
                let notice = Notice::Arrived {
                    route,
                    name,
                    target,
                    digest,
                    copied,
                };
                self.notices.push_back(notice);
            }
        }
        for complete in self.graph.arrive(key) {
            self.go_on(complete);
        }
    }

    fn fail(&mut self, key: Key, failure: &Arc<Failure>) {
        for (_, piece) in self.graph.fail(key, failure) {
            let Piece::Root(index) = piece else { continue };
            if matches!(**failure, Failure::NoPlatform(_)) {
                self.tally.unmatched += 1;
            } else {
                self.tally.failed += 1;
            }
            let failure = failure.clone();
            self.notices.push_back(Notice::Failed {
                name: self.name(index),
                failure,
            });
        }
    }

    /// What people call a root.
    pub(super) fn name(&self, index: usize) -> String {
        let root = &self.roots[index];
        let trip = &self.trips[root.route];
        let separator = if matches!(root.reference, Reference::Tag(_)) {
            ':'
        } else {
            '@'
        };
        format!("{}{separator}{}", trip.name(), root.reference)
    }
}
