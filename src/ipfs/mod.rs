//! The content networks: where blobs are uploaded and pinned ([`Network`]), and where they are read
//! again ([`Sources`]).
//!
//! Who pins may give content another name than its CID (Estuary gives it a number): that is the
//! *remote* id, which is kept beside the CID and handed in again.

mod object;
mod source;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use object::no_source;
pub use object::{Kept, Reached};
pub use source::Sources;

use crate::cid::{Cid, Import};
use crate::config::{Storage, Store};
use crate::estuary::{Estuary, PinState, Upload};
use crate::fault::{Fault, Neighbour, Trouble};
use crate::kubo::Kubo;

/// How long an upload may take to become a content after its last byte was sent.
const ARRIVAL: Duration = Duration::from_secs(5);
const ARRIVAL_SIZE_PER_SEC: u64 = 10_000_000;
/// How long a node may take to pin what it has.
const PIN_TIME_MAX: Duration = Duration::from_secs(30);

/// All that a configuration names.
pub struct Ipfs {
    /// Where blobs are pinned; none for a store that is only on disk.
    pub networks: Vec<Arc<Network>>,
    /// Where they are read again.
    pub sources: Sources,
}

impl Ipfs {
    /// The networks and gateways of a configuration. Nothing is asked of them yet.
    pub fn new(storage: &Storage) -> Result<Ipfs, Fault> {
        let network = match &storage.store {
            Store::Estuary(estuary) => {
                let shuttles: Vec<String> = estuary.shuttle_url.iter().cloned().collect();
                let token = estuary.auth_token.expose();
                let api = Estuary::new(&estuary.url, &shuttles, token)?;
                Some(Network::new("estuary", Api::Estuary(api)))
            }
            Store::Kubo(kubo) => {
                let authorization = kubo.authorization.as_ref().map(|secret| secret.expose());
                let api = Kubo::new(&kubo.api, authorization)?;
                Some(Network::new("kubo", Api::Kubo(api)))
            }
            Store::Filesystem { .. } | Store::Inmemory => None,
        };
        let networks: Vec<Arc<Network>> = network.into_iter().map(Arc::new).collect();
        let sources = Sources::new(storage, &networks);
        Ok(Ipfs { networks, sources })
    }
}

/// A content network that pins.
#[derive(Debug)]
pub struct Network {
    name: String,
    api: Api,
}

#[derive(Debug)]
enum Api {
    Estuary(Estuary),
    Kubo(Kubo),
}

/// Content on its way to a network.
#[derive(Clone, Copy, Debug)]
pub struct Content<'c> {
    /// Under which it can be found again: the hex of its digest.
    pub name: &'c str,
    /// Its length in bytes.
    pub size: u64,
    /// The CID that the network must give it.
    pub cid: Cid,
}

/// Opens content at its first byte, once for each place where it is tried.
pub type Opener<'o> = &'o dyn Fn() -> Result<Box<dyn Read>, Fault>;

/// How far content is that a network was given.
#[derive(Debug)]
pub enum Standing {
    /// It is kept.
    Pinned,
    /// It is on the way to be.
    Waiting,
    /// It will not be: it has to be uploaded again.
    Lost(Fault),
}

impl Network {
    fn new(name: &str, api: Api) -> Network {
        let name = name.to_owned();
        Network { name, api }
    }

    /// The name under which the catalog knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it cuts and links what it is given.
    pub fn import(&self) -> Import {
        match &self.api {
            Api::Estuary(_) => Import::ESTUARY,
            Api::Kubo(_) => Import::KUBO,
        }
    }

    /// Whether it answers.
    pub fn check(&self) -> Result<(), Fault> {
        match &self.api {
            Api::Estuary(estuary) => estuary.health(),
            Api::Kubo(kubo) => kubo.version().map(drop),
        }
    }

    /// Looks for content that an upload whose end is not known may have brought; its remote id.
    /// Where uploading once more makes nothing new, nothing is looked for.
    pub fn find(&self, content: &Content) -> Result<Option<String>, Fault> {
        let Api::Estuary(estuary) = &self.api else {
            return Ok(None);
        };
        match estuary.find(content.name) {
            Ok(found) => {
                let same = found
                    .iter()
                    .find(|found| found.cid.same_content(&content.cid) && found.state.is_alive());
                Ok(same.map(|found| found.id.to_string()))
            }
            // A key for uploads only can't look: then there is none that we know of.
            Err(fault) if is_forbidden(&fault) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// How long an upload of that size, which ended in silence, may take to be found.
    pub fn arrival_time(&self, size: u64) -> Duration {
        match &self.api {
            Api::Estuary(_) => ARRIVAL + Duration::from_secs(size / ARRIVAL_SIZE_PER_SEC),
            Api::Kubo(_) => Duration::ZERO,
        }
    }

    /// Uploads content; its remote id, where it has one. A CID other than ours is
    /// [`Trouble::Lied`]. After a fault of which [`may_be_taken`] says so, it may be there.
    pub fn upload(&self, content: &Content, open: Opener) -> Result<Option<String>, Fault> {
        let Content { name, size, cid } = *content;
        match &self.api {
            Api::Kubo(kubo) => {
                kubo.add(name, &cid, size, open()?)?;
                Ok(None)
            }
            Api::Estuary(estuary) => {
                let upload = Upload {
                    name,
                    size,
                    cid,
                    open,
                };
                estuary.add(&upload).map(|id| Some(id.to_string()))
            }
        }
    }

    /// Asks how far content is that was uploaded, and has it pinned where that takes asking.
    pub fn follow(&self, remote: Option<&str>, content: &Content) -> Result<Standing, Fault> {
        let estuary = match &self.api {
            Api::Kubo(kubo) => {
                if kubo.is_pinned(&content.cid)? {
                    return Ok(Standing::Pinned);
                }
                return match kubo.pin(&content.cid, content.name, PIN_TIME_MAX) {
                    Ok(()) => Ok(Standing::Pinned),
                    Err(fault) if fault.is_missing() => Ok(Standing::Lost(fault)),
                    Err(fault) => Err(fault),
                };
            }
            Api::Estuary(estuary) => estuary,
        };
        let id = id_of(remote).unwrap_or_default();
        let lost = match state_of(estuary, id, &content.cid)? {
            Some(PinState::Pinned | PinState::Offloaded) => return Ok(Standing::Pinned),
            Some(PinState::Queued | PinState::Pinning | PinState::Unknown) => {
                return Ok(Standing::Waiting);
            }
            Some(PinState::Failed) => "it could not be pinned",
            None => "it is gone",
        };
        let trouble = Trouble::Missing(lost.into());
        let fault = Fault::neighbour(Neighbour::Estuary, &format!("content {id}"), trouble);
        Ok(Standing::Lost(fault))
    }

    /// Whether it can pin what it was not given, by finding it with others.
    pub fn finds_elsewhere(&self) -> bool {
        matches!(self.api, Api::Kubo(_))
    }

    /// Whether it still keeps what is pinned, so that it can be read at once.
    pub fn keeps(&self, remote: Option<&str>, cid: &Cid) -> Result<bool, Fault> {
        match (&self.api, id_of(remote)) {
            (Api::Kubo(kubo), _) => kubo.is_pinned(cid),
            (Api::Estuary(_), None) => Ok(false),
            // What was offloaded can't be read until it is taken back from Filecoin.
            (Api::Estuary(estuary), Some(id)) => {
                Ok(state_of(estuary, id, cid)? == Some(PinState::Pinned))
            }
        }
    }

    /// A failure of this network's, in its name.
    pub fn fault(&self, on: &str, trouble: Trouble) -> Fault {
        let who = match &self.api {
            Api::Estuary(_) => Neighbour::Estuary,
            Api::Kubo(_) => Neighbour::Kubo,
        };
        Fault::neighbour(who, on, trouble)
    }
}

fn id_of(remote: Option<&str>) -> Option<u64> {
    remote?.parse().ok()
}

/// How far a content of that CID is; None if there is none. A key for uploads only can't ask, but
/// sees, as everybody does, what is pinned.
fn state_of(estuary: &Estuary, id: u64, cid: &Cid) -> Result<Option<PinState>, Fault> {
    match estuary.content(id) {
        Ok(content) => {
            let content = content.filter(|content| content.cid.same_content(cid));
            Ok(content.map(|content| content.state))
        }
        Err(fault) if is_forbidden(&fault) => Ok(Some(match estuary.is_pinned(id, cid)? {
            true => PinState::Pinned,
            false => PinState::Unknown,
        })),
        Err(fault) => Err(fault),
    }
}

fn is_forbidden(fault: &Fault) -> bool {
    matches!(trouble(fault), Some(Trouble::Forbidden(_)))
}

fn trouble(fault: &Fault) -> Option<&Trouble> {
    match fault {
        Fault::Neighbour { trouble, .. } => Some(trouble),
        _ => None,
    }
}

/// Whether a fault at the end of an upload, all of which was sent, leaves it open who has it.
pub fn may_be_taken(fault: &Fault) -> bool {
    matches!(
        trouble(fault),
        Some(Trouble::Unreachable(_) | Trouble::Overloaded { .. } | Trouble::Cut { .. })
    )
}

/// Whether a fault has nothing to do with what was sent. A 5xx may: it can come of a blob that is
/// too much for the one who takes it.
pub fn is_silence(fault: &Fault) -> bool {
    matches!(
        trouble(fault),
        Some(Trouble::Unreachable(_) | Trouble::RateLimited(_) | Trouble::Unauthorized(_))
    )
}

/// Whether a fault says that the network as a whole is down, or wants to be left alone.
pub fn is_outage(fault: &Fault) -> bool {
    is_silence(fault) || matches!(trouble(fault), Some(Trouble::Overloaded { .. }))
}

/// How long a network asked to be left alone; zero if it did not.
pub fn asked_for(fault: &Fault) -> Duration {
    match trouble(fault) {
        Some(Trouble::RateLimited(Some(wait))) => *wait,
        _ => Duration::ZERO,
    }
}
