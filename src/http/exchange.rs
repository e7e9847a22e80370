//! One exchange: a request that is owed its answer.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::time::{Instant, SystemTime};

use rustix::io::{Errno, ioctl_fionread};
use rustix::net::SendFlags;
use socket2::Socket;

use super::Body;
use super::connection::{Common, Head, linger};
use crate::oci::Response;

/// A body that is this small, and unread, is taken in so that its connection can go on.
const SKIP_SIZE_MAX: u64 = 64 << 10;
/// How much of a file is sent at a time.
const PIECE_SIZE: u64 = 1 << 20;
/// How much of it goes through a buffer at a time, where it has to.
const COPY_SIZE: u64 = 256 << 10;

/// A request and the way back to its client.
pub struct Exchange<'c> {
    request: tiny_http::Request,
    head: Head,
    socket: &'c Socket,
    peer: &'c str,
    common: &'c Common,
    started: Instant,
    taken: u64,
    body_over: bool,
    answered: Option<u16>,
    written: u64,
    promised: u64,
    broken: bool,
}

impl<'c> Exchange<'c> {
    pub(super) fn new(
        request: tiny_http::Request,
        head: Head,
        socket: &'c Socket,
        peer: &'c str,
        common: &'c Common,
    ) -> Exchange<'c> {
        let body_over = !head.chunked && head.length.unwrap_or(0) == 0;
        Exchange {
            request,
            head,
            socket,
            peer,
            common,
            started: Instant::now(),
            taken: 0,
            body_over,
            answered: None,
            written: 0,
            promised: 0,
            broken: false,
        }
    }

    /// The method, as the client wrote it.
    pub fn method(&self) -> &str {
        self.request.method().as_str()
    }

    /// The target: path and query, as the client wrote them.
    pub fn target(&self) -> &str {
        self.request.url()
    }

    /// The value of a header.
    pub fn header(&self, name: &'static str) -> Option<&str> {
        self.request
            .headers()
            .get(name)
            .map(|header| header.as_str())
    }

    /// The client's IP address, or `unix`.
    pub fn peer(&self) -> &str {
        self.peer
    }

    /// Bytes of the body, if the client declared them; 0 if there is none.
    pub fn length(&self) -> Option<u64> {
        if self.head.chunked {
            None
        } else {
            Some(self.head.length.unwrap_or(0))
        }
    }

    /// The body, to be read.
    pub fn body(&mut self) -> Incoming<'_, 'c> {
        Incoming(self)
    }

    /// Whether the answer was sent, or begun.
    pub fn is_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// Sends an answer.
    pub fn respond(&mut self, response: &Response) -> io::Result<()> {
        let mut bytes = self.begin(
            response,
            response.length.unwrap_or(response.body.len() as u64),
        );
        if self.has_body(response) {
            bytes.extend_from_slice(&response.body);
            self.written = response.body.len() as u64;
        }
        let sent = (&mut &*self.socket).write_all(&bytes);
        self.watch(sent)
    }

    /// Sends an answer whose body is `length` bytes of a file from `offset` on.
    pub fn send(
        &mut self,
        response: &Response,
        file: &File,
        offset: u64,
        length: u64,
    ) -> io::Result<()> {
        let head = self.begin(response, length);
        let sent = if length == 0 || !self.has_body(response) {
            (&mut &*self.socket).write_all(&head)
        } else {
            self.send_file(&head, file, offset, length)
        };
        self.watch(sent)
    }

    /// Sends an answer whose body is what `body` gives. If that is less than `length` bytes, or
    /// fails, the connection is cut, and the client sees that its body is not whole.
    pub fn stream(
        &mut self,
        response: &Response,
        body: &mut dyn Read,
        length: u64,
    ) -> io::Result<()> {
        let head = self.begin(response, length);
        let sent = (&mut &*self.socket).write_all(&head);
        self.watch(sent)?;
        if !self.has_body(response) {
            return Ok(());
        }
        self.promised = length;
        let mut buffer = vec![0; COPY_SIZE as usize];
        while self.written < length {
            let size = (length - self.written).min(COPY_SIZE) as usize;
            let read = body.read(&mut buffer[..size]);
            let read = self.watch(read)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let sent = (&mut &*self.socket).write_all(&buffer[..read]);
            self.watch(sent)?;
            self.written += read as u64;
        }
        Ok(())
    }

    fn send_file(&mut self, head: &[u8], file: &File, at: u64, length: u64) -> io::Result<()> {
        let mut rest = head;
        while !rest.is_empty() {
            let sent = rustix::net::send(self.socket, rest, SendFlags::MORE)?;
            rest = &rest[sent..];
        }
        while self.written < length {
            let (mut at, left) = (at + self.written, length - self.written);
            let size = left.min(PIECE_SIZE) as usize;
            let sent = match rustix::fs::sendfile(self.socket, file, Some(&mut at), size) {
                Err(Errno::INTR) => continue,
                Err(Errno::INVAL | Errno::NOSYS) => self.send_copy(file, at, left)?,
                sent => sent?,
            };
            if sent == 0 {
                return Err(io::Error::other("the file is shorter than it was"));
            }
            self.written += sent as u64;
        }
        Ok(())
    }

    /// Sends the next bytes of a file by way of a buffer, where the kernel can't do without; how
    /// many there were.
    fn send_copy(&self, file: &File, at: u64, left: u64) -> io::Result<usize> {
        let mut buffer = vec![0; left.min(COPY_SIZE) as usize];
        let size = file.read_at(&mut buffer, at)?;
        (&mut &*self.socket).write_all(&buffer[..size])?;
        Ok(size)
    }

    /// Whether a body follows the head of an answer: not to HEAD, whatever the status.
    fn has_body(&self, response: &Response) -> bool {
        self.method() != "HEAD" && has_length(response.status)
    }

    /// Notes that the answer has begun; its head as bytes.
    fn begin(&mut self, response: &Response, length: u64) -> Vec<u8> {
        let left = self
            .head
            .length
            .map(|length| length.saturating_sub(self.taken));
        let skippable = left.is_some_and(|left| left <= SKIP_SIZE_MAX) && !self.head.waits;
        if skippable && !response.close {
            self.skip_body();
        }
        self.head.close |= response.close || !self.body_over;
        self.answered = Some(response.status);
        print_head(response, &self.common.headers, length, self.head.close)
    }

    /// Takes in the rest of a body before it is answered: who has an answer may send the next
    /// head, and the library would read that together with the end of this body.
    fn skip_body(&mut self) {
        let mut body = self.body();
        let mut buffer = [0; 4096];
        while body.read(&mut buffer).is_ok_and(|size| size > 0) {}
    }

    /// An answer that did not get through ends the connection: the next one would be read as
    /// its rest.
    fn watch<T>(&mut self, sent: io::Result<T>) -> io::Result<T> {
        self.broken |= sent.is_err();
        sent
    }

    /// Ends the exchange; whether the connection can go on.
    pub fn end(mut self) -> bool {
        self.broken |= self.written < self.promised;
        self.record();
        let go_on = !self.broken && !self.head.close && self.answered.is_some();
        if self.broken || self.answered.is_none() {
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
        } else if !go_on && !self.body_over {
            let socket = self.socket;
            let mut body = self.body();
            linger(socket, |buffer| body.read(buffer));
        } else if self.head.pipelined {
            let mut socket = self.socket;
            linger(socket, |buffer| socket.read(buffer));
        }
        // The library must not answer by itself.
        drop(self.request.into_writer());
        go_on
    }

    fn record(&self) {
        let status = self.answered.unwrap_or(0);
        let spent = self.started.elapsed();
        self.common
            .tally
            .count(self.method(), status, spent, self.taken, self.written);
        if log::log_enabled!(target: "access", log::Level::Info) {
            // A query may hold what only the client should know.
            let path = self.target().split('?').next().unwrap_or_default();
            let broken = if self.broken {
                " (the connection broke)"
            } else {
                ""
            };
            log::info!(
                target: "access",
                "http.request.method" = self.method(),
                "http.request.uri" = path,
                "http.request.remoteaddr" = self.peer,
                "http.request.useragent" = self.header("User-Agent").unwrap_or_default(),
                "http.request.bytes" = self.taken,
                "http.response.status" = status,
                "http.response.written" = self.written,
                "http.response.duration" = format!("{:.3}ms", spent.as_secs_f64() * 1e3);
                "response completed{broken}"
            );
        }
    }
}

/// The body of a request, as it arrives.
pub struct Incoming<'e, 'c>(&'e mut Exchange<'c>);

impl Body for Incoming<'_, '_> {
    fn length(&self) -> Option<u64> {
        self.0.length()
    }

    fn has_arrived(&self) -> bool {
        ioctl_fionread(self.0.socket).is_ok_and(|size| size > 0)
    }
}

impl Read for Incoming<'_, '_> {
    /// Reads on. A body that ends before its declared length, or in the middle of a chunk, is an
    /// error and not an end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let exchange = &mut *self.0;
        if exchange.body_over || buffer.is_empty() {
            return Ok(0);
        }
        let buffer = match exchange.head.length {
            Some(length) => {
                let left = length - exchange.taken;
                let arrived = ioctl_fionread(exchange.socket).unwrap_or(0);
                exchange.head.pipelined |= arrived > left;
                exchange.head.close |= exchange.head.pipelined;
                let size = left.min(buffer.len() as u64) as usize;
                &mut buffer[..size]
            }
            None => buffer,
        };
        let size = exchange.request.as_reader().read(buffer)?;
        exchange.taken += size as u64;
        let missing = exchange
            .head
            .length
            .is_some_and(|length| exchange.taken < length);
        if size == 0 && missing {
            let declared = exchange.head.length.unwrap_or_default();
            let cause = format!("{} of {declared} bytes came", exchange.taken);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, cause));
        }
        exchange.body_over = size == 0 || exchange.head.length == Some(exchange.taken);
        Ok(size)
    }
}

/// Statuses whose answers have neither a body nor a length (RFC 9110, section 8.6).
fn has_length(status: u16) -> bool {
    status != 204 && status != 304
}

/// The head of an answer whose body has `length` bytes, with room for a small body. Of `common`
/// there is what the answer does not say itself.
pub(super) fn print_head(
    response: &Response,
    common: &[(String, String)],
    length: u64,
    close: bool,
) -> Vec<u8> {
    let mut head = Vec::with_capacity(1024 + response.body.len());
    let status = tiny_http::StatusCode(response.status);
    let reason = status.default_reason_phrase();
    let date = httpdate::fmt_http_date(SystemTime::now());
    // Writing to memory can't fail.
    let _ = write!(head, "HTTP/1.1 {} {reason}\r\n", response.status);
    print_header(&mut head, "Date", &date);
    print_header(&mut head, "Docker-Distribution-Api-Version", "registry/2.0");
    let own = &response.headers;
    let is_own = |name: &str| own.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    for (name, value) in common.iter().filter(|(name, _)| !is_own(name)) {
        print_header(&mut head, name, value);
    }
    for (name, value) in own {
        print_header(&mut head, name, value);
    }
    if has_length(response.status) {
        print_header(&mut head, "Content-Length", &length.to_string());
    }
    if close {
        print_header(&mut head, "Connection", "close");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Prints a header, unless it would be read as another one, or as more than one (RFC 9110,
/// section 5.5): wherever its value came from, it goes no further than here.
fn print_header(head: &mut Vec<u8>, name: &str, value: &str) {
    if value.bytes().any(|c| c.is_ascii_control() && c != b'\t') {
        log::error!("{name} is left out of an answer: its value has control characters");
        return;
    }
    // Writing to memory can't fail.
    let _ = write!(head, "{name}: {value}\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_becomes_a_header_of_its_own() {
        let owner = |value: &str| [("X-Owner".to_owned(), value.to_owned())];
        for bad in [
            "a\r\nX-Evil: 1",
            "a\nX-Evil: 1",
            "a\rb",
            "a\0b",
            "\x7f",
            "\x1b[2J",
        ] {
            let response = Response::base().with("X-Own", bad).with("X-Last", "\t é");
            let head = print_head(&response, &owner(bad), 2, true);
            let head = String::from_utf8(head).expect("text");
            let lines: Vec<&str> = head
                .split("\r\n")
                .filter(|l| !l.starts_with("Date:"))
                .collect();
            let expected = [
                "HTTP/1.1 200 OK",
                "Docker-Distribution-Api-Version: registry/2.0",
                "Content-Type: application/json; charset=utf-8",
                "X-Last: \t é",
                "Content-Length: 2",
                "Connection: close",
                "",
                "",
            ];
            assert_eq!(lines, expected, "{bad:?}");
        }
    }
}
