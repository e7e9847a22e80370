//! Kubo: an IPFS node of one's own, spoken to by its RPC
//! (<https://docs.ipfs.tech/reference/kubo/rpc/>).
//!
//! IPFS Cluster's proxy speaks the same, with deviations that are met here. A status of 200 is no
//! proof, since a node may fail after it began its answer: what counts is the last line of an
//! answer, its CID, and the number of bytes. Most of what fails is a 500, and only words tell what.

use crate::cid::{Cid, Import, Version};
use crate::fault::{Fault, Neighbour, Trouble};
use crate::outward::{Incoming, Line, Parcel, Patience, authorization, fault_within};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::time::Duration;
use ureq::http::Response;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue};
use ureq::typestate::WithBody;
use ureq::{Body, RequestBuilder, SendBody};

/// A node that speaks Kubo's RPC.
#[derive(Debug)]
pub struct Kubo {
    line: Line,
    api: String,
    authorization: Option<HeaderValue>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeVersion {
    /// Its version, such as `0.39.0`.
    pub version: String,
}

impl Kubo {
    /// The node whose RPC answers at `api`, such as `http://127.0.0.1:5001`, with the value of an
    /// `Authorization` header if it asks for one (`Bearer …` or `Basic …`).
    pub fn new(api: &str, authorization_text: Option<&str>) -> Result<Kubo, Fault> {
        let line = Line::new(Neighbour::Kubo);
        let base = api.trim_end_matches('/').trim_end_matches("/api/v0");
        let api = format!("{base}/api/v0");
        let authorization = match authorization_text.map(authorization) {
            Some(None) => {
                let unusable = "an authorization that no header can carry".into();
                return Err(line.fault(&api, Trouble::Unauthorized(unusable)));
            }
            value => value.flatten(),
        };
        Ok(Kubo {
            line,
            api,
            authorization,
        })
    }

    /// Adds and pins the `size` bytes of `content`, which must get the CID that we computed with
    /// [`Import::KUBO`]; another one is [`Trouble::Lied`]. The pin is called `name`, where the
    /// node names pins. A read error of the content may carry a [`Fault`] within.
    pub fn add(&self, name: &str, cid: &Cid, size: u64, content: impl Read) -> Result<(), Fault> {
        let url = format!("{}/add", self.api);
        let mut parcel = Parcel::new("file", name, content, size);
        let asked = self
            .signed(self.line.post(&url, Patience::upload(size)))
            .query_pairs(IMPORT)
            .query("chunker", format!("size-{}", Import::KUBO.chunk_size))
            .query("max-file-links", Import::KUBO.links_max.to_string())
            .query("pin-name", name)
            .header(CONTENT_TYPE, parcel.content_type())
            .header(CONTENT_LENGTH, parcel.size())
            // Else a refusal is lost, because the node closes while we still send.
            .header(EXPECT, "100-continue")
            .send(SendBody::from_reader(&mut parcel));
        let answered = self.answered(&url, asked);
        if let Some(error) = parcel.into_failure() {
            return Err(fault_within(error, |error| {
                Fault::disk("read", name, error)
            }));
        }
        let body = self.line.body(&url, answered?)?;
        let received = last_hash(&body).map_err(|trouble| self.line.fault(&url, trouble))?;
        match received.parse::<Cid>() {
            Ok(other) if other.same_content(cid) => Ok(()),
            _ => {
                let trouble = Trouble::Lied {
                    expected: cid.to_string(),
                    received,
                };
                Err(self.line.fault(&url, trouble))
            }
        }
    }

    /// Pins what the node has or can fetch within `wait`.
    pub fn pin(&self, cid: &Cid, name: &str, wait: Duration) -> Result<(), Fault> {
        let url = format!("{}/pin/add", self.api);
        let patience = Patience {
            answer: wait + Duration::from_secs(10),
            body: Some(wait),
        };
        let asked = self
            .signed(self.line.post(&url, patience))
            .query("arg", cid.to_string())
            .query("name", name)
            .query("recursive", "true")
            .query("timeout", format!("{}s", wait.as_secs()))
            .send_empty();
        let response = self.answered(&url, asked)?;
        let pinned: Pinned = self.line.json(&url, response)?;
        let same = |text: &String| text.parse().is_ok_and(|pin: Cid| pin.same_content(cid));
        match pinned.pins.iter().any(same) {
            true => Ok(()),
            false => {
                let (expected, received) = (cid.to_string(), pinned.pins.join(", "));
                Err(self.line.fault(&url, Trouble::Lied { expected, received }))
            }
        }
    }

    /// Whether the node keeps all of this content: it is pinned recursively, or part of what is.
    /// A node that can't find out, within half a minute or for want of other blocks, is taken to
    /// say no, which costs a second pin and never the content.
    pub fn is_pinned(&self, cid: &Cid) -> Result<bool, Fault> {
        let url = format!("{}/pin/ls", self.api);
        let asked = self
            .signed(self.line.post(&url, Patience::QUESTION))
            .query("arg", cid.to_string())
            .query("type", "all")
            .query("timeout", "25s")
            .send_empty();
        let response = match self.answered(&url, asked) {
            Err(fault) if is_not_pinned(&fault) || fault.is_missing() => return Ok(false),
            answered => answered?,
        };
        let Keys { keys } = self.line.json(&url, response)?;
        let holds = |(key, pin): (&String, &Pin)| {
            key.parse().is_ok_and(|pin: Cid| pin.same_content(cid)) && pin.is_whole()
        };
        Ok(keys.iter().any(holds))
    }

    /// Gives a pin up. One that is not there is no fault.
    pub fn unpin(&self, cid: &Cid) -> Result<(), Fault> {
        let url = format!("{}/pin/rm", self.api);
        let asked = self
            .signed(self.line.post(&url, Patience::QUESTION))
            .query("arg", cid.to_string())
            .query("recursive", "true")
            .send_empty();
        match self.answered(&url, asked) {
            Err(fault) if is_not_pinned(&fault) => Ok(()),
            answered => answered.map(|_| ()),
        }
    }

    /// The bytes of a file from `range.start` up to `range.end`, which must lie within it.
    pub fn cat(&self, cid: &Cid, range: Range<u64>) -> Result<Incoming, Fault> {
        let url = format!("{}/cat", self.api);
        let size = range.end - range.start;
        let request = self
            .signed(self.line.post(&url, Patience::DOWNLOAD))
            .query("arg", cid.to_string())
            .query("offset", range.start.to_string())
            .query("length", size.to_string());
        let asked = request.send_empty();
        let response = self.answered(&url, asked)?;
        Ok(self.line.incoming(&url, response, size))
    }

    /// The length of a file in bytes.
    pub fn size(&self, cid: &Cid) -> Result<u64, Fault> {
        let url = format!("{}/files/stat", self.api);
        let asked = self
            .signed(self.line.post(&url, Patience::QUESTION))
            .query("arg", format!("/ipfs/{cid}"))
            .query("timeout", "25s")
            .send_empty();
        let response = self.answered(&url, asked)?;
        self.line.json(&url, response).map(|stat: Stat| stat.size)
    }

    /// The node's version, which also proves that it is up.
    pub fn version(&self) -> Result<NodeVersion, Fault> {
        let url = format!("{}/version", self.api);
        let asked = self
            .signed(self.line.post(&url, Patience::QUESTION))
            .send_empty();
        let response = self.answered(&url, asked)?;
        self.line.json(&url, response)
    }

    /// The node's answer, if its status is of the 200s, or what it means by another.
    fn answered(
        &self,
        url: &str,
        asked: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Fault> {
        let answered = self.line.answered(url, asked);
        answered.map_err(|fault| match fault {
            Fault::Neighbour { who, url, trouble } => Fault::Neighbour {
                who,
                url,
                trouble: meant(trouble),
            },
            other => other,
        })
    }

    fn signed(&self, request: RequestBuilder<WithBody>) -> RequestBuilder<WithBody> {
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }
}

/// What every `add` asks for, as [`Import::KUBO`] says: the node's own configuration could change
/// any parameter that is left out.
const IMPORT: [(&str, &str); 8] = [
    ("cid-version", "1"),
    ("raw-leaves", "true"),
    ("hash", "sha2-256"),
    ("inline", "false"),
    ("wrap-with-directory", "false"),
    ("pin", "true"),
    ("progress", "false"),
    ("cid-base", "base32"),
];
const _: () = assert!(Import::KUBO.raw_leaves && matches!(Import::KUBO.version, Version::V1));

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AddLine {
    hash: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pinned {
    pins: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    keys: BTreeMap<String, Pin>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pin {
    /// `recursive`, `direct`, `indirect` or `indirect through CID`.
    r#type: String,
}

impl Pin {
    /// Whether it holds what the block refers to, and not only the block.
    fn is_whole(&self) -> bool {
        self.r#type == "recursive" || self.r#type.starts_with("indirect")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stat {
    size: u64,
}

/// The CID in the last line of an `add`, which is that of the file; an error may take its place.
fn last_hash(lines: &[u8]) -> Result<String, Trouble> {
    let mut hash = None;
    for line in serde_json::Deserializer::from_slice(lines).into_iter::<AddLine>() {
        let line = line.map_err(|error| Trouble::Protocol(format!("JSON: {error}")))?;
        if let Some(reason) = line.message {
            return Err(Trouble::Overloaded {
                status: 500,
                reason,
            });
        }
        hash = line.hash.or(hash);
    }
    hash.ok_or_else(|| Trouble::Protocol("an answer without its last line".into()))
}

/// What a refusal of the node's means, for which its protocol has often only words.
fn meant(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Overloaded {
            status: 500,
            reason,
        } if NOT_FOUND.iter().any(|words| reason.contains(words)) => Trouble::Missing(reason),
        // It says 404 only to calls that it does not know, and so does its gateway to all of them.
        Trouble::Missing(_) | Trouble::Refused { status: 405, .. } => {
            Trouble::Protocol("there is no such call; is this the address of a node's RPC?".into())
        }
        other => other,
    }
}

/// How a node says that it has not found a block: offline; within a file; and online, where it
/// searches for as long as it may.
const NOT_FOUND: [&str; 3] = [
    "block was not found locally",
    "failed to fetch all nodes",
    "context deadline exceeded",
];

/// Whether a node says that there is no such pin.
fn is_not_pinned(fault: &Fault) -> bool {
    matches!(fault, Fault::Neighbour { trouble: Trouble::Overloaded { status: 500, reason }, .. }
        if reason.contains("not pinned"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_add_counts_by_its_last_line() {
        let progress = r#"{"Name":"x","Bytes":5}"#;
        let added = r#"{"Name":"x","Hash":"bafy","Size":"5"}"#;
        let error = r#"{"Message":"no space left","Code":0,"Type":"error"}"#;
        let all = |lines: &[&str]| last_hash(lines.join("\n").as_bytes());
        assert_eq!(all(&[progress, added]).ok().as_deref(), Some("bafy"));
        assert_eq!(all(&[added, ""]).ok().as_deref(), Some("bafy"));
        assert!(matches!(
            all(&[added, error]),
            Err(Trouble::Overloaded { .. })
        ));
        assert!(matches!(all(&[progress]), Err(Trouble::Protocol(_))));
        assert!(matches!(all(&[""]), Err(Trouble::Protocol(_))));
        assert!(matches!(all(&[&added[..9]]), Err(Trouble::Protocol(_))));
    }

    #[test]
    fn the_api_is_named_with_and_without_its_path() {
        for api in [
            "http://[::1]:5001",
            "http://[::1]:5001/",
            "http://[::1]:5001/api/v0/",
        ] {
            let kubo = Kubo::new(api, Some("Bearer secret")).expect("a good header");
            assert_eq!(kubo.api, "http://[::1]:5001/api/v0");
            assert!(!format!("{kubo:?}").contains("secret"));
        }
        assert!(Kubo::new("http://[::1]:5001", Some("Bearer\n")).is_err());
    }
}
