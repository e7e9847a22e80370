//! What the content networks have to do with a request.

use std::time::Duration;

use super::answer::Answer;
use super::{Answered, Registry};
use crate::cid::Cid;
use crate::config::Acknowledge;
use crate::fault::Fault;
use crate::oci::request::Wanted;
use crate::oci::{Digest, Refusal, Response};
use crate::store::Outcome;
use crate::store::pin;

/// When a client should push again what could not be pinned.
const REPUSH: Duration = Duration::from_secs(30);

impl Registry {
    /// Whether what is pushed goes to a network, so that its CID is wanted.
    pub(super) fn has_network(&self) -> bool {
        !self.background.ipfs().networks.is_empty()
    }

    /// The CID of content that is here, if it is known.
    pub(super) fn cid(&self, digest: &Digest) -> Outcome<Option<String>> {
        if !self.has_network() {
            return Ok(None);
        }
        let pins = self.store.read(|tx| pin::of_digest(tx, digest))?;
        Ok(pins.into_iter().find_map(|pin| pin.cid))
    }

    /// The answer to a push of what is kept now. Networks take it up, and where a push is
    /// acknowledged only when they keep it, they are waited for: what they can't pin is answered
    /// with 503 and the cause.
    pub(super) fn acknowledge(&self, digest: &Digest, response: Response) -> Answered {
        self.background.wake_pins();
        let travels = self.config.storage.store.network();
        if travels.is_some_and(|travels| travels.acknowledge == Acknowledge::Pinned) {
            match self.background.await_pinned(digest) {
                Err(fault @ Fault::Neighbour { .. }) => return Ok(not_yet_pinned(&fault).into()),
                awaited => awaited?,
            }
        }
        Ok(response.with_cid(self.cid(digest)?.as_deref()).into())
    }

    /// Answers for a blob that is on a network alone: from what is known of it, from a gateway that
    /// the client is sent to, or through this registry.
    pub(super) fn answer_from_network(
        &self,
        digest: &Digest,
        size: u64,
        wanted: &Wanted,
    ) -> Answered {
        let part = wanted.range.map(|range| range.within(size)).transpose()?;
        let cid = self.cid(digest)?;
        let head = Response::blob(digest, size, part).with_cid(cid.as_deref());
        if wanted.head_only {
            return Ok(head.into());
        }
        let gateways = self.background.ipfs().sources.gateways();
        let takes_clients = |place: usize| self.background.health().takes_clients(place);
        let open = (0..gateways.len()).find(|place| takes_clients(*place));
        if let (Some(place), Some(cid), true) = (open, &cid, self.config.storage.redirect) {
            let parsed: Cid = cid.parse().map_err(|_| Refusal::BlobUnknown(*digest))?;
            let elsewhere = Response::elsewhere(digest, &gateways[place].url(&parsed));
            return Ok(elsewhere.with_cid(Some(cid)).into());
        }
        let mut fetched = self.background.fetch(digest, size)?;
        match part {
            Some((offset, length)) => {
                let file = fetched.verified()?.try_clone();
                let file = file.map_err(|err| Fault::disk("open", digest.to_string(), err))?;
                Ok(Answer::File {
                    head,
                    file,
                    offset,
                    length,
                })
            }
            None => {
                // A failure before the first bytes can still be told.
                fetched.begun()?;
                Ok(Answer::Stream {
                    head,
                    body: Box::new(fetched),
                    length: size,
                })
            }
        }
    }
}

/// Whatever the cause is: what was pushed is here, and is tried again.
fn not_yet_pinned(fault: &Fault) -> Response {
    let cause = fault.summary();
    let cause = format!("{cause}; what was sent is safe on the registry's disk");
    Response::fault(503, &cause, Some(REPUSH))
}
