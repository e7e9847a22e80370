//! A client that says exactly what it is told to, in bytes, however wrong.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::PATIENCE;

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    chunked: bool,
}

impl Ask {
    pub fn new(method: &str, target: impl Into<String>) -> Ask {
        Ask {
            method: method.into(),
            target: target.into(),
            headers: Vec::new(),
            body: None,
            chunked: false,
        }
    }

    pub fn get(target: impl Into<String>) -> Ask {
        Ask::new("GET", target)
    }

    pub fn head(target: impl Into<String>) -> Ask {
        Ask::new("HEAD", target)
    }

    pub fn post(target: impl Into<String>) -> Ask {
        Ask::new("POST", target)
    }

    pub fn put(target: impl Into<String>) -> Ask {
        Ask::new("PUT", target)
    }

    pub fn patch(target: impl Into<String>) -> Ask {
        Ask::new("PATCH", target)
    }

    pub fn delete(target: impl Into<String>) -> Ask {
        Ask::new("DELETE", target)
    }

    /// The same by another method.
    pub fn by(self, method: &str) -> Ask {
        Ask {
            method: method.into(),
            ..self
        }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Ask {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With a body whose length is declared.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Ask {
        self.body = Some(body.into());
        self
    }

    /// With a body in chunks, whose length nobody knows before.
    pub fn stream(mut self, body: impl Into<Vec<u8>>) -> Ask {
        self.chunked = true;
        self.body(body)
    }

    pub fn declares_length(&self) -> bool {
        !self.chunked
    }

    /// The head of the request.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(name, _)| name == "Host") {
            head += "Host: registry.test\r\n";
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match &self.body {
            Some(_) if self.chunked => head += "Transfer-Encoding: chunked\r\n",
            Some(body) => head += &format!("Content-Length: {}\r\n", body.len()),
            // As clients do where a body could be.
            None if self.method == "POST" || self.method == "PUT" => {
                head += "Content-Length: 0\r\n";
            }
            None => {}
        }
        (head + "\r\n").into_bytes()
    }

    /// The head, to be shown.
    pub fn head_text(&self) -> String {
        String::from_utf8_lossy(&self.head_bytes()).into_owned()
    }

    /// The whole request.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        let body = self.body.as_deref().unwrap_or_default();
        if self.chunked {
            // Chunks of a size that fits no buffer evenly.
            for chunk in body.chunks(7001) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

/// What a registry answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The answer, if it has that status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The answer, if it is a refusal of that status and code in the form that the
    /// distribution-spec gives it ("Error codes").
    #[track_caller]
    pub fn refuses(self, status: u16, code: &str) -> Answer {
        let answer = self.expect(status);
        assert_eq!(
            answer.header("Content-Type"),
            "application/json; charset=utf-8"
        );
        let body = answer.json();
        let errors = body["errors"].as_array().expect("a list of errors");
        assert!(!errors.is_empty(), "{answer}");
        for error in errors {
            assert_eq!(error["code"], code, "{answer}");
            assert!(
                error["message"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            );
            assert!(error.get("detail").is_some(), "{answer}");
        }
        answer
    }

    /// A header that must be there, once.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.find(name)
            .unwrap_or_else(|| panic!("no {name} in {self}"))
    }

    /// A header that may be there, but not twice.
    #[track_caller]
    pub fn find(&self, name: &str) -> Option<&str> {
        let mut found = self
            .headers
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} comes twice in {self}");
        value
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err} in {self}"))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{} {:?} {body:.400}", self.status, self.headers)
    }
}

/// A connection.
pub struct Line {
    socket: BufReader<Socket>,
}

impl Line {
    /// Connects to `127.0.0.1:5005`, or to a path in the file system.
    pub fn to(address: &str) -> Line {
        Line::try_to(address).unwrap_or_else(|err| panic!("{address}: {err}"))
    }

    pub fn try_to(address: &str) -> io::Result<Line> {
        let (domain, address) = if address.starts_with('/') {
            (Domain::UNIX, SockAddr::unix(address)?)
        } else {
            let address: SocketAddr = address.parse().map_err(io::Error::other)?;
            (Domain::for_address(address), address.into())
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.connect(&address)?;
        if domain != Domain::UNIX {
            // As clients do: what is said goes out at once.
            socket.set_tcp_nodelay(true)?;
        }
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let socket = BufReader::new(socket);
        Ok(Line { socket })
    }

    /// Waits longer than usual for what the registry says.
    pub fn patient(self, patience: Duration) -> Line {
        let set = self.socket.get_ref().set_read_timeout(Some(patience));
        set.expect("a time-out");
        self
    }

    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_say(bytes).expect("the registry listens");
    }

    pub fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.get_mut().write_all(bytes.as_ref())
    }

    /// Says no more, and still listens.
    pub fn hush(&mut self) {
        let _ = self.socket.get_ref().shutdown(Shutdown::Write);
    }

    /// Vanishes without a good-bye: what is on its way is thrown away on both ends.
    pub fn reset(self) {
        let _ = self.socket.get_ref().set_linger(Some(Duration::ZERO));
    }

    /// Asks, and hears the answer.
    #[track_caller]
    pub fn ask(&mut self, ask: &Ask) -> Answer {
        self.say(ask.bytes());
        self.hear(&ask.method)
    }

    /// Hears the answer to a request with that method.
    #[track_caller]
    pub fn hear(&mut self, method: &str) -> Answer {
        self.try_hear(method)
            .unwrap_or_else(|err| panic!("no answer: {err}"))
    }

    pub fn try_hear(&mut self, method: &str) -> io::Result<Answer> {
        let mut line = String::new();
        self.read_line(&mut line)?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status = status.and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("not a status: {line:?}")))?;
        let mut answer = Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            self.read_line(&mut line)?;
            match line.split_once(": ") {
                Some((name, value)) => answer.headers.push((name.into(), value.into())),
                None if line.is_empty() => break,
                None => return Err(io::Error::other(format!("not a header: {line:?}"))),
            }
        }
        let has_body = method != "HEAD" && status >= 200 && ![204, 304].contains(&status);
        if has_body {
            let length = answer.header("Content-Length").parse();
            answer.body.resize(length.map_err(io::Error::other)?, 0);
            self.socket.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    fn read_line(&mut self, line: &mut String) -> io::Result<()> {
        line.clear();
        self.socket.read_line(line)?;
        match line.strip_suffix("\r\n") {
            Some(text) => *line = text.to_owned(),
            None => return Err(io::Error::other(format!("cut at {line:?}"))),
        }
        Ok(())
    }

    /// Reads what comes, at most `size` bytes.
    pub fn read(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        // What came before the line broke is what there is.
        let _ = self
            .socket
            .by_ref()
            .take(size as u64)
            .read_to_end(&mut bytes);
        bytes
    }

    /// Reads until the registry ends the connection in good order: a reset, which may throw away
    /// what was said before, is no such end.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = self.socket.read_to_end(&mut bytes);
        read.unwrap_or_else(|err| panic!("no clean end after {bytes:?}: {err}"));
        bytes
    }

    /// Waits until the registry ends the connection; it must not say anything before.
    #[track_caller]
    pub fn ends(&mut self) {
        let mut byte = [0];
        match self.socket.read(&mut byte) {
            Ok(0) => {}
            Ok(_) => panic!("it goes on with {:?}", byte[0] as char),
            Err(err) if err.kind() == io::ErrorKind::ConnectionReset => {}
            Err(err) => panic!("the connection does not end: {err}"),
        }
    }
}
