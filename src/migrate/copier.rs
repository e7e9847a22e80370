//! The copier decides: what came of one job goes in, jobs to start come out. It owns all that is
//! known of a run, and sees neither the wire nor the clock.

mod course;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::oci::{Descriptor, Digest, Reference, Repository, Tag};

use super::Failure;
use super::graph::{Graph, Key, Piece};
use super::image::Source;
use super::job::{Job, Outcome, Task};
use super::lanes::Lanes;
use super::platform::Wanted;
use super::quota::Quota;
use super::remote::Document;
use super::select::Selection;
use super::tally::{Notice, Tally};

/// What is wanted of all repositories.
#[derive(Default)]
pub struct Plan {
    /// Which tags.
    pub selection: Selection,
    /// Which platforms; all if there are none.
    pub platforms: Vec<Wanted>,
    /// Whether to bring what refers to the images, such as signatures.
    pub referrers: bool,
    /// Whether only to see what there would be to do.
    pub dry: bool,
    /// How many jobs to run at a time.
    pub jobs: usize,
}

/// One repository that is to be copied.
pub struct Trip {
    /// What the user asked for, all of it in one repository; at least one.
    pub sources: Vec<Source>,
    /// Where it goes.
    pub to: Repository,
    /// What an earlier run brought there not long ago.
    pub known: HashMap<String, Digest>,
    /// A repository of the destination that has the same blobs.
    pub beside: Option<Repository>,
}

/// What can happen.
pub enum Event {
    /// Time has passed, or the run begins.
    Tick,
    /// A job has ended.
    Ended(Box<(Job, Result<Outcome, Failure>)>),
}

/// What is to be done with a piece once its parts are there.
enum Then {
    /// Nothing more: it is there.
    Arrive,
    /// Keep the manifest.
    Put(Box<Document>),
    /// Set the tag.
    Set,
    /// Add to the list of referrers.
    Refer(Vec<Descriptor>),
    /// Bring the blob, which another repository of the destination now has.
    Mount(Box<Descriptor>, usize),
}

/// A tag or digest on its way.
struct Root {
    route: usize,
    reference: Reference,
    target: Reference,
    /// What it points to at the source, once known; and, with one platform wanted, what stands
    /// in for that.
    digest: Option<Digest>,
    /// What it pointed to at the destination when the run came to it.
    there: Option<Digest>,
    /// Whether the destination now has it under its name.
    is_set: bool,
}

/// What is known of one repository.
#[derive(Default)]
struct Known {
    /// The tags and digests that are wanted, as they are called at the destination.
    wanted: HashSet<String>,
    /// Tags that belong to manifests, such as signatures, and are not on their way yet.
    companions: HashMap<Digest, Vec<Tag>>,
    /// Whether the source can't list referrers.
    lists_none: bool,
    /// The manifests of each index.
    children: HashMap<Digest, Vec<Digest>>,
    /// The one manifest that stands in for an index, as one platform is wanted.
    stand_ins: HashMap<Digest, Digest>,
}

/// Decides.
pub struct Copier {
    plan: Plan,
    trips: Vec<Trip>,
    known: Vec<Known>,
    roots: Vec<Root>,
    /// Who brings a blob first, if there are several repositories.
    carriers: HashMap<Digest, usize>,
    graph: Graph<Then>,
    lanes: Lanes,
    running: usize,
    /// Of a dry run: how many pulls it may spend on looking, once the source says that it counts.
    pulls_max: Option<u64>,
    /// What has been done so far.
    pub tally: Tally,
    /// What people may want to know, in order.
    pub notices: VecDeque<Notice>,
}

impl Copier {
    /// A copier for these repositories, before its first event.
    pub fn new(plan: Plan, trips: Vec<Trip>) -> Copier {
        let mut copier = Copier {
            known: trips.iter().map(|_| Known::default()).collect(),
            plan,
            trips,
            roots: Vec::new(),
            carriers: HashMap::new(),
            graph: Graph::default(),
            lanes: Lanes::default(),
            running: 0,
            pulls_max: None,
            tally: Tally::default(),
            notices: VecDeque::new(),
        };
        for route in 0..copier.trips.len() {
            // The list also tells of signatures beside a single image.
            if copier.trips[route].is_all() || copier.plan.referrers {
                let task = Task::List;
                copier.lanes.begin(Job { route, task });
            } else {
                copier.want_ones(route);
            }
        }
        copier
    }

    /// What is wanted.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes in an event at a time since the start, and returns the jobs to start.
    pub fn decide(&mut self, event: Event, now: Duration) -> Vec<Job> {
        if let Event::Ended(ended) = event {
            self.running -= 1;
            let (job, outcome) = *ended;
            self.settle(job, outcome, now);
        }
        let mut jobs = Vec::new();
        while self.running < self.plan.jobs {
            let Some(job) = self.lanes.next(now) else {
                break;
            };
            if job.is_pull() && self.pulls_max.is_some_and(|max| self.tally.pulls >= max) {
                self.leave_unread(job, now);
                continue;
            }
            self.tally.pulls += u64::from(job.is_pull());
            self.running += 1;
            jobs.push(job);
        }
        jobs
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.running == 0 && self.lanes.is_empty()
    }

    /// How long the registries make us wait before anything more can be done.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        self.lanes.wait(now).filter(|_| self.running == 0)
    }

    /// The images in work: each with how many of its parts are there, and how many it has.
    pub fn in_work(&self) -> impl Iterator<Item = (String, usize, usize)> {
        let open = |(index, root): (usize, &Root)| {
            let is_open = self.graph.is_open(&(root.route, Piece::Root(index)));
            let manifest = (
                root.route,
                Piece::Manifest(root.digest.filter(|_| is_open)?),
            );
            let (arrived, parts) = self.graph.progress(&manifest);
            (parts > 0).then(|| (self.name(index), arrived, parts))
        };
        self.roots.iter().enumerate().filter_map(open)
    }

    fn settle(&mut self, job: Job, outcome: Result<Outcome, Failure>, now: Duration) {
        let quota = match &outcome {
            Ok(Outcome::Fetched(_, quota) | Outcome::Resolved { quota, .. }) => *quota,
            _ => None,
        };
        self.lanes.ended(&job, quota, now);
        if let Some(quota) = quota {
            self.count(job.route, quota);
        }
        match outcome {
            Err(Failure::Throttled { url, wait }) => {
                self.tally.pulls -= u64::from(job.is_pull());
                let wait = self.lanes.throttled(job, wait, now);
                self.notices.push_back(Notice::Waiting { url, wait });
            }
            Err(failure) => self.failed(job.route, job.task, failure),
            Ok(outcome) => self.ended(job.route, job.task, outcome),
        }
    }

    /// Takes in what the source says is left to pull.
    fn count(&mut self, route: usize, quota: Quota) {
        if self.tally.quota.replace(quota).is_none() {
            let host = self.trips[route].sources[0].host.clone();
            self.notices.push_back(Notice::Counted { host, quota });
            if self.plan.dry {
                // Looking must not use up what the real run will need.
                self.pulls_max = Some(self.tally.pulls + (quota.remaining / 10).max(1));
            }
        }
    }

    fn leave_unread(&mut self, job: Job, now: Duration) {
        self.lanes.ended(&job, None, now);
        if let Task::Fetch(digest) = job.task {
            let key = (job.route, Piece::Manifest(digest));
            let is_root = |waiter: &Key| matches!(waiter.1, Piece::Root(_));
            if self.graph.waiters(&key).iter().any(is_root) {
                self.tally.unread_roots += 1;
            } else {
                self.tally.unread_parts += 1;
            }
            self.arrive(key);
        }
    }
}

impl Trip {
    /// Whether all tags are wanted.
    fn is_all(&self) -> bool {
        self.sources.iter().any(|source| source.one().is_none())
    }

    /// What the repository is called at the source.
    fn name(&self) -> String {
        self.sources[0].name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Algorithm, Manifest};

    const NOW: Duration = Duration::ZERO;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn descriptor(text: &str) -> Descriptor {
        let text = format!(r#"{{"digest":"{}","size":1}}"#, digest(text));
        serde_json::from_str(&text).expect("a descriptor")
    }

    fn image(blob: &str) -> Document {
        let (config, layer) = (digest("config"), digest(blob));
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{config}","size":2}},
            "layers":[{{"digest":"{layer}","size":3}},{{"digest":"{layer}","size":3}}]}}"#
        );
        let manifest = Manifest::parse(text.as_bytes(), Some(crate::oci::manifest::OCI_MANIFEST));
        Document {
            bytes: text.as_bytes().into(),
            digest: digest(&text),
            manifest: manifest.expect("an image").into(),
        }
    }

    fn copier(image: &str) -> Copier {
        let trip = Trip {
            sources: vec![Source::parse(image).expect("a name")],
            to: "a".parse().expect("a name"),
            known: HashMap::new(),
            beside: None,
        };
        let plan = Plan {
            referrers: true,
            jobs: 1,
            ..Plan::default()
        };
        Copier::new(plan, vec![trip])
    }

    /// Plays the wire until nothing is left to do, and returns the tasks in their order.
    fn play(copier: &mut Copier, answer: impl Fn(&Task) -> Outcome) -> Vec<String> {
        let mut done = Vec::new();
        let mut jobs = copier.decide(Event::Tick, NOW);
        while let Some(job) = jobs.pop() {
            let text = format!("{:?}", job.task);
            done.push(text.split([' ', '(']).next().unwrap_or_default().to_owned());
            assert!(done.len() < 100, "it goes on and on: {done:?}");
            let outcome = answer(&job.task);
            jobs = copier.decide(Event::Ended(Box::new((job, Ok(outcome)))), NOW);
        }
        assert!(copier.is_done());
        done
    }

    fn listed(tags: &str) -> Outcome {
        Outcome::Listed(tags.split(' ').map(|tag| tag.parse().expect(tag)).collect())
    }

    #[test]
    fn tags_of_one_manifest_cost_one_pull_and_each_blob_travels_once() {
        let mut copier = copier("quay.io/a/b");
        let document = image("layer");
        let digest = document.digest;
        let done = play(&mut copier, |task| match task {
            Task::List => listed("2 1"),
            Task::Resolve { .. } => Outcome::Resolved {
                digest,
                there: None,
                quota: None,
            },
            Task::Look(_) => Outcome::Absent,
            Task::Fetch(_) => Outcome::Fetched(document.clone(), None),
            Task::Copy(..) => Outcome::Brought(super::super::blob::Arrival::Copied),
            Task::Referrers(_) => Outcome::NoReferrers,
            Task::Put(..) | Task::Tag { .. } | Task::Refer(..) => Outcome::Done,
        });
        let expected = "List Resolve Look Fetch Copy Copy Put Referrers Resolve Tag";
        assert_eq!(done.join(" "), expected);
        assert_eq!(
            (copier.tally.copied, copier.tally.blobs, copier.tally.pulls),
            (2, 2, 1)
        );
    }

    #[test]
    fn referrers_that_refer_to_each_other_fail_and_do_not_hang() {
        let mut copier = copier("quay.io/a/b:1");
        let (one, two) = (descriptor("one"), descriptor("two"));
        play(&mut copier, |task| match task {
            Task::List => listed("1"),
            Task::Resolve { .. } => {
                let digest = one.digest;
                Outcome::Resolved {
                    digest,
                    there: Some(digest),
                    quota: None,
                }
            }
            Task::Look(_) => Outcome::Present(None),
            Task::Referrers(subject) => {
                let other = if *subject == one.digest { &two } else { &one };
                Outcome::Referred {
                    all: vec![other.clone()],
                    unlisted: Vec::new(),
                }
            }
            task => panic!("{task:?} is not needed"),
        });
        assert_eq!((copier.tally.failed, copier.tally.settled()), (1, 1));
    }
}
