//! The registry decides: an event comes in, jobs go out, and nothing else happens here. It owns
//! all state, takes every decision on one thread, and never waits: what has to be read, hashed,
//! written or sent is somebody else's job, and comes back as an event.
//!
//! One file for each noun of the distribution-spec; this one holds the state and the list of
//! what can happen.

mod blob;
mod event;
mod health;
mod manifest;
mod referrer;
mod repository;
mod tag;
mod travel;
mod upload;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub use event::{
    Draft, Errand, Event, Finding, Hashed, Job, Lesson, Paperwork, Probe, Question, Setback, Step,
    Task, Ticket, Upload,
};
pub use travel::Survey;

use crate::catalog::{Catalog, Change, Contents, Recent};
use crate::config::Config;
use crate::gateway::Gateway;
use crate::oci::{Refusal, Repository, Request, Response};

/// Bodies under way at a time; each takes a buffer.
const TRANSFERS_MAX: usize = 64;
/// Bodies under way at a time for one client.
const TRANSFERS_OF_PEER_MAX: usize = 48;
/// Seconds after which a client that found no place should come back.
const RETRY_SECS: u32 = 2;
/// Bytes of recently served manifests kept in memory.
const RECENT_SIZE_MAX: usize = 2 << 20;
/// Entries of the catalog kept in memory: tags, manifests, blobs.
const ENTRIES_MAX: usize = 200_000;

/// All that a running registry knows.
#[derive(Debug)]
pub struct Registry {
    config: Config,
    catalog: Catalog,
    nothing: Contents,
    recent: Recent,
    sessions: HashMap<String, upload::Session>,
    /// Manifests whose bodies are being read: their repositories must stay known.
    drafts: usize,
    transfers: HashMap<Arc<str>, usize>,
    health: health::Health,
    travel: travel::Travel,
    gateways: Vec<Gateway>,
    now: Duration,
    purged_at: Option<Duration>,
    stopped_at: Option<Duration>,
}

type Jobs = Vec<Job>;

impl Registry {
    /// A registry that knows nothing yet; what is on disk it learns when asked.
    /// Blobs that are not here are read from these gateways.
    pub fn new(config: Config, gateways: Vec<Gateway>) -> Registry {
        let storage = &config.storage;
        let travel = travel::Travel::new(storage.store.network(), storage.read_only);
        Registry {
            health: health::Health::new(&config.health, travel.is_open(), gateways.len()),
            travel,
            gateways,
            catalog: Catalog::default(),
            nothing: Contents::default(),
            recent: Recent::new(RECENT_SIZE_MAX),
            sessions: HashMap::new(),
            drafts: 0,
            transfers: HashMap::new(),
            now: Duration::ZERO,
            purged_at: None,
            stopped_at: None,
            config,
        }
    }

    /// Whether it was told to stop and nothing is left to wait for.
    pub fn is_done(&self) -> bool {
        self.stopped_at.is_some_and(|stopped_at| {
            let drained = self.now.saturating_sub(stopped_at) >= self.config.http.drain_timeout;
            self.transfers.is_empty() || drained
        })
    }

    /// Takes in what happened; what is to be done about it.
    pub fn decide(&mut self, event: Event) -> Jobs {
        match event {
            Event::Asked(ticket, Ok(request)) => self.ask(ticket, request),
            Event::Asked(ticket, Err(refusal)) => refuse(ticket, refusal),
            Event::Learned(ticket, request, Ok(lesson)) => self.learn(ticket, request, lesson),
            Event::Learned(ticket, _, Err(fault)) => fail(ticket, &fault.into()),
            Event::ManifestRead(ticket, repository, reference, new, draft) => {
                self.take_manifest(ticket, repository, reference, new, draft)
            }
            Event::Received(ticket, upload, step, result) => {
                self.received(ticket, upload, step, result)
            }
            Event::Written(ticket, repository, change, response, Ok(())) => {
                self.take_in(ticket, &repository, change, response)
            }
            Event::Written(ticket, repository, change, _, Err(fault)) => {
                if let Change::KeepBlob(arrival) = change {
                    self.sessions.remove(&arrival.session);
                }
                self.catalog.forget(&repository);
                fail(ticket, &fault.into())
            }
            Event::Sent(peer) => {
                self.end_transfer(&peer);
                Jobs::new()
            }
            Event::Missing(ticket, repository, digest, wanted) => {
                self.send_from_afar(ticket, &repository, digest, wanted)
            }
            Event::Relayed(digest, peer, result) => self.relayed(&digest, &peer, result),
            Event::Surveyed(survey) => self.take_survey(survey),
            Event::Travelled(digest, voyage, result) => self.travelled(digest, voyage, result),
            Event::Dropped(digest, result) => self.dropped(digest, result),
            Event::Failed(ticket, setback) => fail(ticket, &setback),
            Event::Inspected(ticket) => respond(ticket, self.health.report()),
            Event::Checked(probe, result) => {
                self.health.take_in(&probe, result);
                Jobs::new()
            }
            Event::Tick(now) => self.tick(now),
            Event::Stopped => {
                self.stopped_at = Some(self.now);
                Jobs::new()
            }
        }
    }

    fn ask(&mut self, ticket: Ticket, request: Request) -> Jobs {
        if self.stopped_at.is_some() {
            let leaving = Refusal::TooManyRequests(RETRY_SECS);
            return respond(
                ticket,
                Response {
                    close: true,
                    ..Response::refusal(&leaving)
                },
            );
        }
        if let Some(refusal) = self.forbids(&request) {
            return refuse(ticket, refusal);
        }
        if let Some(question) = self.needs(&request) {
            return vec![Job::Clerk(ticket, Paperwork::Learn(request, question))];
        }
        match request {
            Request::Base => respond(ticket, Response::base()),
            Request::Options(methods) => respond(ticket, Response::options(methods)),
            Request::ListRepositories(page) => self.list_repositories(ticket, page),
            Request::ListTags(name, page) => self.list_tags(ticket, name, page),
            Request::ListReferrers(name, subject, kind) => {
                self.list_referrers(ticket, &name, &subject, kind)
            }
            Request::GetManifest(name, reference, wanted) => {
                self.get_manifest(ticket, name, reference, wanted)
            }
            Request::PutManifest(name, reference, new) => {
                self.put_manifest(ticket, name, reference, new)
            }
            Request::DeleteManifest(name, reference) => {
                self.delete_manifest(ticket, name, reference)
            }
            Request::GetBlob(name, digest, wanted) => self.get_blob(ticket, name, digest, wanted),
            Request::DeleteBlob(name, digest) => self.delete_blob(ticket, name, digest),
            Request::StartUpload(name, new) => self.start_upload(ticket, name, new),
            Request::GetUpload(name, session) => self.get_upload(ticket, name, session),
            Request::PatchUpload(name, session, chunk) => {
                self.receive(ticket, name, session, Step::Append(chunk))
            }
            Request::FinishUpload(name, session, chunk, digest) => {
                self.receive(ticket, name, session, Step::Finish(chunk, digest))
            }
            Request::CancelUpload(name, session) => self.cancel_upload(ticket, name, session),
        }
    }

    /// What has to be read from disk before that request can be decided.
    fn needs(&self, request: &Request) -> Option<Question> {
        use Request::*;
        let contents = |name: &Repository| {
            let unknown = self.catalog.contents(name).is_none();
            unknown.then(|| Question::Contents(name.clone()))
        };
        match request {
            ListRepositories(_) => self.catalog.names().is_none().then_some(Question::Names),
            ListReferrers(name, ..) => contents(name).or_else(|| self.needs_referrers(name)),
            ListTags(name, _)
            | GetManifest(name, ..)
            | PutManifest(name, ..)
            | DeleteManifest(name, _)
            | GetBlob(name, ..)
            | DeleteBlob(name, _) => contents(name),
            StartUpload(name, new) => {
                new.mount?;
                contents(name).or_else(|| new.from.as_ref().and_then(contents))
            }
            Base | Options(_) | GetUpload(..) | PatchUpload(..) | FinishUpload(..)
            | CancelUpload(..) => None,
        }
    }

    /// What this registry is configured not to do.
    fn forbids(&self, request: &Request) -> Option<Refusal> {
        use Request::*;
        let deletes = matches!(request, DeleteManifest(..) | DeleteBlob(..));
        let writes = deletes
            || matches!(
                request,
                PutManifest(..)
                    | StartUpload(..)
                    | PatchUpload(..)
                    | FinishUpload(..)
                    | CancelUpload(..)
            );
        if writes && self.config.storage.read_only {
            let cause = "this registry is read-only (storage.maintenance.readonly)";
            Some(Refusal::Unsupported(cause.into()))
        } else if deletes && !self.config.storage.delete_enabled {
            let cause = "deletion is switched off here (storage.delete.enabled)";
            Some(Refusal::Unsupported(cause.into()))
        } else {
            None
        }
    }

    /// Takes in what had to be read, and decides the request that needed it.
    fn learn(&mut self, ticket: Ticket, request: Request, lesson: Lesson) -> Jobs {
        match lesson {
            Lesson::Contents(repository, contents) => self.catalog.open(repository, contents),
            Lesson::Names(names) => self.catalog.learn_names(names),
            Lesson::Referrers(repository, referrers) => {
                self.catalog.learn_referrers(&repository, referrers);
            }
            Lesson::Manifest(repository, digest, stored) => {
                return self.give_manifest(ticket, &repository, digest, stored);
            }
        }
        self.ask(ticket, request)
    }

    /// What a repository holds; nothing, if there is no such repository.
    fn contents(&self, repository: &Repository) -> &Contents {
        self.catalog.contents(repository).unwrap_or(&self.nothing)
    }

    /// Takes in a change that is durable, and answers whoever asked for it.
    fn take_in(
        &mut self,
        ticket: Ticket,
        repository: &Repository,
        change: Change,
        response: Response,
    ) -> Jobs {
        let mut jobs = Jobs::new();
        let kept = match &change {
            Change::PutManifest(new) => {
                self.recent.put(repository, new.digest, new.stored.clone());
                jobs.extend(self.embark(new.digest, new.voyage.clone()));
                let names = new.tags.iter().map(|tag| format!("{repository}:{tag}"));
                self.expect_image(new.digest, names.collect(), &new.needs);
                Some(new.digest)
            }
            Change::LinkBlob(digest) => Some(*digest),
            Change::KeepBlob(arrival) => {
                self.sessions.remove(&arrival.session);
                jobs.extend(self.embark(arrival.digest, arrival.voyage.clone()));
                Some(arrival.digest)
            }
            _ => None,
        };
        self.catalog.apply(repository, change);
        jobs.extend(self.acknowledge(ticket, kept, response));
        jobs
    }

    /// Takes a place for a body under way; None if all are taken.
    fn begin_transfer(&mut self, ticket: &Ticket) -> Option<()> {
        let all: usize = self.transfers.values().sum();
        let of_peer = self.transfers.get(&ticket.peer).copied().unwrap_or(0);
        if all >= TRANSFERS_MAX || of_peer >= TRANSFERS_OF_PEER_MAX {
            return None;
        }
        *self.transfers.entry(Arc::clone(&ticket.peer)).or_default() += 1;
        Some(())
    }

    fn end_transfer(&mut self, peer: &Arc<str>) {
        if let Some(count) = self.transfers.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                self.transfers.remove(peer);
            }
        }
    }

    fn tick(&mut self, now: Duration) -> Jobs {
        self.now = now;
        if self.drafts == 0 {
            self.catalog.shrink(ENTRIES_MAX);
        }
        self.forget_idle_sessions();
        let mut jobs = self.health.due(now);
        jobs.extend(self.travel_on());
        if let Some(purging) = &self.config.storage.upload_purging
            && !self.config.storage.read_only
            && self
                .purged_at
                .is_none_or(|at| now.saturating_sub(at) >= purging.interval)
        {
            self.purged_at = Some(now);
            let (age, dry_run) = (purging.age, purging.dry_run);
            jobs.push(Job::Errand(Errand::Purge { age, dry_run }));
        }
        jobs
    }

    /// The URL of something below `/v2/`, for a `Location` or a `Link`: below the configured
    /// host if there is one, else relative, which is right behind every proxy.
    fn url(&self, path: &str) -> String {
        let http = &self.config.http;
        match &http.host {
            Some(host) if !http.relative_urls => {
                format!("{}{}/v2/{path}", host.trim_end_matches('/'), http.prefix)
            }
            _ => format!("{}/v2/{path}", http.prefix),
        }
    }
}

fn respond(ticket: Ticket, response: Response) -> Jobs {
    vec![Job::At(ticket, Task::Respond(response))]
}

fn refuse(ticket: Ticket, refusal: Refusal) -> Jobs {
    fail(ticket, &refusal.into())
}

fn fail(ticket: Ticket, setback: &Setback) -> Jobs {
    respond(ticket, setback.response())
}

fn change(ticket: Ticket, repository: Repository, change: Change, response: Response) -> Jobs {
    vec![Job::Clerk(
        ticket,
        Paperwork::Change(repository, change, response),
    )]
}
