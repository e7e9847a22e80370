//! HTTP/1.1 as far as a double needs it, and no further: so that it can be cut anywhere.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

/// A client's connection.
pub struct Wire {
    stream: BufReader<TcpStream>,
}

/// A request that waits for its answer. Its body is read through `Read`.
pub struct Exchange<'a> {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    stream: &'a mut BufReader<TcpStream>,
    body: Left,
    /// A client waits for `100 Continue`.
    expects: bool,
    closes: bool,
}

/// What is left of a body.
enum Left {
    Bytes(u64),
    /// A chunked body, and what is left of the chunk.
    Chunked(u64),
}

impl Wire {
    pub fn new(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        Ok(Wire {
            stream: BufReader::with_capacity(64 << 10, stream),
        })
    }

    /// The next request; `None` when the client has gone.
    pub fn next(&mut self) -> io::Result<Option<Exchange<'_>>> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_string);
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => {
                    headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
                }
                None => break,
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let query = query
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let header = |name: &str| {
            headers
                .iter()
                .find(|(own, _)| own == name)
                .map(|(_, v)| &v[..])
        };
        let body = match header("transfer-encoding") {
            Some("chunked") => Left::Chunked(0),
            _ => Left::Bytes(header("content-length").map_or(0, |len| len.parse().unwrap_or(0))),
        };
        let expects = header("expect") == Some("100-continue");
        let closes = header("connection") == Some("close");
        let (path, stream) = (path.to_string(), &mut self.stream);
        Ok(Some(Exchange {
            method,
            path,
            query,
            headers,
            stream,
            body,
            expects,
            closes,
        }))
    }
}

impl Exchange<'_> {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| &value[..])
    }

    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| &value[..])
    }

    /// Whether another request can follow: only if all of the body was read.
    pub fn is_reusable(&self) -> bool {
        !self.closes && matches!(self.body, Left::Bytes(0))
    }

    pub fn json(&mut self, status: u16, body: &Value) -> io::Result<()> {
        self.respond(
            status,
            "application/json; charset=UTF-8",
            &[],
            &body.to_string(),
        )
    }

    pub fn text(&mut self, status: u16, body: &str) -> io::Result<()> {
        self.respond(status, "text/plain; charset=UTF-8", &[], body)
    }

    pub fn empty(&mut self, status: u16) -> io::Result<()> {
        self.respond(status, "", &[], "")
    }

    pub fn redirect(&mut self, status: u16, to: &str) -> io::Result<()> {
        self.respond(status, "", &[("Location", to)], "")
    }

    /// Estuary's error envelope.
    pub fn error(&mut self, status: u16, reason: &str, details: &str) -> io::Result<()> {
        let error = json!({"code": status, "reason": reason, "details": details});
        self.json(status, &json!({"error": error}))
    }

    /// The envelope under `/pinning`, which lacks the code.
    pub fn pin_error(&mut self, status: u16, reason: &str) -> io::Result<()> {
        self.json(status, &json!({"error": {"reason": reason, "details": ""}}))
    }

    fn respond(
        &mut self,
        status: u16,
        content_type: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<()> {
        let mut all = headers.to_vec();
        if !content_type.is_empty() {
            all.push(("Content-Type", content_type));
        }
        self.begin(status, &all, body.len() as u64)?
            .write_all(body.as_bytes())
    }

    /// Sends a head, and gives the stream for the body of `length` bytes that is to follow.
    pub fn begin(
        &mut self,
        status: u16,
        headers: &[(&str, &str)],
        length: u64,
    ) -> io::Result<&mut TcpStream> {
        let connection = if self.is_reusable() {
            "keep-alive"
        } else {
            "close"
        };
        let mut head = format!("HTTP/1.1 {status} -\r\nConnection: {connection}\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {length}\r\n\r\n");
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        Ok(stream)
    }

    /// Says nothing until the client has gone.
    pub fn wait_until_gone(&mut self) -> io::Result<()> {
        io::copy(self.stream, &mut io::sink())?;
        self.cut()
    }

    /// Cuts the connection.
    pub fn cut(&mut self) -> io::Result<()> {
        self.stream.get_ref().shutdown(Shutdown::Both)?;
        Err(io::Error::other("cut off on command"))
    }

    /// The length of the next chunk of a chunked body.
    fn next_chunk(&mut self) -> io::Result<u64> {
        let mut line = String::new();
        // The line end after the chunk before, if there was one.
        while line.trim_end().is_empty() {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let digits = line.trim_end().split(';').next().unwrap_or_default();
        u64::from_str_radix(digits, 16).map_err(io::Error::other)
    }
}

impl Read for Exchange<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.expects) {
            self.stream
                .get_mut()
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if let Left::Chunked(0) = self.body {
            self.body = match self.next_chunk()? {
                0 => {
                    self.stream.read_line(&mut String::new())?;
                    Left::Bytes(0)
                }
                chunk => Left::Chunked(chunk),
            };
        }
        let (Left::Bytes(left) | Left::Chunked(left)) = &mut self.body;
        let len = buffer
            .len()
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(0);
        }
        match self.stream.read(&mut buffer[..len])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            len => {
                *left -= len as u64;
                Ok(len)
            }
        }
    }
}
