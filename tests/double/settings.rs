//! What the double can be told.

use serde::Deserialize;

/// The body of `POST /double`; what it leaves out has its default.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long a content is queued, and then pinning.
    pub queued_ms: u64,
    pub pinning_ms: u64,
    /// Contents end as failed instead of pinned.
    pub fails: bool,
    /// Pinned contents have a deal: `none`, `published`, `active` or `slashed`.
    pub deals: String,
    /// Where the gateway sends those who ask for what is not here (without `/ipfs/…`).
    pub elsewhere: String,
    /// What `/viewer` names; by default the shuttles and then the main node.
    pub upload_endpoints: Option<Vec<String>>,
    /// Larger uploads are refused.
    pub size_max: u64,
    /// The first entry that fits a request, and has times left, is done to it.
    pub faults: Vec<Order>,
}

/// When to fail, and how.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// `add`, `gateway`, `viewer`, `health`, `pins` or `by-cid`.
    on: String,
    /// Only at this server: 0 is the main node, then come the shuttles.
    server: Option<usize>,
    /// How many times; left out, always.
    times: Option<u64>,
    fault: Fault,
}

/// How to fail.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers with this status at once.
    Status(u16),
    /// Takes an upload, makes its content, and then answers with this status, as a proxy in front
    /// does that lost its patience.
    StatusLate(u16),
    /// Answers with this status and text at once.
    Body(u16, String),
    /// Redirects there.
    Redirect(String),
    /// Never answers.
    Hang,
    /// Cuts the connection without a word.
    Drop,
    /// Cuts the connection after so many bytes of the content, in or out.
    CutAfter(u64),
    /// Waits so long at every 64 KiB of the content, in or out.
    SlowMs(u64),
    /// Answers an upload with this CID.
    Cid(String),
    /// Gives content with one byte changed.
    Flip,
    /// Gives content without its last byte, as if it were whole.
    Shorten,
    /// Ignores a range and gives all.
    NoRange,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            queued_ms: 0,
            pinning_ms: 0,
            fails: false,
            deals: "none".into(),
            elsewhere: "https://dweb.invalid".into(),
            upload_endpoints: None,
            size_max: 34_000_000_000,
            faults: Vec::new(),
        }
    }
}

impl Settings {
    /// What is to go wrong with this request.
    pub fn fault(&mut self, route: &str, server: usize) -> Option<Fault> {
        let order = self.faults.iter_mut().find(|order| {
            order.on == route
                && order.server.is_none_or(|only| only == server)
                && order.times != Some(0)
        })?;
        order.times = order.times.map(|times| times - 1);
        Some(order.fault.clone())
    }
}

impl Fault {
    /// Whether it happens before anything else does.
    pub fn is_early(&self) -> bool {
        use Fault::*;
        matches!(self, Status(_) | Body(..) | Redirect(_) | Hang | Drop)
    }
}
