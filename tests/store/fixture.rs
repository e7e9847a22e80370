//! A store in a folder, and what is put there without a server.

use std::path::Path;
use std::sync::Arc;

use lighthouse::disk::Root;
use lighthouse::oci::{Algorithm, Digest, Manifest, Reference, Repository, Tag};
use lighthouse::store::blob::{Content, NewBlob};
use lighthouse::store::manifest::NewManifest;
use lighthouse::store::{Failure, Store, upload};
use tempfile::TempDir;

/// A store in a folder of its own.
pub struct Fixture {
    pub dir: TempDir,
    pub store: Store,
}

/// More sessions than a test begins.
const MANY: upload::Limits = upload::Limits {
    total: 1000,
    of_client: 1000,
};

pub fn repository(name: &str) -> Repository {
    name.parse().expect("a name")
}

pub fn tag(name: &str) -> Tag {
    name.parse().expect("a tag")
}

pub fn tagged(name: &str) -> Reference {
    Reference::Tag(tag(name))
}

pub fn digest(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

/// A manifest of these bytes that needs nothing, under a tag.
pub fn manifest(name: &str, bytes: &[u8], tags: &[&str]) -> NewManifest {
    NewManifest {
        repository: repository(name),
        digest: digest(bytes),
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        content: Content::Bytes(bytes.into()),
        referrer: None,
        needs: Vec::new(),
        required: Vec::new(),
        tags: tags.iter().map(|name| tag(name)).collect(),
        actor: None,
        pins: Vec::new(),
    }
}

/// A manifest of these bytes as a client pushes it: with all that it needs and refers to.
pub fn pushed(name: &str, media_type: &str, bytes: &[u8], tags: &[&str]) -> NewManifest {
    let parsed = Manifest::parse(bytes, Some(media_type)).expect("a manifest");
    let named = parsed.blobs.iter().chain(&parsed.manifests);
    let needs: Vec<Digest> = named.map(|descriptor| descriptor.digest).collect();
    let subject = parsed.subject.as_ref().map(|subject| subject.digest);
    let size = bytes.len() as u64;
    NewManifest {
        media_type: media_type.into(),
        referrer: subject.map(|subject| (subject, parsed.as_referrer(digest(bytes), size))),
        required: needs.clone(),
        needs,
        ..manifest(name, bytes, tags)
    }
}

impl Fixture {
    pub fn new() -> Fixture {
        let dir = TempDir::new().expect("a folder");
        let store = open(dir.path());
        Fixture { dir, store }
    }

    /// As after a restart.
    pub fn reopen(self) -> Fixture {
        drop(self.store);
        let store = open(self.dir.path());
        Fixture {
            dir: self.dir,
            store,
        }
    }

    pub fn start_upload(&self, name: &str, session: &str) {
        start_upload(&self.store, name, session);
    }

    /// Pushes a blob of these bytes; in a file, where they are many.
    pub fn push(&self, name: &str, bytes: &[u8]) -> Result<Digest, Failure> {
        push(&self.store, name, bytes)
    }
}

/// Opens the store of a root directory, which is made if need be.
pub fn open(root: &Path) -> Store {
    std::fs::create_dir_all(root).expect("a folder");
    let root = Root::open(root).expect("a root");
    Store::open(&root, None).expect("a store")
}

fn start_upload(store: &Store, name: &str, session: &str) {
    let (id, repository) = (session.to_owned(), repository(name));
    let started = store.note(move |tx| upload::start(tx, &id, &repository, "127.0.0.1", MANY));
    started.expect("a session");
}

/// Pushes a blob of these bytes; in a file, where they are many.
pub fn push(store: &Store, name: &str, bytes: &[u8]) -> Result<Digest, Failure> {
    let session = uuid::Uuid::new_v4().to_string();
    start_upload(store, name, &session);
    let content = match bytes.len() as u64 <= lighthouse::store::ROW_SIZE_MAX {
        true => Content::Bytes(Arc::from(bytes)),
        false => {
            let path = store.files().upload_path(&session);
            std::fs::write(path, bytes).expect("written");
            Content::File(bytes.len() as u64)
        }
    };
    let digest = digest(bytes);
    store.put_blob(NewBlob {
        repository: repository(name),
        digest,
        content,
        session,
        ends_session: true,
        actor: None,
        pins: Vec::new(),
    })?;
    Ok(digest)
}
