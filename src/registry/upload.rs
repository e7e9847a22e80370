//! Uploads: how blobs are pushed (distribution-spec, "Pushing Blobs", "Mounting a blob from
//! another repository").

use uuid::Uuid;

use super::answer::Client;
use super::receive::Upload;
use super::session::Hashed;
use super::{Answered, Registry};
use crate::http::Body;
use crate::oci::range::ChunkRange;
use crate::oci::request::NewUpload;
use crate::oci::{Digest, Refusal, Repository, Response};
use crate::store::blob::{self, Blob, NewBlob, Place};
use crate::store::{Outcome, upload};

/// The most upload sessions, in all and of one client.
const LIMITS: upload::Limits = upload::Limits {
    total: 10_000,
    of_client: 2_000,
};

impl Registry {
    pub(super) fn start_upload(
        &self,
        name: Repository,
        new: &NewUpload,
        client: &Client,
        body: &mut dyn Body,
    ) -> Answered {
        if let Some(digest) = new.mount
            && self.mount(&name, new.from.clone(), digest)?
        {
            let location = self.url(&format!("{name}/blobs/{digest}"));
            return self.acknowledge(&digest, Response::created(location, &digest));
        }
        let session = Uuid::new_v4().to_string();
        if let Some(digest) = new.digest {
            let mut upload = self.begin(name, session, false)?;
            let kept = self.receive_blob(&mut upload, None, digest, client, body);
            if kept.is_err() {
                // Nobody was told its name.
                self.drop_bytes(&mut upload);
            }
            return kept;
        }
        let (id, repository, address) = (session.clone(), name.clone(), client.address.clone());
        self.store
            .note(move |tx| upload::start(tx, &id, &repository, &address, LIMITS))?;
        if let Some(algorithm) = new.algorithm {
            let hashed = Hashed::new(algorithm, self.has_network());
            self.sessions.keep(&session, Box::new(hashed));
        }
        let location = self.upload_url(&name, &session);
        Ok(Response::upload(location, &session, 0).into())
    }

    /// Has a repository hold a blob that another one holds: the one that the client names, or,
    /// where it names none, any. Whether that could be.
    fn mount(&self, to: &Repository, from: Option<Repository>, digest: Digest) -> Outcome<bool> {
        // What HEAD would say of it, so that nobody is promised what is not there.
        let is_here = |found: Option<Blob>| found.is_some_and(|blob| blob.place != Place::Missing);
        if is_here(self.store.find_blob(to, &digest)?) {
            return Ok(true);
        }
        let found = match &from {
            Some(from) => self.store.find_blob(from, &digest)?,
            None => self.store.find_blob_anywhere(&digest)?,
        };
        if !is_here(found) {
            return Ok(false);
        }
        let to = to.clone();
        self.store
            .write(move |tx| blob::mount(tx, from.as_ref(), &to, &digest, None))
    }

    pub(super) fn get_upload(&self, name: &Repository, session: &str) -> Answered {
        self.require_session(name, session)?;
        let length = self.store.files().upload_length(session)?;
        let location = self.upload_url(name, session);
        Ok(Response::upload_status(location, session, length).into())
    }

    pub(super) fn append_upload(
        &self,
        name: Repository,
        session: String,
        chunk: Option<ChunkRange>,
        client: &Client,
        body: &mut dyn Body,
    ) -> Answered {
        self.require_session(&name, &session)?;
        let mut upload = self.begin(name, session, true)?;
        let received = self.receive_chunk(&mut upload, chunk, client, body);
        let id = upload.session.clone();
        // Whatever came in, somebody works on it.
        self.store.note(move |tx| upload::written(tx, &id))?;
        let location = self.upload_url(&upload.repository, &upload.session);
        Ok(Response::upload(location, &upload.session, received?).into())
    }

    pub(super) fn finish_upload(
        &self,
        name: Repository,
        session: String,
        chunk: Option<ChunkRange>,
        digest: Digest,
        client: &Client,
        body: &mut dyn Body,
    ) -> Answered {
        self.require_session(&name, &session)?;
        let mut upload = self.begin(name, session, true)?;
        self.receive_blob(&mut upload, chunk, digest, client, body)
    }

    /// Receives the rest of a blob and keeps the whole.
    fn receive_blob(
        &self,
        upload: &mut Upload,
        chunk: Option<ChunkRange>,
        digest: Digest,
        client: &Client,
        body: &mut dyn Body,
    ) -> Answered {
        let received = self.receive_whole(upload, chunk, &digest, client, body)?;
        let pins = self
            .background
            .pins(&digest, received.content.size(), received.cid);
        self.store.put_blob(NewBlob {
            repository: upload.repository.clone(),
            digest,
            content: received.content,
            session: upload.session.clone(),
            ends_session: upload.is_open,
            actor: None,
            pins,
        })?;
        let location = self.url(&format!("{}/blobs/{digest}", upload.repository));
        self.acknowledge(&digest, Response::created(location, &digest))
    }

    pub(super) fn cancel_upload(&self, name: Repository, session: String) -> Answered {
        let mut upload = self.begin(name.clone(), session.clone(), true)?;
        let id = session.clone();
        if !self.store.note(move |tx| upload::end(tx, &name, &id))? {
            return Err(Refusal::BlobUploadUnknown.into());
        }
        self.drop_bytes(&mut upload);
        Ok(Response::upload_cancelled(&session).into())
    }

    fn require_session(&self, name: &Repository, session: &str) -> Outcome<()> {
        match self.store.read(|tx| upload::is_open(tx, name, session))? {
            true => Ok(()),
            false => Err(Refusal::BlobUploadUnknown.into()),
        }
    }

    fn upload_url(&self, name: &Repository, session: &str) -> String {
        self.url(&format!("{name}/blobs/uploads/{session}"))
    }
}
