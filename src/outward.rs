//! How requests leave the house: the line that the rooms of our neighbours share.
//!
//! A [`Line`] asks with time-outs for silence instead of a total one, since a blob may take hours;
//! it follows no redirect, so that a token never travels on; it reads replies only up to a limit;
//! and it says what went wrong as a [`Fault`] with the neighbour's own words.

mod parcel;

use crate::fault::{Fault, Neighbour, Trouble};
pub use parcel::Parcel;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;
use ureq::config::Config;
use ureq::http::header::{HeaderValue, RETRY_AFTER};
use ureq::http::{Response, Uri};
use ureq::typestate::{WithBody, WithoutBody};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, BodyReader, RequestBuilder};

/// Longest wait for a name, and again for a connection with its TLS.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence in the middle of a transfer.
const SILENCE: Duration = Duration::from_secs(60);
/// Largest reply that is read whole.
const REPLY_SIZE_MAX: u64 = 1 << 20;
/// Longest part of a neighbour's words that is passed on, in characters.
const WORDS_LEN_MAX: usize = 300;

/// A line to one neighbour. Connections are kept and shared by all who ask through it.
#[derive(Clone, Debug)]
pub struct Line {
    who: Neighbour,
    agent: Agent,
}

/// How long one request may take, besides connecting.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest wait for the head of the answer, once the request is sent.
    pub answer: Duration,
    /// Longest time for the whole body of the answer; `None` limits only its silences.
    pub body: Option<Duration>,
}

impl Patience {
    /// For a question with a short answer.
    pub const QUESTION: Patience = Patience::new(30, Some(30));
    /// For a body of any length.
    pub const DOWNLOAD: Patience = Patience::new(30, None);

    const fn new(answer_secs: u64, body_secs: Option<u64>) -> Patience {
        let body = match body_secs {
            Some(secs) => Some(Duration::from_secs(secs)),
            None => None,
        };
        Patience {
            answer: Duration::from_secs(answer_secs),
            body,
        }
    }

    /// For the answer to an upload of `size` bytes, which comes only when the neighbour has cut,
    /// hashed and stored them: two minutes, and a second for each MB.
    pub fn upload(size: u64) -> Patience {
        let secs = 120 + size / 1_000_000;
        Patience::new(secs, Some(secs))
    }
}

impl Line {
    /// A line to `who`.
    pub fn new(who: Neighbour) -> Line {
        let agent = Agent::config_builder()
            .user_agent(concat!("lighthouse/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_send_request(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .build();
        let agent = Agent::with_parts(agent, DefaultConnector::new(), Names::default());
        Line { who, agent }
    }

    /// Begins a GET.
    pub fn get(&self, url: &str, patience: Patience) -> RequestBuilder<WithoutBody> {
        patient(self.agent.get(url), url, patience)
    }

    /// Begins a POST.
    pub fn post(&self, url: &str, patience: Patience) -> RequestBuilder<WithBody> {
        patient(self.agent.post(url), url, patience)
    }

    /// Begins a DELETE.
    pub fn delete(&self, url: &str, patience: Patience) -> RequestBuilder<WithoutBody> {
        patient(self.agent.delete(url), url, patience)
    }

    /// The answer to what was asked at `url`, whatever its status.
    pub fn heard(
        &self,
        url: &str,
        asked: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Fault> {
        asked.map_err(|error| self.fault(url, trouble_of(error)))
    }

    /// The answer to what was asked at `url`, if its status is of the 200s.
    pub fn answered(
        &self,
        url: &str,
        asked: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Fault> {
        let response = self.heard(url, asked)?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.fault(url, trouble_in(response))),
        }
    }

    /// The whole body of an answer from `url`, which may not be larger than 1 MiB.
    pub fn body(&self, url: &str, response: Response<Body>) -> Result<Vec<u8>, Fault> {
        let body = response
            .into_body()
            .into_with_config()
            .limit(REPLY_SIZE_MAX)
            .read_to_vec();
        body.map_err(|error| self.fault(url, trouble_of(error)))
    }

    /// An answer from `url` as JSON.
    pub fn json<T: DeserializeOwned>(
        &self,
        url: &str,
        response: Response<Body>,
    ) -> Result<T, Fault> {
        let body = self.body(url, response)?;
        serde_json::from_slice(&body)
            .map_err(|error| self.fault(url, Trouble::Protocol(format!("JSON: {error}"))))
    }

    /// The body of an answer from `url` as a reader of exactly `size` bytes.
    pub fn incoming(&self, url: &str, response: Response<Body>, size: u64) -> Incoming {
        let body = response.into_body().into_reader();
        Incoming {
            who: self.who,
            url: url.to_string(),
            body,
            size,
            received: 0,
        }
    }

    /// A failure of this neighbour at `url`.
    pub fn fault(&self, url: &str, trouble: Trouble) -> Fault {
        Fault::neighbour(self.who, url, trouble)
    }
}

/// A body of known size on its way in. It ends cleanly only after all its bytes; what comes beyond
/// them is not read. Its errors carry the [`Fault`], see [`fault_within`].
pub struct Incoming {
    who: Neighbour,
    url: String,
    body: BodyReader<'static>,
    size: u64,
    received: u64,
}

impl Incoming {
    /// Bytes that it has in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where it comes from.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.received).unwrap_or(usize::MAX);
        let buffer_len = buffer.len().min(left);
        if buffer_len == 0 {
            return Ok(0);
        }
        let trouble = match self.body.read(&mut buffer[..buffer_len]) {
            Ok(0) => Trouble::Cut {
                expected: self.size,
                received: self.received,
            },
            Ok(len) => {
                self.received += len as u64;
                return Ok(len);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Trouble::Cut {
                expected: self.size,
                received: self.received,
            },
            Err(error) => trouble_of(ureq::Error::from(error)),
        };
        Err(io::Error::other(Fault::neighbour(
            self.who, &self.url, trouble,
        )))
    }
}

/// The fault that a reader's error carries, or else what `fallback` makes of the error.
pub fn fault_within(error: io::Error, fallback: impl FnOnce(io::Error) -> Fault) -> Fault {
    error.downcast::<Fault>().unwrap_or_else(fallback)
}

/// The value of an `Authorization` header, hidden in `Debug` output; `None` if no header can carry
/// such a text.
pub fn authorization(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Applies `patience`, and asks loopback directly even where the environment names a proxy.
fn patient<B>(request: RequestBuilder<B>, url: &str, patience: Patience) -> RequestBuilder<B> {
    let config = request
        .config()
        .timeout_recv_response(Some(patience.answer))
        .timeout_recv_body(patience.body)
        .timeout_per_read(Some(SILENCE.max(patience.answer)));
    match is_loopback(url) {
        true => config.proxy(None).build(),
        false => config.build(),
    }
}

fn is_loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || is_beneath_localhost(&uri)
        || address.is_ok_and(|address| address.is_loopback())
}

/// Whether the host is a name beneath `localhost`. Such a name is this machine itself (RFC 6761,
/// 6.3), but few resolvers know.
pub fn is_beneath_localhost(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    host.ends_with(".localhost")
}

/// Finds addresses as the system does, and those of names beneath `localhost`.
#[derive(Debug, Default)]
struct Names(DefaultResolver);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        if !is_beneath_localhost(uri) {
            return self.0.resolve(uri, config, timeout);
        }
        let port = uri.port().map(|port| format!(":{port}"));
        let scheme = uri.scheme_str().unwrap_or("http");
        let own = format!("{scheme}://localhost{}/", port.unwrap_or_default());
        let own = own
            .parse()
            .map_err(|_| ureq::Error::BadUri(uri.to_string()))?;
        self.0.resolve(&own, config, timeout)
    }
}

/// What a failed exchange means. An address is never repeated here, for it may hold a password.
fn trouble_of(error: ureq::Error) -> Trouble {
    use ureq::Error;
    match error {
        Error::BadUri(_) | Error::RequireHttpsOnly(_) => Trouble::Protocol("no such URL".into()),
        Error::Http(error) => Trouble::Protocol(error.to_string()),
        Error::BodyExceedsLimit(limit) => Trouble::Protocol(format!("more than {limit} bytes")),
        Error::Protocol(error) => Trouble::Protocol(error.to_string()),
        Error::LargeResponseHeader(..) => Trouble::Protocol("an endless head".into()),
        Error::Io(error) => Trouble::Unreachable(error.to_string()),
        Error::Timeout(phase) => Trouble::Unreachable(format!("too late: {phase}")),
        other => Trouble::Unreachable(other.to_string()),
    }
}

/// What an answer with a status outside the 200s means.
fn trouble_in(response: Response<Body>) -> Trouble {
    let status = response.status().as_u16();
    let wait = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let wait = wait
        .and_then(|secs| secs.trim().parse().ok())
        .map(Duration::from_secs);
    let reason = words(response);
    match status {
        401 => Trouble::Unauthorized(reason),
        403 => Trouble::Forbidden(reason),
        404 | 410 => Trouble::Missing(reason),
        413 => Trouble::TooLarge(reason),
        429 => Trouble::RateLimited(wait),
        500.. => Trouble::Overloaded { status, reason },
        _ => Trouble::Refused { status, reason },
    }
}

/// What a neighbour said about its refusal, in one line. Estuary sends `{"error":{"reason",
/// "details"}}`, `{"error":"…"}` or `{"message":"…"}`, Kubo `{"Message":"…"}`, a proxy HTML.
fn words(response: Response<Body>) -> String {
    let mut bytes = Vec::new();
    // Half an explanation is better than none: what came before an error is used.
    let _ = response
        .into_body()
        .into_reader()
        .take(16 << 10)
        .read_to_end(&mut bytes);
    let said = match serde_json::Deserializer::from_slice(&bytes)
        .into_iter()
        .next()
    {
        Some(Ok(Value::Object(reply))) => {
            let error = reply.get("error").unwrap_or(&Value::Null);
            let parts = [
                error.as_str(),
                error.get("reason").and_then(Value::as_str),
                error.get("details").and_then(Value::as_str),
                reply.get("message").and_then(Value::as_str),
                reply.get("Message").and_then(Value::as_str),
            ];
            let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
            parts.collect::<Vec<_>>().join(": ")
        }
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line
        .chars()
        .filter(|c| !c.is_control())
        .take(WORDS_LEN_MAX)
        .collect();
    if line.is_empty() {
        "no reason given".into()
    } else {
        line
    }
}
