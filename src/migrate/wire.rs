//! The wire: one HTTP exchange, and where it may lead.

use std::io::Read;
use std::thread;
use std::time::{Duration, SystemTime};

use ureq::http::{self, HeaderMap, Method};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody};

use super::Failure;
use super::failure::without_secrets;
use super::image::Host;
use super::quota::retry_after;

/// An answer whose body is still on its way.
pub type Answer = http::Response<Body>;

/// Where a registry is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: &'static str,
    authority: String,
}

impl Origin {
    /// The registry on that host; `plain` is HTTP without TLS.
    pub fn new(host: &Host, plain: bool) -> Origin {
        let scheme = if plain { "http" } else { "https" };
        let authority = match host.as_str() {
            // The API of Docker Hub is not on the host that its names carry.
            Host::DOCKER_HUB => "registry-1.docker.io".into(),
            other => other.to_owned(),
        };
        Origin { scheme, authority }
    }

    /// Whether requests go without TLS.
    pub fn is_plain(&self) -> bool {
        self.scheme == "http"
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.authority)
    }

    /// Whether the URL is on this very host and port, so that it may see credentials.
    pub fn owns(&self, url: &str) -> bool {
        let rest = url
            .strip_prefix(self.scheme)
            .and_then(|rest| rest.strip_prefix("://"));
        let rest = rest.and_then(|rest| {
            let (authority, _) = rest.split_at_checked(self.authority.len())?;
            authority
                .eq_ignore_ascii_case(&self.authority)
                .then_some(&rest[authority.len()..])
        });
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
    }

    /// The URL that a `Location` or `Link` found at `base` leads to (RFC 3986, section 5). A TLS
    /// registry is never left for plain HTTP: behind a proxy that ends TLS, many believe that
    /// they are plain, so a `Location` on the same host keeps to TLS; another host is refused.
    pub fn follow(&self, base: &str, location: &str) -> Result<String, Failure> {
        let refuse = |cause: &str| {
            let place = without_secrets(location);
            Err(Failure::protocol(
                base,
                format!("it leads to {place}, {cause}"),
            ))
        };
        let (scheme, rest) = base.split_once("://").unwrap_or((self.scheme, base));
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let folder = &path[..path.rfind('/').map_or(0, |slash| slash + 1)];
        let location = location.split('#').next().unwrap_or_default();
        let url = if location.starts_with("http://") || location.starts_with("https://") {
            location.to_owned()
        } else if location.contains("://") {
            return refuse("which is not HTTP");
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else if location.starts_with('?') {
            format!("{scheme}://{authority}{path}{location}")
        } else {
            format!("{scheme}://{authority}{folder}{location}")
        };
        if self.is_plain() || url.starts_with("https://") {
            return Ok(url);
        }
        let secure = format!("https{}", url.strip_prefix("http").unwrap_or(&url));
        if self.owns(&secure) {
            Ok(secure)
        } else {
            refuse("which is not encrypted")
        }
    }

    /// The URL of the next page, which is on the same registry (RFC 8288).
    pub fn next_page(&self, url: &str, headers: &HeaderMap) -> Result<Option<String>, Failure> {
        let links = headers
            .get_all("link")
            .iter()
            .filter_map(|value| value.to_str().ok());
        let next = links.flat_map(|links| links.split(',')).find_map(|link| {
            let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let relation = parameters.replace([' ', '"'], "").to_ascii_lowercase();
            let is_next = relation.split(';').any(|parameter| parameter == "rel=next");
            is_next.then_some(target)
        });
        let Some(next) = next else {
            return Ok(None);
        };
        let next = self.follow(url, next)?;
        if self.owns(&next) {
            Ok(Some(next))
        } else {
            Err(Failure::protocol(url, "its next page is on another host"))
        }
    }
}

/// What goes with a request.
pub enum Payload<'p> {
    /// No body at all, as for GET.
    None,
    /// A body, which may be empty.
    Bytes(&'p [u8]),
    /// A body of so many bytes; it can be sent once.
    Stream(&'p mut dyn Read, u64),
}

impl Payload<'_> {
    /// Whether the same request can be sent again.
    pub fn is_repeatable(&self) -> bool {
        !matches!(self, Payload::Stream(..))
    }
}

/// Sends requests; clones share their connections.
#[derive(Clone)]
pub struct Wire {
    agent: Agent,
    retries_max: u32,
}

impl Wire {
    /// A wire for so many requests at a time, each tried again so many times. `authority` is a
    /// certificate in PEM to trust instead of the usual ones.
    pub fn new(jobs: usize, retries_max: u32, authority: Option<&[u8]>) -> Result<Wire, Failure> {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = authority {
            let certificates = ureq::tls::parse_pem(pem).filter_map(|item| match item {
                Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            let certificates: Vec<Certificate<'static>> = certificates.collect();
            if certificates.is_empty() {
                return Err(Failure::Name(
                    "the file with certificates has none in it".into(),
                ));
            }
            tls = tls.root_certs(RootCerts::from(certificates));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("lighthouse/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_per_read(Some(Duration::from_secs(120)))
            .timeout_per_write(Some(Duration::from_secs(60)))
            .input_buffer_size(BUFFER_SIZE)
            .output_buffer_size(BUFFER_SIZE)
            .max_idle_connections(4 * jobs)
            .max_idle_connections_per_host(2 * jobs)
            .tls_config(tls.build());
        Ok(Wire {
            agent: config.build().into(),
            retries_max,
        })
    }

    /// How many times a request, or a download that broke off, is tried again.
    pub fn retries_max(&self) -> u32 {
        self.retries_max
    }

    /// Sends one request and returns the head of its answer, whatever its status. Trouble on the
    /// way is not tried again.
    pub fn send(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        payload: &mut Payload,
    ) -> Result<Answer, Failure> {
        let mut request = http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let malformed = || Failure::protocol(url, "this can't be asked for");
        let answer = match payload {
            Payload::None => self.agent.run(request.body(()).map_err(|_| malformed())?),
            Payload::Bytes(body) => self
                .agent
                .run(request.body(*body).map_err(|_| malformed())?),
            Payload::Stream(reader, size) => {
                let request = request.header("Content-Length", *size);
                let body = SendBody::from_reader(*reader);
                self.agent.run(request.body(body).map_err(|_| malformed())?)
            }
        };
        answer.map_err(|cause| match cause {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => malformed(),
            cause => Failure::unreachable(url, cause),
        })
    }

    /// Runs something until it works or fails for good: trouble that may pass is waited out, each
    /// time twice as long.
    pub fn retry<T>(&self, mut run: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut tries = 0;
        loop {
            match run() {
                Err(failure) if failure.is_transient() && tries < self.retries_max => {
                    log::debug!("{failure}; this was try {}", tries + 1);
                    pause(tries);
                    tries += 1;
                }
                result => return result,
            }
        }
    }
}

/// Bytes that a connection buffers in each direction.
const BUFFER_SIZE: usize = 64 << 10;

/// Waits before the next try: a quarter of a second, then twice as long each time, up to 30 s.
pub fn pause(tries: u32) {
    let wait = Duration::from_millis(250) * 2u32.saturating_pow(tries);
    thread::sleep(wait.min(Duration::from_secs(30)));
}

/// Sorts an answer by its status: what is not a success becomes a failure in the registry's words.
pub fn check(url: &str, mut answer: Answer) -> Result<Answer, Failure> {
    let status = answer.status().as_u16();
    match status {
        200..=399 => return Ok(answer),
        404 => return Err(Failure::Missing(without_secrets(url))),
        429 => {
            let wait = retry_after(answer.headers(), SystemTime::now());
            return Err(Failure::Throttled {
                url: without_secrets(url),
                wait,
            });
        }
        _ => {}
    }
    // An answer to HEAD has none; whatever else is wrong with the body, the status tells more.
    let body = answer
        .body_mut()
        .with_config()
        .limit(64 << 10)
        .read_to_vec()
        .unwrap_or_default();
    let reason = reason(&body).unwrap_or_else(|| {
        answer
            .status()
            .canonical_reason()
            .unwrap_or("without a reason")
            .into()
    });
    Err(Failure::Refused {
        url: without_secrets(url),
        status,
        reason,
    })
}

/// The first error in the body (distribution-spec, "Error codes"), short and on one line.
fn reason(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = &body["errors"][0];
    let mut reason = error["code"].as_str().unwrap_or_default().to_owned();
    for part in [&error["message"], &error["detail"]] {
        match part {
            serde_json::Value::String(text) if !text.is_empty() => {
                reason += &format!(": {text}");
            }
            serde_json::Value::Null | serde_json::Value::String(_) => {}
            other => reason += &format!(": {other}"),
        }
    }
    let clean = reason
        .trim_start_matches(": ")
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    let reason: String = clean.take(300).collect();
    (!reason.is_empty()).then_some(reason)
}

/// The text with everything percent-encoded that has a meaning in a query (RFC 3986).
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                out.push(byte.into());
            }
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(host: &str, plain: bool) -> Origin {
        Origin::new(&Host::parse(host).expect(host), plain)
    }

    #[test]
    fn an_origin_owns_its_own_host_and_port_only() {
        let origin = origin("r.test:5000", false);
        for (url, owned) in [
            ("https://r.test:5000", true),
            ("https://R.test:5000/v2/", true),
            ("https://r.test:5000?x", true),
            ("http://r.test:5000/v2/", false),
            ("https://r.test:50001/v2/", false),
            ("https://r.test:5000.evil.test/", false),
            ("https://r.test:5000@evil.test/", false),
            ("https://r.test/", false),
            ("https://é", false),
        ] {
            assert_eq!(origin.owns(url), owned, "{url}");
        }
    }

    #[test]
    fn locations_are_followed_but_never_out_of_tls() {
        let base = "https://r.test/v2/a/blobs/uploads/?x=1";
        for (location, expected) in [
            ("https://cdn.test/b?sig=1", Some("https://cdn.test/b?sig=1")),
            (
                "/v2/a/blobs/uploads/1",
                Some("https://r.test/v2/a/blobs/uploads/1"),
            ),
            (
                "1?_state=x",
                Some("https://r.test/v2/a/blobs/uploads/1?_state=x"),
            ),
            ("?n=2", Some("https://r.test/v2/a/blobs/uploads/?n=2")),
            ("//r2.test/x", Some("https://r2.test/x")),
            ("http://r.test/v2/x", Some("https://r.test/v2/x")),
            ("http://cdn.test/b", None),
            ("file:///etc/passwd", None),
        ] {
            let url = origin("r.test", false).follow(base, location).ok();
            assert_eq!(url.as_deref(), expected, "{location}");
        }
        let plain = origin("127.0.0.1:5000", true);
        let url = plain.follow("http://127.0.0.1:5000/v2/", "http://cdn.test/b");
        assert_eq!(url.ok().as_deref(), Some("http://cdn.test/b"));
    }

    #[test]
    fn the_next_page_is_on_the_same_registry() {
        let next = |link: &'static str| {
            let value = http::HeaderValue::from_static(link);
            let headers = HeaderMap::from_iter([(http::header::LINK, value)]);
            origin("r.test", false).next_page("https://r.test/v2/a/tags/list?n=2", &headers)
        };
        for (link, expected) in [
            (
                "</v2/a/tags/list?last=b>; rel=\"next\"",
                Some("https://r.test/v2/a/tags/list?last=b"),
            ),
            (
                "<?last=b>;rel=next",
                Some("https://r.test/v2/a/tags/list?last=b"),
            ),
            (
                "</x>; rel=\"prev\", </y>; title=z; rel=\"next\"",
                Some("https://r.test/y"),
            ),
            ("</x>; rel=\"prev\"", None),
            ("nonsense", None),
        ] {
            assert_eq!(next(link).expect(link).as_deref(), expected, "{link}");
        }
        assert!(next("<https://evil.test/>; rel=next").is_err());
    }

    #[test]
    fn reasons_are_short_and_on_one_line() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\nway","detail":{"a":1}}]}"#;
        assert_eq!(reason(body).as_deref(), Some("DENIED: no way: {\"a\":1}"));
        assert_eq!(reason(b"<html>"), None);
        assert_eq!(reason(b"{}"), None);
    }
}
