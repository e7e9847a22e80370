//! Reading a multipart form as it comes.

use std::io::{self, Read};

/// What holds the file of a form.
pub trait Sink {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// What a form had besides the bytes of its file.
#[derive(Default)]
pub struct Form {
    /// The text fields.
    pub fields: Vec<(String, String)>,
    /// The file's name, without folders, as Go keeps it; `None` if there was no file.
    pub filename: Option<String>,
}

/// Reads a form of which the file in `field` goes to `sink`.
pub fn read(body: impl Read, boundary: &str, field: &str, sink: &mut dyn Sink) -> io::Result<Form> {
    let mut parts = Parts {
        body,
        // So that the first delimiter is like all others.
        buffer: b"\r\n".to_vec(),
        delimiter: format!("\r\n--{boundary}").into_bytes(),
    };
    let mut form = Form::default();
    parts.until_delimiter(&mut |_| Ok(()))?;
    while let Some(head) = parts.head()? {
        let name = parameter(&head, "name").unwrap_or_default();
        match parameter(&head, "filename") {
            Some(filename) if name == field => {
                parts.until_delimiter(&mut |bytes| sink.take(bytes))?;
                form.filename = filename.rsplit('/').next().map(str::to_string);
            }
            _ => {
                let mut value = Vec::new();
                parts.until_delimiter(&mut |bytes| {
                    value.extend_from_slice(bytes);
                    Ok(())
                })?;
                form.fields
                    .push((name, String::from_utf8_lossy(&value).into_owned()));
            }
        }
    }
    Ok(form)
}

struct Parts<R> {
    body: R,
    buffer: Vec<u8>,
    delimiter: Vec<u8>,
}

impl<R: Read> Parts<R> {
    /// Gives away what comes before the next delimiter, and drops the delimiter.
    fn until_delimiter(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        loop {
            if let Some(at) = find(&self.buffer, &self.delimiter) {
                take(&self.buffer[..at])?;
                self.buffer.drain(..at + self.delimiter.len());
                return Ok(());
            }
            let safe = (self.buffer.len() + 1).saturating_sub(self.delimiter.len());
            take(&self.buffer[..safe])?;
            self.buffer.drain(..safe);
            self.fill()?;
        }
    }

    /// The head of the part after a delimiter; `None` after the last.
    fn head(&mut self) -> io::Result<Option<String>> {
        loop {
            if self.buffer.starts_with(b"--") {
                // What follows the last part means nothing, but is to be read.
                io::copy(&mut self.body, &mut io::sink())?;
                return Ok(None);
            }
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 4);
                return Ok(Some(head));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 64 << 10];
        match self.body.read(&mut chunk)? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the form has no end",
            )),
            len => {
                self.buffer.extend_from_slice(&chunk[..len]);
                Ok(())
            }
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == wanted[0]) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

fn parameter(head: &str, name: &str) -> Option<String> {
    let wanted = format!("; {name}=\"");
    let (_, rest) = head.split_once(&wanted)?;
    rest.split('"').next().map(str::to_string)
}
