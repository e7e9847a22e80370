//! The distribution-spec: a request goes in, an answer comes out. One file for each noun of the
//! spec, plain functions that ask the store and change it, and wait until it has answered.
//!
//! A request reads by key or by page, so that it costs the same in a large store as in a small
//! one. Rules that a change depends on are checked where the store makes it. The bytes of a blob
//! are not touched here: an [`Answer`] says which file they are in.

mod answer;
mod blob;
mod intake;
mod manifest;
mod network;
mod places;
mod receive;
mod referrer;
mod repository;
mod session;
mod tag;
mod upload;

use std::sync::{Arc, Mutex};

pub use answer::{Answer, Client};
pub use places::{Place, Places};

use crate::background::Background;
use crate::config::Config;
use crate::http::Body;
use crate::oci::{Refusal, Request, Response};
use crate::store::{Failure, Store};

use session::Sessions;

/// Seconds after which a client that found no place should come back.
const RETRY_SECS: u32 = 2;

/// A registry: what answers requests, on any number of threads.
pub struct Registry {
    config: Arc<Config>,
    store: Arc<Store>,
    background: Arc<Background>,
    sessions: Sessions,
    places: Places,
    /// Held by whoever has a large manifest in memory.
    large_manifest: Mutex<()>,
}

/// What a request came to; a refusal or a fault is answered as such.
type Answered = Result<Answer, Failure>;

impl Registry {
    /// A registry that serves what is in a store.
    pub fn new(config: Arc<Config>, store: Arc<Store>, background: Arc<Background>) -> Registry {
        Registry {
            config,
            store,
            background,
            sessions: Sessions::default(),
            places: Places::default(),
            large_manifest: Mutex::default(),
        }
    }

    /// Answers a request, reading its body as far as it needs to.
    pub fn answer(
        &self,
        request: Result<Request, Refusal>,
        client: &Client,
        body: &mut dyn Body,
    ) -> Answer {
        let answered = request
            .map_err(Failure::Refused)
            .and_then(|request| self.carry_out(request, client, body));
        answered.unwrap_or_else(|failure| answer::failed(&failure).into())
    }

    fn carry_out(&self, request: Request, client: &Client, body: &mut dyn Body) -> Answered {
        if let Some(refusal) = self.forbids(&request) {
            return Err(refusal.into());
        }
        match request {
            Request::Base => Ok(Response::base().into()),
            Request::Options(methods) => Ok(Response::options(methods).into()),
            Request::ListRepositories(page) => self.list_repositories(&page),
            Request::ListTags(name, page) => self.list_tags(&name, &page),
            Request::ListReferrers(name, subject, kind, page) => {
                self.list_referrers(&name, &subject, kind.as_deref(), &page)
            }
            Request::GetManifest(name, reference, wanted) => {
                self.get_manifest(&name, &reference, &wanted)
            }
            Request::PutManifest(name, reference, new) => {
                self.put_manifest(name, &reference, new, client, body)
            }
            Request::DeleteManifest(name, reference) => self.delete_manifest(name, reference),
            Request::GetBlob(name, digest, wanted) => self.get_blob(&name, &digest, &wanted),
            Request::DeleteBlob(name, digest) => self.delete_blob(name, digest),
            Request::StartUpload(name, new) => self.start_upload(name, &new, client, body),
            Request::GetUpload(name, session) => self.get_upload(&name, &session),
            Request::PatchUpload(name, session, chunk) => {
                self.append_upload(name, session, chunk, client, body)
            }
            Request::FinishUpload(name, session, chunk, digest) => {
                self.finish_upload(name, session, chunk, digest, client, body)
            }
            Request::CancelUpload(name, session) => self.cancel_upload(name, session),
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
