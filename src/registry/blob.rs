//! Blobs: pulling and deleting them (distribution-spec, "Pulling blobs", "Deleting Blobs").

use std::fs::File;

use super::{Answer, Answered, Registry};
use crate::oci::request::Wanted;
use crate::oci::{Digest, Refusal, Repository, Response};
use crate::store::blob::{self, Blob, Place};
use crate::store::{Verifying, sqlite};

/// How often the catalog notes that a client was told that a blob is here, in milliseconds.
const TOUCH_INTERVAL_MS: i64 = 60 * 60 * 1000;

impl Registry {
    pub(super) fn get_blob(&self, name: &Repository, digest: &Digest, wanted: &Wanted) -> Answered {
        let unknown = || Refusal::BlobUnknown(*digest);
        let found = self.store.find_blob(name, digest)?.ok_or_else(unknown)?;
        if wanted.head_only && found.place == Place::Missing {
            // Whoever asks in order to push has to.
            return Err(unknown().into());
        }
        if wanted.has(digest) {
            return Ok(Response::not_modified(digest).into());
        }
        let part = wanted
            .range
            .map(|range| range.within(found.size))
            .transpose()?;
        let cid = self.cid(digest)?;
        let head = Response::blob(digest, found.size, part).with_cid(cid.as_deref());
        if wanted.head_only {
            self.touch(&found);
            return Ok(head.into());
        }
        let (offset, length) = part.unwrap_or((0, found.size));
        if self.has_network() && found.place == Place::File {
            // Not to know it costs the copy a place in its queue.
            let _ = self.store.note_use(digest);
        }
        match found.place {
            Place::File => {
                let Some(opened) = self.store.read_file(found.id, digest, found.size)? else {
                    // It was lost, or left for the network, since it was found here.
                    return match self.store.find_blob(name, digest)?.map(|blob| blob.place) {
                        Some(Place::Network | Place::Missing) => {
                            self.answer_from_network(digest, found.size, wanted)
                        }
                        _ => Err(unknown().into()),
                    };
                };
                answer_from_file(opened, head, part, found.size)
            }
            Place::Row => {
                let bytes = self
                    .store
                    .blob_bytes(found.id, digest)?
                    .ok_or_else(unknown)?;
                let part = &bytes[offset as usize..(offset + length) as usize];
                Ok(head.with_body(part).into())
            }
            Place::Network | Place::Missing => self.answer_from_network(digest, found.size, wanted),
            Place::Nowhere => Err(unknown().into()),
        }
    }

    /// A client that was told that a blob is here counts on it.
    fn touch(&self, blob: &Blob) {
        if sqlite::now() - blob.touched_at > TOUCH_INTERVAL_MS {
            let id = blob.id;
            // Not to know it costs a part of the grace.
            let _ = self.store.note(move |tx| blob::touch(tx, id));
        }
    }

    pub(super) fn delete_blob(&self, name: Repository, digest: Digest) -> Answered {
        self.store
            .remove(move |tx| blob::delete(tx, &name, &digest, None))?;
        Ok(Response::deleted().into())
    }
}

/// A file that is verified, or is while it is read.
fn answer_from_file(
    opened: Result<File, Verifying>,
    head: Response,
    part: Option<(u64, u64)>,
    size: u64,
) -> Answered {
    let (offset, length) = part.unwrap_or((0, size));
    let file = match (opened, part) {
        (Ok(file), _) => file,
        // A part says nothing of the whole, which is read behind it.
        (Err(unverified), Some(_)) => unverified.later()?,
        (Err(body), None) => {
            return Ok(Answer::Stream {
                head,
                body: Box::new(body),
                length,
            });
        }
    };
    Ok(Answer::File {
        head,
        file,
        offset,
        length,
    })
}
