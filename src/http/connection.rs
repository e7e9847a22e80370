//! One connection: a request at a time, each looked at before the library reads it.

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, recv};
use socket2::Socket;

use super::exchange::{Exchange, print_head};
use super::hello::{self, Hellos};
use super::tally::Tally;
use crate::oci::{Refusal, Response};

/// The longest head of a request, in bytes: request line and headers.
pub const HEAD_SIZE_MAX: usize = 32 << 10;
/// How long a head may take from its first byte to its last.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// A body up to this size is read by the library together with its head, in bytes.
const BODY_SIZE_EAGER: u64 = 1024;

/// What the answers on all connections have in common.
#[derive(Debug, Default)]
pub struct Common {
    /// Headers that every answer carries (`http.headers`).
    pub headers: Vec<(String, String)>,
    /// Where answered requests are counted.
    pub tally: Arc<Tally>,
    /// Clients that took the port for one of TLS.
    pub hellos: Hellos,
}

type Requests = Box<dyn Iterator<Item = Option<tiny_http::Request>> + Send>;

/// A connection to a client.
pub struct Connection {
    requests: Requests,
    socket: Socket,
    common: Arc<Common>,
    peer: String,
}

/// What a vetted head says of how to go on after it.
pub(super) struct Head {
    /// Bytes of the body, if the client declared them.
    pub length: Option<u64>,
    /// Whether a body of unknown length follows.
    pub chunked: bool,
    /// Whether the connection ends with this request.
    pub close: bool,
    /// Whether the client sent more than this request, without waiting for the answer. That
    /// would sit unseen in the library's own buffer, so the connection ends; the client will
    /// send it again on its next one.
    pub pipelined: bool,
    /// Whether the client waits to be asked for the body (`Expect: 100-continue`).
    pub waits: bool,
    /// The request line.
    line: String,
}

impl Head {
    /// Whether the library read the same request, and not something that it had in its buffer.
    fn is_of(&self, request: &tiny_http::Request) -> bool {
        let start = format!("{} {} ", request.method(), request.url());
        let chunked = request.headers().get("Transfer-Encoding").is_some();
        let length = request.body_length().map(|length| length as u64);
        self.line.starts_with(&start) && self.chunked == chunked && self.length == length
    }
}

impl Connection {
    pub(super) fn new(requests: Requests, socket: Socket, common: Arc<Common>) -> Connection {
        let address = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
        let peer = address.map_or_else(
            || "unix".to_owned(),
            |peer| peer.ip().to_canonical().to_string(),
        );
        Connection {
            requests,
            socket,
            common,
            peer,
        }
    }

    /// Waits for the next request. None when the client is gone, silent for too long, or sends
    /// what can't be a request; it was then told so.
    pub fn next_exchange(&mut self) -> Option<Exchange<'_>> {
        let head = match self.await_head() {
            Ok(Some(head)) => head,
            Ok(None) => return None,
            Err(refusal) => {
                log::warn!(remote = self.peer.as_str(); "{refusal}");
                self.refuse(&refusal);
                return None;
            }
        };
        let request = self.requests.next().flatten();
        let Some(request) = request.filter(|request| head.is_of(request)) else {
            log::warn!(remote = self.peer.as_str(); "a request changed while it was read");
            return None;
        };
        Some(Exchange::new(
            request,
            head,
            &self.socket,
            &self.peer,
            &self.common,
        ))
    }

    /// Looks at what arrives, without taking it, until a whole head is there, and with it a body
    /// that the library reads together with its head.
    fn await_head(&self) -> Result<Option<Head>, Refusal> {
        let mut small = [0; 2048];
        let Some(size) = self.peek(&mut small) else {
            return Ok(None);
        };
        if small[0] == hello::HANDSHAKE {
            self.common.hellos.log(&self.peer);
            // A client that is gone needs no answer.
            let _ = hello::answer(&self.socket);
            return Ok(None);
        }
        match self.look(&small[..size])? {
            Seen::Whole(head) => Ok(Some(head)),
            Seen::Part | Seen::Cut(_) => self.await_rest(),
        }
    }

    fn await_rest(&self) -> Result<Option<Head>, Refusal> {
        let Ok(arrivals) = Arrivals::at(&self.socket) else {
            return Ok(None);
        };
        let started = Instant::now();
        let mut large = vec![0; HEAD_SIZE_MAX + BODY_SIZE_EAGER as usize];
        loop {
            let more = arrivals.wait(HEAD_TIME_MAX.saturating_sub(started.elapsed()));
            let Some(size) = self.peek(&mut large) else {
                return Ok(None);
            };
            match self.look(&large[..size])? {
                Seen::Whole(head) => return Ok(Some(head)),
                Seen::Part if size >= HEAD_SIZE_MAX => return Err(Refusal::HeadTooLarge),
                Seen::Part | Seen::Cut(_) if more => {}
                Seen::Part => return Ok(None),
                Seen::Cut(refusal) => return Err(refusal),
            }
        }
    }

    /// What the first bytes of a request amount to.
    fn look(&self, bytes: &[u8]) -> Result<Seen, Refusal> {
        let Some(end) = end_of_head(bytes) else {
            return Ok(Seen::Part);
        };
        let mut head = vet(&bytes[..end])?;
        let length = head.length.unwrap_or(0);
        let came = (bytes.len() - end) as u64;
        if came < length && length <= BODY_SIZE_EAGER && !head.waits {
            let cause = format!("{came} of {length} bytes came");
            return Ok(Seen::Cut(Refusal::SizeInvalid(cause)));
        }
        let arrived = ioctl_fionread(&self.socket).unwrap_or(0);
        head.pipelined = !head.chunked && arrived.saturating_sub(end as u64) > length;
        head.close |= head.pipelined;
        Ok(Seen::Whole(head))
    }

    fn peek(&self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match recv(&self.socket, &mut *buffer, RecvFlags::PEEK) {
                Ok((0, _)) => return None,
                Ok((size, _)) => return Some(size),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// Answers a head that never becomes a request, and lets the client read it before the end.
    fn refuse(&self, refusal: &Refusal) {
        let response = Response::refusal(refusal);
        let length = response.body.len() as u64;
        let head = print_head(&response, &self.common.headers, length, true);
        let _ = io::Write::write_all(&mut &self.socket, &[&head[..], &response.body].concat());
        linger(&self.socket, |buffer| (&self.socket).read(buffer));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Already closed by the client is as good.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// The most that is read and thrown away after an answer that ends a connection.
const LINGER_SIZE_MAX: usize = 16 << 20;
/// The longest that it may take.
const LINGER_TIME_MAX: Duration = Duration::from_secs(5);

/// Takes in what a client still sends after its last answer, within limits: to close at once
/// would make the kernel throw away the answer, too.
pub(super) fn linger(socket: &Socket, mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) {
    let _ = socket.shutdown(Shutdown::Write);
    let _ = socket.set_read_timeout(Some(LINGER_TIME_MAX));
    let started = Instant::now();
    let (mut buffer, mut taken) = ([0; 8192], 0);
    while taken < LINGER_SIZE_MAX && started.elapsed() < LINGER_TIME_MAX {
        match read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(size) => taken += size,
        }
    }
    let _ = socket.shutdown(Shutdown::Both);
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// What was seen of a request so far.
enum Seen {
    /// Not even a whole head.
    Part,
    /// A head whose body was cut, or is still to come.
    Cut(Refusal),
    /// All that must be there before the library may read it.
    Whole(Head),
}

/// Tells when more bytes arrive on a socket, though nobody takes those that are there.
struct Arrivals(OwnedFd);

impl Arrivals {
    fn at(socket: &Socket) -> rustix::io::Result<Arrivals> {
        let arrivals = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let each = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&arrivals, socket, epoll::EventData::new_u64(0), each)?;
        Ok(Arrivals(arrivals))
    }

    /// Waits for the next bytes; whether still more may follow in that time.
    fn wait(&self, time_max: Duration) -> bool {
        let mut events = Vec::with_capacity(1);
        let time_max = Timespec::try_from(time_max).ok();
        let waited = epoll::wait(&self.0, spare_capacity(&mut events), time_max.as_ref());
        let last = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        match waited {
            Err(rustix::io::Errno::INTR) => true,
            _ => events
                .first()
                .is_some_and(|event| !{ event.flags }.intersects(last)),
        }
    }
}

/// Refuses a head that two servers could read in two ways (RFC 9112, sections 3, 5 and 6).
fn vet(head: &[u8]) -> Result<Head, Refusal> {
    let malformed = |cause: &str| Refusal::BadRequest(cause.to_owned());
    let text = std::str::from_utf8(head)
        .ok()
        .filter(|text| text.is_ascii());
    let text = text.ok_or_else(|| malformed("the head is not ASCII"))?;
    let mut lines = text[..text.len() - 4].split("\r\n");
    let first = lines.next().unwrap_or_default();
    let is_old = vet_first(first).ok_or_else(|| malformed("it does not begin as HTTP/1.1 does"))?;
    let (mut lengths, mut hosts, mut encodings) = (Vec::new(), 0, Vec::new());
    let (mut close, mut upgrade, mut waits) = (is_old, false, false);
    for line in lines {
        let (name, value) = vet_header(line)?;
        let lower = value.to_ascii_lowercase();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(value),
            "transfer-encoding" => encodings.push(value),
            "host" => hosts += 1,
            "connection" => {
                close |= lower.contains("close");
                upgrade |= lower.contains("upgrade");
            }
            "expect" if lower == "100-continue" && !waits => waits = true,
            "expect" => return Err(malformed("nothing but 100-continue can be expected")),
            _ => {}
        }
    }
    if hosts > 1 || (hosts == 0 && !is_old) {
        return Err(malformed("there must be one Host header"));
    }
    let digits = |length: &str| !length.is_empty() && length.bytes().all(|c| c.is_ascii_digit());
    let length = match lengths[..] {
        [] => None,
        [length] if digits(length) && length.len() < 19 => length.parse().ok(),
        _ => return Err(malformed("Content-Length is not one number")),
    };
    let chunked = match encodings[..] {
        [] => false,
        // The library takes what follows an offer to upgrade as it comes.
        ["chunked"] if upgrade => return Err(malformed("chunks can't follow an offer to upgrade")),
        ["chunked"] if length.is_none() => true,
        _ => {
            return Err(malformed(
                "Transfer-Encoding may be chunked, and without a length",
            ));
        }
    };
    Ok(Head {
        length,
        chunked,
        close: close || upgrade,
        pipelined: false,
        waits,
        line: first.to_owned(),
    })
}

/// Reads a request line, which has three parts and no more; whether it is of HTTP/1.0.
fn vet_first(line: &str) -> Option<bool> {
    let mut parts = line.split(' ');
    let (method, target) = (parts.next()?, parts.next()?);
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_graphic());
    match (parts.next()?, parts.next()) {
        ("HTTP/1.0", None) if is_word(method) && is_word(target) => Some(true),
        ("HTTP/1.1", None) if is_word(method) && is_word(target) => Some(false),
        _ => None,
    }
}

/// Reads the name and the value of a header.
fn vet_header(line: &str) -> Result<(&str, &str), Refusal> {
    let malformed = |cause: &str| Refusal::BadRequest(cause.to_owned());
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| malformed("a header has no name"))?;
    let token = |c: u8| c.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&c);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(malformed("a header's name is malformed"));
    }
    if value.bytes().any(|c| c != b'\t' && c.is_ascii_control()) {
        return Err(malformed("a header has control characters"));
    }
    Ok((name, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_can_be_read_in_two_ways_is_refused() {
        let vet = |lines: &str| vet(format!("{lines}\r\n\r\n").as_bytes());
        for good in [
            "GET / HTTP/1.1\r\nHost: x",
            "GET / HTTP/1.0",
            "PUT / HTTP/1.1\r\nhost:x\r\nContent-Length:  5 ",
            "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked",
        ] {
            assert!(vet(good).is_ok(), "{good:?}");
        }
        for bad in [
            "GET / HTTP/1.1",
            "GET /\r\nHost: x",
            "GET / HTTP/2.0\r\nHost: x",
            "GET / HTTP/2.0 HTTP/1.1\r\nHost: x",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: y",
            "GET / HTTP/1.1\r\nHost: x\r\n folded",
            "GET / HTTP/1.1\r\nHost: x\r\nA B: c",
            "GET / HTTP/1.1\r\nHost: x\r\nA : c",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\0",
            "GET / HTTP/1.1\r\nHost: é",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: +5",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999",
            "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked",
            "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
            "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: upgrade",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: more",
        ] {
            assert!(vet(bad).is_err(), "{bad:?}");
        }
    }
}
