//! Estuary: where content is added, pinned, and dealt to Filecoin miners.
//!
//! A main node (`https://api.estuary.tech`, or one's own) knows contents and deals; shuttles take
//! the bytes. Its API is described at <https://docs.estuary.tech>; a content's id is called
//! `estuaryId` when it is added and `requestid` among the pins.
//!
//! Every upload makes a new content, even of the same bytes. So whoever tries again first looks
//! for a content that is still alive, by id with [`Estuary::content`] or, if the answer to the
//! upload was lost, by name with [`Estuary::find`].

mod reply;

use crate::cid::Cid;
use crate::fault::{Fault, Neighbour, Trouble};
use crate::outward::{Line, Parcel, Patience, authorization, fault_within};
pub use reply::{Content, Deal, DealState, PinState, Viewer};
use std::io::Read;
use std::net::IpAddr;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue};
use ureq::http::{Response, Uri};
use ureq::{Body, RequestBuilder, SendBody};

/// Most contents that [`Estuary::find`] gives: enough for one name, little enough for one reply.
const FOUND_MAX: &str = "100";

/// One account at Estuary.
#[derive(Debug)]
pub struct Estuary {
    line: Line,
    url: String,
    shuttles: Vec<String>,
    authorization: HeaderValue,
}

/// What to add. It is opened once for each shuttle that is tried.
pub struct Upload<'a> {
    /// Its name at Estuary: the hex of its digest, so that it can be found again.
    pub name: &'a str,
    /// Its length in bytes.
    pub size: u64,
    /// The CID that Estuary must give it.
    pub cid: Cid,
    /// Opens it at its first byte. A read error may carry a [`Fault`] within.
    pub open: &'a dyn Fn() -> Result<Box<dyn Read>, Fault>,
}

impl Estuary {
    /// An account at the main node `url`, with its API key. Content goes to `shuttles` (URLs), in
    /// their order, or if there are none to those that the main node names. A key for uploads only
    /// can add, and ask what is pinned and for deals; the rest is [`Trouble::Forbidden`] to it.
    pub fn new(url: &str, shuttles: &[String], token: &str) -> Result<Estuary, Fault> {
        let line = Line::new(Neighbour::Estuary);
        let unusable = Trouble::Unauthorized("a token that no header can carry".into());
        let authorization =
            authorization(&format!("Bearer {token}")).ok_or_else(|| line.fault(url, unusable))?;
        let url = url.trim_end_matches('/').to_string();
        let shuttles = shuttles.iter().map(|shuttle| add_url(shuttle)).collect();
        Ok(Estuary {
            line,
            url,
            shuttles,
            authorization,
        })
    }

    /// Adds content and gives its id. Estuary answers before the content is pinned.
    ///
    /// Shuttles are tried in turn as long as it is certain that none has taken the content; after
    /// a time-out or a 5xx at the end of an upload it is not, and the fault is given at once. A
    /// CID other than ours is [`Trouble::Lied`].
    pub fn add(&self, upload: &Upload) -> Result<u64, Fault> {
        let mut shuttles = self.shuttles()?.into_iter().peekable();
        while let Some(shuttle) = shuttles.next() {
            match self.add_at(&shuttle, upload) {
                Ok(id) => return Ok(id),
                Err((fault, Taken::No)) if shuttles.peek().is_some() => {
                    log::warn!("{fault}; trying the next shuttle");
                }
                Err((fault, _)) => return Err(fault),
            }
        }
        unreachable!("shuttles() gives at least one, and the last one returns")
    }

    /// A content of this account by its id; `None` if it is not, or no longer, there.
    pub fn content(&self, id: u64) -> Result<Option<Content>, Fault> {
        let url = format!("{}/pinning/pins/{id}", self.url);
        let asked = self.signed(self.line.get(&url, Patience::QUESTION)).call();
        let response = match self.answered(&url, asked) {
            Err(Fault::Neighbour {
                trouble: Trouble::Missing(_),
                ..
            }) => return Ok(None),
            answered => answered?,
        };
        let status: reply::PinStatus = self.line.json(&url, response)?;
        let content = Content::try_from(status);
        content
            .map(Some)
            .map_err(|why| self.line.fault(&url, Trouble::Protocol(why)))
    }

    /// The contents of this account by their exact name, newest first, in whatever state. For
    /// recovery only: Estuary lets several contents have one name, so compare their CIDs.
    pub fn find(&self, name: &str) -> Result<Vec<Content>, Fault> {
        let url = format!("{}/pinning/pins", self.url);
        // No status is asked for: Estuary mixes up sets of them and, unlike other pinning
        // services, then gives contents in all states.
        let asked = self.line.get(&url, Patience::QUESTION).query("name", name);
        let asked = self.signed(asked.query("limit", FOUND_MAX)).call();
        let response = self.answered(&url, asked)?;
        let list: reply::PinList = self.line.json(&url, response)?;
        let contents = list
            .results
            .into_iter()
            .filter_map(|status| status.try_into().ok());
        Ok(contents
            .filter(|content: &Content| content.name == name)
            .collect())
    }

    /// The Filecoin deals that hold this CID, whoever's content they were made for; those of an
    /// aggregate count for each content in it.
    pub fn deals(&self, cid: &Cid) -> Result<Vec<Deal>, Fault> {
        let rows = self.by_cid(cid)?.into_iter();
        let mut deals: Vec<_> = rows.flat_map(reply::ByCid::deals).collect();
        deals.sort_by_key(|deal| deal.id);
        deals.dedup_by_key(|deal| deal.id);
        Ok(deals)
    }

    /// Whether a content is pinned, and on Estuary's disks. Unlike [`Estuary::content`], a key for
    /// uploads only may ask; but what is not pinned yet is not told from what failed.
    pub fn is_pinned(&self, id: u64, cid: &Cid) -> Result<bool, Fault> {
        Ok(self.by_cid(cid)?.iter().any(|row| row.is_readable(id)))
    }

    /// What is pinned under a CID, whoever's it is. The public form says the same as the other and
    /// needs no token.
    fn by_cid(&self, cid: &Cid) -> Result<Vec<reply::ByCid>, Fault> {
        let url = format!("{}/public/by-cid/{cid}", self.url);
        let response = self.answered(&url, self.line.get(&url, Patience::QUESTION).call())?;
        self.line.json(&url, response)
    }

    /// Gives a content up. One that is not there is no fault. Deals that were made stay.
    pub fn unpin(&self, id: u64) -> Result<(), Fault> {
        let url = format!("{}/pinning/pins/{id}", self.url);
        let asked = self
            .signed(self.line.delete(&url, Patience::QUESTION))
            .call();
        match self.answered(&url, asked) {
            Err(Fault::Neighbour {
                trouble: Trouble::Missing(_),
                ..
            }) => Ok(()),
            answered => answered.map(|_| ()),
        }
    }

    /// Who we are to Estuary, which also proves the token.
    pub fn viewer(&self) -> Result<Viewer, Fault> {
        let url = format!("{}/viewer", self.url);
        let asked = self.signed(self.line.get(&url, Patience::QUESTION)).call();
        let response = self.answered(&url, asked)?;
        self.line.json(&url, response)
    }

    /// Whether the main node is up; the token is not looked at.
    pub fn health(&self) -> Result<(), Fault> {
        let url = format!("{}/health", self.url);
        self.answered(&url, self.line.get(&url, Patience::QUESTION).call())
            .map(|_| ())
    }

    /// Where content can be added, at least one URL: what the configuration names, else what the
    /// main node names and [`is_trusted`], else the main node.
    fn shuttles(&self) -> Result<Vec<String>, Fault> {
        if !self.shuttles.is_empty() {
            return Ok(self.shuttles.clone());
        }
        let named = self.viewer()?.upload_endpoints;
        let (mut trusted, others): (Vec<_>, Vec<_>) = named
            .into_iter()
            .partition(|endpoint| is_trusted(endpoint, &self.url));
        for other in others {
            let fault = self
                .line
                .fault(&other, Trouble::Protocol("unfit for a token".into()));
            log::warn!("{fault}; Estuary names it as a shuttle");
        }
        if trusted.is_empty() {
            trusted.push(add_url(&self.url));
        }
        Ok(trusted)
    }

    fn add_at(&self, url: &str, upload: &Upload) -> Result<u64, (Fault, Taken)> {
        let content = (upload.open)().map_err(|fault| (fault, Taken::Unknown))?;
        let mut parcel = Parcel::new("data", upload.name, content, upload.size);
        let asked = self
            .signed(self.line.post(url, Patience::upload(upload.size)))
            .header(CONTENT_TYPE, parcel.content_type())
            .header(CONTENT_LENGTH, parcel.size())
            // Else a refusal is lost, because the server closes while we still send.
            .header(EXPECT, "100-continue")
            .send(SendBody::from_reader(&mut parcel));
        let answered = self.answered(url, asked);
        let is_sent = parcel.is_sent();
        if let Some(error) = parcel.into_failure() {
            let fault = fault_within(error, |error| Fault::disk("read", upload.name, error));
            return Err((fault, Taken::Unknown));
        }
        let response = answered.map_err(|fault| {
            let taken = Taken::after(&fault, is_sent);
            (fault, taken)
        })?;
        let added: reply::Added = self
            .line
            .json(url, response)
            .map_err(|fault| (fault, Taken::Unknown))?;
        match added.cid.parse::<Cid>() {
            Ok(cid) if cid.same_content(&upload.cid) => Ok(added.id),
            _ => {
                let (expected, received) = (upload.cid.to_string(), added.cid);
                let lied = self.line.fault(url, Trouble::Lied { expected, received });
                Err((lied, Taken::Unknown))
            }
        }
    }

    fn signed<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        request.header(AUTHORIZATION, &self.authorization)
    }

    /// The answer to what was asked, with Estuary's own codes for what HTTP has a status for.
    fn answered(
        &self,
        url: &str,
        asked: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Fault> {
        self.line.answered(url, asked).map_err(|fault| match fault {
            Fault::Neighbour {
                trouble:
                    Trouble::Overloaded {
                        status: 500,
                        reason,
                    },
                ..
            } if reason.contains("ERR_NOT_AUTHORIZED") => {
                self.line.fault(url, Trouble::Forbidden(reason))
            }
            Fault::Neighbour {
                trouble: Trouble::Refused { reason, .. },
                ..
            } if reason.contains("ERR_CONTENT_SIZE_OVER_LIMIT") => {
                self.line.fault(url, Trouble::TooLarge(reason))
            }
            fault => fault,
        })
    }
}

/// Whether a shuttle that failed may have taken the content nevertheless.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    No,
    /// It may have, or another shuttle would fail in the same way.
    Unknown,
}

impl Taken {
    fn after(fault: &Fault, is_sent: bool) -> Taken {
        let Fault::Neighbour { trouble, .. } = fault else {
            return Taken::Unknown;
        };
        match trouble {
            Trouble::Refused { .. } | Trouble::Missing(_) | Trouble::RateLimited(_) => Taken::No,
            Trouble::Unreachable(_) | Trouble::Overloaded { .. } if !is_sent => Taken::No,
            _ => Taken::Unknown,
        }
    }
}

/// Where a node adds content; `url` may be its base or that address already.
fn add_url(url: &str) -> String {
    let url = url.trim_end_matches('/');
    match url.ends_with("/content/add") {
        true => url.to_string(),
        false => format!("{url}/content/add"),
    }
}

/// Whether the token may go to a shuttle that the main node names: by a line no less private than
/// the one to the main node, and not to an address that only means something on this machine's own
/// link, where clouds keep their machines' credentials.
fn is_trusted(endpoint: &str, main: &str) -> bool {
    let (Ok(endpoint), Ok(main)) = (endpoint.parse::<Uri>(), main.parse::<Uri>()) else {
        return false;
    };
    let is_private = match endpoint.scheme_str() {
        Some("https") => true,
        Some("http") => main.scheme_str() == Some("http"),
        _ => false,
    };
    let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_link_local = match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_unicast_link_local(),
        Err(_) => false,
    };
    let has_password = endpoint
        .authority()
        .is_some_and(|one| one.as_str().contains('@'));
    is_private && !is_link_local && !has_password && !host.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_travels_only_where_the_main_node_may_send_it() {
        let (https, http) = ("https://api.test", "http://127.0.0.1:3004");
        for (endpoint, main, trusted) in [
            ("https://shuttle-4.test/content/add", https, true),
            ("http://shuttle-4.test/content/add", https, false),
            ("http://127.0.0.1:3005/content/add", http, true),
            ("https://shuttle-4.test/content/add", http, true),
            ("https://169.254.169.254/content/add", https, false),
            ("https://[fe80::1]/content/add", https, false),
            ("https://me:key@shuttle-4.test/content/add", https, false),
            ("ftp://shuttle-4.test/content/add", http, false),
            ("shuttle-4.test/content/add", https, false),
            ("", https, false),
        ] {
            assert_eq!(
                is_trusted(endpoint, main),
                trusted,
                "{endpoint} from {main}"
            );
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let estuary = Estuary::new("https://api.test", &[], "ESTsecretARY").expect("a token");
        assert!(!format!("{estuary:?}").contains("secret"));
        let fault = Estuary::new("https://api.test", &[], "ESTsecret\nARY").expect_err("a line");
        assert!(!format!("{fault} {fault:?}").contains("secret"));
    }
}
