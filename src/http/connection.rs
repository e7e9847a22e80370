//! One connection: a request at a time, each looked at before the library reads it.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};
use socket2::Socket;

use super::exchange::{Exchange, print_head};
use super::tally::Tally;
use crate::oci::{Refusal, Response};

/// The longest head of a request, in bytes: request line and headers.
pub const HEAD_SIZE_MAX: usize = 32 << 10;
/// How long a head may take from its first byte to its last.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);

/// What the answers on all connections have in common.
#[derive(Debug, Default)]
pub struct Common {
    /// Headers that every answer carries (`http.headers`).
    pub headers: Vec<(String, String)>,
    /// Where answered requests are counted.
    pub tally: Arc<Tally>,
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
}

impl Connection {
    pub(super) fn new(requests: Requests, socket: Socket, common: Arc<Common>) -> Connection {
        let address = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
        let peer = address.map_or_else(|| "unix".to_owned(), |peer| peer.ip().to_string());
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
        let request = self.requests.next()??;
        Some(Exchange::new(
            request,
            head,
            &self.socket,
            &self.peer,
            &self.common,
        ))
    }

    /// Looks at what arrives, without taking it, until a whole head is there.
    fn await_head(&self) -> Result<Option<Head>, Refusal> {
        let mut small = [0; 2048];
        let Some(mut size) = self.peek(&mut small, RecvFlags::empty()) else {
            return Ok(None);
        };
        if let Some(end) = end_of_head(&small[..size]) {
            return vet(&small[..end], size - end).map(Some);
        }
        let started = Instant::now();
        let mut large = vec![0; HEAD_SIZE_MAX];
        while started.elapsed() < HEAD_TIME_MAX {
            // 0x16 begins a TLS handshake: nothing that we say would be understood.
            if small[0] == 0x16 {
                log::debug!(remote = self.peer.as_str(); "a TLS hello on a plain port");
                return Ok(None);
            }
            if size == HEAD_SIZE_MAX {
                return Err(Refusal::HeadTooLarge);
            }
            // Wakes with the next byte: all that is there, and one more.
            let more = self.peek(&mut large[..size + 1], RecvFlags::WAITALL);
            if more.is_none_or(|more| more <= size) {
                return Ok(None);
            }
            let Some(more) = self.peek(&mut large, RecvFlags::empty()) else {
                return Ok(None);
            };
            size = more;
            if let Some(end) = end_of_head(&large[..size]) {
                return vet(&large[..end], size - end).map(Some);
            }
        }
        Ok(None)
    }

    fn peek(&self, buffer: &mut [u8], flags: RecvFlags) -> Option<usize> {
        loop {
            match recv(&self.socket, &mut *buffer, RecvFlags::PEEK | flags) {
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
        linger(&self.socket, |buffer| {
            rustix::net::recv(&self.socket, buffer, RecvFlags::empty())
                .map(|(size, _)| size)
                .map_err(io::Error::from)
        });
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

/// Refuses a head that two servers could read in two ways (RFC 9112, sections 5 and 6).
/// `after` bytes were seen behind it.
fn vet(head: &[u8], after: usize) -> Result<Head, Refusal> {
    let malformed = |cause: &str| Refusal::BadRequest(cause.to_owned());
    let text = std::str::from_utf8(head)
        .ok()
        .filter(|text| text.is_ascii());
    let text = text.ok_or_else(|| malformed("the head is not ASCII"))?;
    let mut lines = text[..text.len() - 4].split("\r\n");
    let first = lines.next().unwrap_or_default();
    let (mut lengths, mut hosts, mut encodings) = (Vec::new(), 0, Vec::new());
    let mut close = first.ends_with("HTTP/1.0");
    for line in lines {
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
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(value),
            "transfer-encoding" => encodings.push(value),
            "host" => hosts += 1,
            "connection" => close |= value.to_ascii_lowercase().contains("close"),
            _ => {}
        }
    }
    if hosts > 1 || (hosts == 0 && first.ends_with("HTTP/1.1")) {
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
        ["chunked"] if length.is_none() => true,
        _ => {
            return Err(malformed(
                "Transfer-Encoding may be chunked, and without a length",
            ));
        }
    };
    // Requests that are sent before the last answer came would sit unseen in the library's own
    // buffer. The client will send them again on its next connection.
    let pipelined = !chunked && after as u64 > length.unwrap_or(0);
    Ok(Head {
        length,
        chunked,
        close: close || pipelined,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_can_be_read_in_two_ways_is_refused() {
        let vet = |lines: &str| vet(format!("{lines}\r\n\r\n").as_bytes(), 0);
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
        ] {
            assert!(vet(bad).is_err(), "{bad:?}");
        }
    }
}
