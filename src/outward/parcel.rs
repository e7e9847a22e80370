//! A file as the body of a form, without holding it.

use std::io::{self, Cursor, Read};
use uuid::Uuid;

/// A `multipart/form-data` body (RFC 7578) with one file in it, read as it is sent.
pub struct Parcel<R> {
    boundary: String,
    head: Cursor<Vec<u8>>,
    content: R,
    content_left: u64,
    tail: Cursor<Vec<u8>>,
    size: u64,
    failure: Option<io::Error>,
}

impl<R: Read> Parcel<R> {
    /// Packs the next `size` bytes of `content` as a file in `field`, called `filename`. Both names
    /// must be free of quotes and line ends.
    pub fn new(field: &str, filename: &str, content: R, size: u64) -> Parcel<R> {
        let boundary = format!("lighthouse-{}", Uuid::new_v4().simple());
        let head = format!(
            "--{boundary}\r\n\
             Content-Disposition: form-data; name=\"{field}\"; filename=\"{filename}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        Parcel {
            boundary,
            size: head.len() as u64 + size + tail.len() as u64,
            head: Cursor::new(head.into()),
            content,
            content_left: size,
            tail: Cursor::new(tail.into()),
            failure: None,
        }
    }

    /// The `Content-Type` that goes with it.
    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// Bytes of the whole body.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether all of it was read, so that the receiver may have acted on it.
    pub fn is_sent(&self) -> bool {
        self.tail.position() == self.tail.get_ref().len() as u64
    }

    /// What the content failed with, if it was the content that failed.
    pub fn into_failure(self) -> Option<io::Error> {
        self.failure
    }

    fn read_content(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.content_left).unwrap_or(usize::MAX);
        let buffer_len = buffer.len().min(left);
        let len = self.content.read(&mut buffer[..buffer_len])?;
        if len == 0 {
            let short = format!("{} bytes fewer than expected", self.content_left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, short));
        }
        self.content_left -= len as u64;
        Ok(len)
    }
}

impl<R: Read> Read for Parcel<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.head.read(buffer)? {
            0 => {}
            len => return Ok(len),
        }
        if self.content_left == 0 {
            return self.tail.read(buffer);
        }
        loop {
            match self.read_content(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The one who sends gets a copy, for only we can tell it from an error of his.
                Err(error) => {
                    let copy = io::Error::new(error.kind(), error.to_string());
                    self.failure = Some(error);
                    return Err(copy);
                }
                read => return read,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_is_a_form_with_one_file() {
        let mut parcel = Parcel::new("data", "c0ffee", &b"content and more"[..], 7);
        let (mut body, boundary) = (String::new(), parcel.boundary.clone());
        assert_eq!(
            parcel.content_type(),
            format!("multipart/form-data; boundary={boundary}")
        );
        assert!(!parcel.is_sent());
        parcel.read_to_string(&mut body).expect("readable");
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"data\"; filename=\"c0ffee\"\
             \r\nContent-Type: application/octet-stream\r\n\r\ncontent\r\n--{boundary}--\r\n"
        );
        assert_eq!(body, expected);
        assert_eq!(parcel.size(), expected.len() as u64);
        assert!(parcel.is_sent());
        assert!(parcel.into_failure().is_none());
    }

    #[test]
    fn content_that_ends_early_fails() {
        let mut parcel = Parcel::new("data", "c0ffee", &b"cont"[..], 7);
        let error = parcel.read_to_end(&mut Vec::new()).expect_err("too short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(!parcel.is_sent());
        assert_eq!(
            parcel.into_failure().map(|error| error.kind()),
            Some(error.kind())
        );
    }
}
