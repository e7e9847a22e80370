//! Uploads: how blobs are pushed (distribution-spec, "Pushing Blobs", "Mounting a blob from
//! another repository").

use std::time::Duration;

use uuid::Uuid;

use super::{
    Hashed, Job, Jobs, RETRY_SECS, Registry, Setback, Step, Task, Ticket, Upload, change, fail,
    refuse, respond,
};
use crate::catalog::{Arrival, Change};
use crate::fault::Fault;
use crate::oci::request::NewUpload;
use crate::oci::{Digest, Refusal, Repository, Response};

/// What is known of an upload session in use; of others, all is on disk.
#[derive(Debug)]
pub(super) enum Session {
    /// A body is being read into it.
    Busy,
    /// Between two bodies: what was hashed, and since when.
    Idle(Box<Hashed>, Duration),
}

/// How long a hasher waits for the next chunk before it is forgotten. The chunk is then welcome
/// all the same; the bytes before it are read again.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// The most hashers that wait.
const IDLE_COUNT_MAX: usize = 1000;

impl Registry {
    pub(super) fn start_upload(
        &mut self,
        ticket: Ticket,
        repository: Repository,
        new: NewUpload,
    ) -> Jobs {
        if let Some(digest) = new.mount
            && self.can_mount(&repository, &new, &digest)
        {
            let location = self.url(&format!("{repository}/blobs/{digest}"));
            let response = Response::created(location, &digest);
            return change(ticket, repository, Change::LinkBlob(digest), response);
        }
        let session = Uuid::new_v4().to_string();
        let has_network = self.config.storage.store.network().is_some();
        let hashed = new
            .algorithm
            .map(|algorithm| Box::new(Hashed::new(algorithm, has_network)));
        if let Some(digest) = new.digest {
            let upload = Upload {
                repository,
                session,
                is_new: true,
                hashed: None,
            };
            return self.begin_receiving(ticket, upload, Step::Finish(None, digest));
        }
        if let Some(hashed) = hashed {
            self.sessions
                .insert(session.clone(), Session::Idle(hashed, self.now));
        }
        let response = Response::upload(self.location(&repository, &session), &session, 0);
        let upload = Upload {
            repository,
            session,
            is_new: true,
            hashed: None,
        };
        vec![Job::At(ticket, Task::Begin(upload, response))]
    }

    /// Whether a blob can be had from the repository that the client names, or, where it names
    /// none, from any that is known to hold it.
    fn can_mount(&self, to: &Repository, new: &NewUpload, digest: &Digest) -> bool {
        let holds = |name: &Repository| self.contents(name).blobs.contains(digest);
        holds(to)
            || new
                .from
                .as_ref()
                .map_or_else(|| self.catalog.is_held(digest), holds)
    }

    pub(super) fn get_upload(
        &mut self,
        ticket: Ticket,
        repository: Repository,
        session: String,
    ) -> Jobs {
        let location = self.location(&repository, &session);
        let upload = Upload {
            repository,
            session,
            is_new: false,
            hashed: None,
        };
        vec![Job::At(ticket, Task::Measure(upload, location))]
    }

    pub(super) fn cancel_upload(
        &mut self,
        ticket: Ticket,
        repository: Repository,
        session: String,
    ) -> Jobs {
        if matches!(self.sessions.get(&session), Some(Session::Busy)) {
            return refuse(ticket, Refusal::BlobUploadBusy);
        }
        self.sessions.remove(&session);
        let response = Response::upload_cancelled(&session);
        let upload = Upload {
            repository,
            session,
            is_new: false,
            hashed: None,
        };
        vec![Job::At(ticket, Task::Cancel(upload, response))]
    }

    pub(super) fn receive(
        &mut self,
        ticket: Ticket,
        repository: Repository,
        session: String,
        step: Step,
    ) -> Jobs {
        let hashed = match self.sessions.get(&session) {
            Some(Session::Busy) => return refuse(ticket, Refusal::BlobUploadBusy),
            Some(Session::Idle(hashed, _)) => Some(hashed.clone()),
            None => None,
        };
        self.begin_receiving(
            ticket,
            Upload {
                repository,
                session,
                is_new: false,
                hashed,
            },
            step,
        )
    }

    fn begin_receiving(&mut self, ticket: Ticket, upload: Upload, step: Step) -> Jobs {
        if self.begin_transfer(&ticket).is_none() {
            return refuse(ticket, Refusal::TooManyRequests(RETRY_SECS));
        }
        self.sessions.insert(upload.session.clone(), Session::Busy);
        vec![Job::At(ticket, Task::Receive(upload, step))]
    }

    pub(super) fn received(
        &mut self,
        ticket: Ticket,
        upload: Upload,
        step: Step,
        result: Result<Option<Box<Arrival>>, Setback>,
    ) -> Jobs {
        self.end_transfer(&ticket.peer);
        self.sessions.remove(&upload.session);
        let Upload {
            repository,
            session,
            is_new,
            hashed,
        } = upload;
        let offset = hashed.as_ref().map_or(0, |hashed| hashed.size);
        let goes_on = match (&step, &result) {
            (Step::Append(_), Ok(_)) => true,
            // Nobody was told its name: it is gone.
            _ if is_new => false,
            // What came in before is still there, and a client may go on from it.
            (_, Err(Setback::Broke(Fault::Client(_)))) => true,
            (_, Err(Setback::Refused(Refusal::ChunkOutOfOrder { .. }))) => true,
            _ => false,
        };
        if let Some(hashed) = hashed
            && goes_on
            && self.sessions.len() < IDLE_COUNT_MAX
        {
            self.sessions
                .insert(session.clone(), Session::Idle(hashed, self.now));
        }
        match (step, result) {
            (Step::Finish(..), Ok(Some(arrival))) => {
                let digest = arrival.digest;
                // Nobody may write to it before it has its final name.
                self.sessions.insert(session, Session::Busy);
                let location = self.url(&format!("{repository}/blobs/{digest}"));
                let response = Response::created(location, &digest);
                change(ticket, repository, Change::KeepBlob(arrival), response)
            }
            (_, Ok(_)) => {
                let location = self.location(&repository, &session);
                respond(ticket, Response::upload(location, &session, offset))
            }
            (_, Err(setback)) => fail(ticket, &setback),
        }
    }

    pub(super) fn forget_idle_sessions(&mut self) {
        let now = self.now;
        self.sessions.retain(|_, session| match session {
            Session::Busy => true,
            Session::Idle(_, since) => now.saturating_sub(*since) < IDLE_MAX,
        });
    }

    fn location(&self, repository: &Repository, session: &str) -> String {
        self.url(&format!("{repository}/blobs/uploads/{session}"))
    }
}
