//! IPFS gateways: where anybody reads content by its CID over HTTP
//! (<https://specs.ipfs.tech/http-gateways/path-gateway/>).
//!
//! Nothing that a gateway gives is believed: its status, its length and its range must be those
//! that were asked for, and the reader's caller hashes the bytes. A redirect is followed only
//! within the gateway, for Estuary and others redirect what they do not have to somebody else.

use crate::cid::Cid;
use crate::fault::{Fault, Neighbour, Trouble, shown};
use crate::outward::{Incoming, Line, Patience, is_beneath_localhost};
use std::ops::Range;
use ureq::Body;
use ureq::http::Response;
use ureq::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RANGE,
};
use ureq::http::uri::{PathAndQuery, Uri};

/// The block of no bytes whose CID holds its content, which gateways answer without searching.
const PROBE: &str = "bafkqaaa";
/// More redirects than this lead nowhere.
const REDIRECTS_MAX: usize = 4;

/// A gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    line: Line,
    pattern: String,
    also: Vec<String>,
}

/// Several gateways, in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct Gateways(pub Vec<Gateway>);

impl Gateways {
    /// Asks one gateway after the other, each only when the caller comes for its reading because
    /// the one before could not be used. See [`Gateway::read`].
    pub fn read(
        &self,
        cid: Cid,
        size: u64,
        range: Range<u64>,
    ) -> impl Iterator<Item = Result<Incoming, Fault>> {
        self.0
            .iter()
            .map(move |gateway| gateway.read(&cid, size, range.clone()))
    }
}

impl Gateway {
    /// A gateway by its pattern: a URL with `{cid}` in it (`https://{cid}.ipfs.dweb.link`), or one
    /// to which `/ipfs/` and the CID are appended. It may redirect to itself, to the `.ipfs`
    /// subdomains of its host, and to the hosts (with port, if it is not the scheme's own) of the
    /// URLs in `also`, such as Estuary's shuttles.
    pub fn new(pattern: &str, also: &[String]) -> Gateway {
        let pattern = match pattern.contains("{cid}") {
            true => pattern.to_string(),
            false => {
                let base = pattern.trim_end_matches('/').trim_end_matches("/ipfs");
                format!("{base}/ipfs/{{cid}}")
            }
        };
        let also = also
            .iter()
            .filter_map(|url| host(&url.parse().ok()?))
            .collect();
        Gateway {
            line: Line::new(Neighbour::Gateway),
            pattern,
            also,
        }
    }

    /// Where a client finds this content.
    pub fn url(&self, cid: &Cid) -> String {
        self.pattern.replace("{cid}", &cid.to_string())
    }

    /// The bytes of a file of `size` bytes from `range.start` up to `range.end`, which must lie
    /// within it and be empty only if the file is. Content that the gateway does not have, or not
    /// yet, is [`Trouble::Missing`].
    pub fn read(&self, cid: &Cid, size: u64, range: Range<u64>) -> Result<Incoming, Fault> {
        let is_part = range != (0..size);
        let (url, response) = self.ask(cid, is_part.then_some(&range))?;
        let expected = match is_part {
            true => format!("206 bytes {}-{}/{size}", range.start, range.end - 1),
            false => "200".to_string(),
        };
        let received = format!(
            "{} {}",
            response.status().as_u16(),
            text(&response, CONTENT_RANGE)
        );
        if received.trim_end() != expected {
            return Err(self.line.fault(&url, Trouble::Lied { expected, received }));
        }
        let length = range.end - range.start;
        let declared = text(&response, CONTENT_LENGTH);
        if !declared.is_empty() && declared.parse() != Ok(length) {
            let (expected, received) = (format!("{length} bytes"), format!("{declared} bytes"));
            return Err(self.line.fault(&url, Trouble::Lied { expected, received }));
        }
        if !matches!(text(&response, CONTENT_ENCODING), "" | "identity") {
            let encoded = "content in an encoding that was not asked for".into();
            return Err(self.line.fault(&url, Trouble::Protocol(encoded)));
        }
        Ok(self.line.incoming(&url, response, length))
    }

    /// The length of a file in bytes, as far as the gateway can be believed.
    pub fn size(&self, cid: &Cid) -> Result<u64, Fault> {
        let (url, response) = self.ask(cid, Some(&(0..1)))?;
        let told = match response.status().as_u16() {
            206 => text(&response, CONTENT_RANGE).rsplit('/').next(),
            // The whole, where ranges are ignored.
            _ => Some(text(&response, CONTENT_LENGTH)),
        };
        let size = told.and_then(|size| size.parse().ok());
        size.ok_or_else(|| {
            let untold = "an answer that does not tell the length".into();
            self.line.fault(&url, Trouble::Protocol(untold))
        })
    }

    /// Whether the gateway answers. What it answers does not matter, unless it says that it, or
    /// what stands before it, is down (502, 503, 504) or has enough of us (429).
    ///
    /// What it gives is why clients can't be sent to it, if they can't: because it fails at the
    /// question (another 5xx), redirects to nowhere, or gives all content by a redirect within
    /// itself, as Kubo's does to `{cid}.ipfs.localhost`, or is written so, for no client's resolver
    /// need know such a name. We may be able to read it all the same.
    pub fn check(&self) -> Result<Option<String>, Fault> {
        let url = self.pattern.replace("{cid}", PROBE);
        let asked = self.line.get(&url, Patience::QUESTION).call();
        let response = self.line.heard(&url, asked)?;
        match response.status().as_u16() {
            429 | 502..=504 => self.line.answered(&url, Ok(response)).map(|_| None),
            300..=399 => Ok(self.why_not_followed(&url, &response)),
            status @ 500.. => Ok(Some(format!(
                "{} answers {status} to the question whether it is there",
                shown(&url)
            ))),
            _ => {
                let is_local = url.parse().is_ok_and(|uri| is_beneath_localhost(&uri));
                Ok(is_local.then(|| not_for_clients(&url, &url)))
            }
        }
    }

    /// Why clients can't follow a redirect from `url`, if they can't.
    fn why_not_followed(&self, url: &str, response: &Response<Body>) -> Option<String> {
        let location = text(response, LOCATION);
        let status = response.status().as_u16();
        let to = url.parse().ok().and_then(|from| resolve(&from, location));
        let can_be_followed = [301, 302, 303, 307, 308].contains(&status)
            && to.is_some_and(|to| {
                matches!(to.scheme_str(), Some("http" | "https")) && host(&to).is_some()
            });
        if can_be_followed {
            let to = self.within(url, location);
            return to.map(|to| not_for_clients(url, &to));
        }
        let (url, location) = (shown(url), shown(location));
        Some(format!(
            "{url} redirects ({status}) to {location:?}, where no client can follow"
        ))
    }

    /// An answer of the 200s to a request for content, or a part of it, and its URL.
    fn ask(
        &self,
        cid: &Cid,
        range: Option<&Range<u64>>,
    ) -> Result<(String, Response<Body>), Fault> {
        let (url, response) = self.follow(&self.url(cid), range)?;
        if response.status().is_redirection() {
            let elsewhere = "it is not here: redirected to another host".into();
            return Err(self.line.fault(&url, Trouble::Missing(elsewhere)));
        }
        let response = self.line.answered(&url, Ok(response))?;
        Ok((url, response))
    }

    /// The first answer that is no redirect, or a redirect out of this gateway, and its URL.
    fn follow(
        &self,
        url: &str,
        range: Option<&Range<u64>>,
    ) -> Result<(String, Response<Body>), Fault> {
        let mut url = url.to_string();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.line.get(&url, Patience::DOWNLOAD);
            request = request.header(ACCEPT_ENCODING, "identity");
            if let Some(range) = range {
                request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
            }
            let response = self.line.heard(&url, request.call())?;
            let next = match response.status().is_redirection() {
                true => self.within(&url, text(&response, LOCATION)),
                false => None,
            };
            match next {
                Some(next) => url = next,
                None => return Ok((url, response)),
            }
        }
        Err(self
            .line
            .fault(&url, Trouble::Protocol("redirects without end".into())))
    }

    /// Where a redirect leads, if it stays within this gateway and as private as it is.
    fn within(&self, from: &str, location: &str) -> Option<String> {
        let from: Uri = from.parse().ok()?;
        let to = resolve(&from, location)?;
        let own = host(&from)?;
        let next = host(&to)?;
        // `*.ipfs.<host>`, where the host may already be such a subdomain.
        let parent = own
            .split_once(".ipfs.")
            .map_or(own.as_str(), |(_, parent)| parent);
        let is_own = next == own
            || next == parent
            || next.ends_with(&format!(".ipfs.{parent}"))
            || self.also.contains(&next);
        let is_private = to.scheme_str() == Some("https") || from.scheme_str() == Some("http");
        (is_own && is_private).then(|| to.to_string())
    }
}

/// Why clients are not sent to a gateway that leads from `url` to `to`, and what to do about it.
fn not_for_clients(url: &str, to: &str) -> String {
    let cure = match to.parse().is_ok_and(|uri| is_beneath_localhost(&uri)) {
        true => {
            "write 127.0.0.1 for localhost, or set Gateway.PublicGateways in Kubo's configuration \
             to {\"localhost\": {\"Paths\": [\"/ipfs\"], \"UseSubdomains\": false}}"
        }
        false => "write it as the URL that it redirects to, with {cid} in it",
    };
    let (url, to) = (shown(url), shown(to));
    format!("{url} leads to {to}, where not every client can follow; {cure}")
}

/// A header's text, empty if it is not there.
fn text<B>(response: &Response<B>, name: HeaderName) -> &str {
    response
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The host in lower case, with the port if it is not the scheme's own; `None` without a host, or
/// with a user name. This machine has one name.
fn host(uri: &Uri) -> Option<String> {
    let authority = uri
        .authority()
        .filter(|authority| !authority.as_str().contains('@'))?;
    let port = match (uri.scheme_str(), authority.port_u16()) {
        (_, None) | (Some("http"), Some(80)) | (Some("https"), Some(443)) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    let name = authority.host().to_ascii_lowercase();
    let name = match name.as_str() {
        "127.0.0.1" | "[::1]" => "localhost",
        name => name,
    };
    Some(format!("{name}{port}"))
}

/// What a `Location` means: a URL, one of the same scheme, or a path on the same host.
fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    if location.starts_with("//") {
        return format!("{}:{location}", from.scheme_str()?).parse().ok();
    }
    if !location.starts_with('/') {
        return location.parse().ok();
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = Some(location.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: Cid = Cid::raw([7; 32]);

    #[test]
    fn a_pattern_makes_a_url() {
        for (pattern, url) in [
            ("https://{cid}.ipfs.dweb.link", "https://CID.ipfs.dweb.link"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/ipfs/CID"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/ipfs/CID"),
            (
                "http://127.0.0.1:8080/ipfs/",
                "http://127.0.0.1:8080/ipfs/CID",
            ),
            (
                "https://api.test/gw/ipfs/{cid}",
                "https://api.test/gw/ipfs/CID",
            ),
        ] {
            let expected = url.replace("CID", &CID.to_string());
            assert_eq!(Gateway::new(pattern, &[]).url(&CID), expected, "{pattern}");
        }
    }

    #[test]
    fn the_cure_fits_the_redirect() {
        for (to, cure) in [
            ("http://x.ipfs.localhost:8080/", "write 127.0.0.1"),
            ("http://x.ipfs.LOCALHOST/", "write 127.0.0.1"),
            ("https://x.ipfs.dweb.link/", "with {cid} in it"),
            ("https://x.localhost.test/", "with {cid} in it"),
        ] {
            assert!(not_for_clients("http://gw.test", to).contains(cure), "{to}");
        }
    }

    #[test]
    fn this_machine_is_one_host() {
        let names = [
            "127.0.0.1:8080",
            "localhost:8080",
            "LOCALHOST:8080",
            "[::1]:8080",
        ];
        for (from, to) in names.iter().flat_map(|one| names.map(|two| (*one, two))) {
            let gateway = Gateway::new(&format!("http://{from}"), &[]);
            let within = |to: &str| gateway.within(&format!("http://{from}/ipfs/x"), to);
            assert!(within(&format!("http://{to}/x")).is_some(), "{from} {to}");
            let port = to.replace("8080", "8081");
            assert_eq!(within(&format!("http://{port}/x")), None, "{from} {port}");
        }
    }

    #[test]
    fn a_redirect_stays_within_the_gateway() {
        let also = ["https://shuttle-4.test/content/add".to_string()];
        let path = "https://gw.test/ipfs/CID";
        let subdomain = "https://CID.ipfs.gw.test/";
        for (from, location, to) in [
            (path, "/ipfs/CID/", Some("https://gw.test/ipfs/CID/")),
            (path, "https://gw.test:443/x", Some("https://gw.test:443/x")),
            (path, subdomain, Some("https://cid.ipfs.gw.test/")),
            (
                subdomain,
                "https://other.ipfs.gw.test/",
                Some("https://other.ipfs.gw.test/"),
            ),
            (subdomain, path, Some("https://gw.test/ipfs/CID")),
            (
                path,
                "https://shuttle-4.test/gw/",
                Some("https://shuttle-4.test/gw/"),
            ),
            (path, "https://gw.test:444/x", None),
            (path, "http://gw.test/x", None),
            (path, "https://gw.test.evil.test/x", None),
            (path, "https://evilgw.test/x", None),
            (path, "https://x.ipfs.gw.test.evil.test/", None),
            (path, "https://gw.test@evil.test/x", None),
            (path, "//gw.test/x", Some("https://gw.test/x")),
            (path, "//evil.test/x", None),
            (path, "https://dweb.link/ipfs/CID/", None),
            (path, "", None),
        ] {
            let gateway = Gateway::new("https://gw.test", &also);
            let to = to.map(|to| to.to_ascii_lowercase());
            let found = gateway
                .within(from, location)
                .map(|to| to.to_ascii_lowercase());
            assert_eq!(found, to, "{from} → {location}");
        }
    }
}
