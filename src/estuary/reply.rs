//! What Estuary answers, in its JSON and in our types.

use crate::cid::Cid;
use serde::Deserialize;

/// A content: what one upload, or one pin, made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Estuary's number for it.
    pub id: u64,
    /// What it holds.
    pub cid: Cid,
    /// The name it was added with.
    pub name: String,
    /// How far it is.
    pub state: PinState,
}

/// How far a content is. Only a pinned one can be read from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinState {
    /// It waits.
    Queued,
    /// Its blocks are being taken over.
    Pinning,
    /// It is kept.
    Pinned,
    /// It could not be kept.
    Failed,
    /// It left Estuary's disks for Filecoin alone.
    Offloaded,
    /// A state that this registry does not know.
    #[serde(other)]
    Unknown,
}

impl PinState {
    /// Whether the content is kept, or is on the way to it: then it need not be added again.
    pub fn is_alive(self) -> bool {
        matches!(
            self,
            PinState::Queued | PinState::Pinning | PinState::Pinned
        )
    }
}

/// An agreement with a Filecoin miner to keep content, alone or within an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal {
    /// The miner's address, such as `f0123`.
    pub miner: String,
    /// The deal's number on the chain.
    pub id: u64,
    /// How far it is.
    pub state: DealState,
}

/// How far a deal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DealState {
    /// On the chain; the miner has not sealed the content yet.
    Published,
    /// Sealed: the miner proves daily that it keeps the content.
    Active,
    /// The miner was punished for not keeping it.
    Slashed,
    /// It came to nothing.
    Failed,
}

/// The account behind the token, as `GET /viewer` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "ViewerReply")]
pub struct Viewer {
    /// Its name.
    pub username: String,
    /// Where it may add content, best first.
    pub upload_endpoints: Vec<String>,
}

#[derive(Deserialize)]
struct ViewerReply {
    #[serde(default)]
    username: String,
    #[serde(default)]
    settings: Settings,
}

#[derive(Default, Deserialize)]
struct Settings {
    #[serde(rename = "uploadEndpoints")]
    upload_endpoints: Option<Vec<String>>,
}

impl From<ViewerReply> for Viewer {
    fn from(reply: ViewerReply) -> Viewer {
        let upload_endpoints = reply.settings.upload_endpoints.unwrap_or_default();
        Viewer {
            username: reply.username,
            upload_endpoints,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Added {
    pub cid: String,
    #[serde(rename = "estuaryId")]
    pub id: u64,
}

#[derive(Deserialize)]
pub(super) struct PinList {
    pub results: Vec<PinStatus>,
}

#[derive(Deserialize)]
pub(super) struct PinStatus {
    requestid: String,
    status: PinState,
    pin: Pin,
}

#[derive(Deserialize)]
struct Pin {
    cid: String,
    #[serde(default)]
    name: String,
}

impl TryFrom<PinStatus> for Content {
    type Error = String;

    fn try_from(reply: PinStatus) -> Result<Content, String> {
        let id = reply
            .requestid
            .parse()
            .map_err(|_| "a requestid that is no number")?;
        let cid = reply.pin.cid.parse().map_err(|error| format!("{error}"))?;
        Ok(Content {
            id,
            cid,
            name: reply.pin.name,
            state: reply.status,
        })
    }
}

/// A content that is pinned, and its deals.
#[derive(Deserialize)]
pub(super) struct ByCid {
    content: Row,
    deals: Option<Vec<ContentDeal>>,
}

#[derive(Deserialize)]
struct Row {
    id: u64,
    #[serde(default)]
    offloaded: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContentDeal {
    miner: String,
    deal_id: u64,
    #[serde(default)]
    failed: bool,
    #[serde(default)]
    slashed: bool,
    sealed_at: Option<String>,
}

impl ByCid {
    /// Whether it is the content of that id, and on Estuary's disks.
    pub fn is_readable(&self, id: u64) -> bool {
        self.content.id == id && !self.content.offloaded
    }

    pub fn deals(self) -> impl Iterator<Item = Deal> {
        let deals = self.deals.unwrap_or_default().into_iter();
        deals.map(|deal| Deal {
            state: deal.state(),
            miner: deal.miner,
            id: deal.deal_id,
        })
    }
}

impl ContentDeal {
    fn state(&self) -> DealState {
        // Go writes a time that is not set as that of year 1.
        let is_sealed = self
            .sealed_at
            .as_ref()
            .is_some_and(|time| !time.starts_with("0001-"));
        match self {
            ContentDeal { slashed: true, .. } => DealState::Slashed,
            ContentDeal { failed: true, .. } => DealState::Failed,
            _ if is_sealed => DealState::Active,
            _ => DealState::Published,
        }
    }
}
