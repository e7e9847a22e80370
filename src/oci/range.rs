//! Ranges: parts of a blob asked for, and parts of an upload sent.

use super::digest::clip;
use super::refusal::Refusal;

/// What a `Range` header asks for (RFC 9110, section 14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first byte to the last one, or to the end.
    From(u64, Option<u64>),
    /// The last so many bytes.
    Last(u64),
    /// A `bytes` range that can't be read.
    Unreadable,
}

impl ByteRange {
    /// Parses a `Range` header. None, which means the whole: another unit than bytes, or several
    /// ranges, which a server may answer with everything.
    pub fn parse(header: &str) -> Option<ByteRange> {
        let spec = header.trim().strip_prefix("bytes=")?.trim();
        if spec.contains(',') {
            return None;
        }
        let range = match spec.split_once('-') {
            Some(("", count)) => number(count).map(ByteRange::Last),
            Some((first, "")) => number(first).map(|first| ByteRange::From(first, None)),
            Some((first, last)) => number(first)
                .zip(number(last))
                .filter(|(first, last)| first <= last)
                .map(|(first, last)| ByteRange::From(first, Some(last))),
            None => None,
        };
        Some(range.unwrap_or(ByteRange::Unreadable))
    }

    /// The offset and the length, in bytes, of that range within a blob of `size` bytes. What
    /// reaches past the end is clamped; what begins there is refused.
    pub fn within(self, size: u64) -> Result<(u64, u64), Refusal> {
        let offset = match self {
            ByteRange::From(first, _) => first,
            ByteRange::Last(0) | ByteRange::Unreadable => size,
            ByteRange::Last(count) => size.saturating_sub(count),
        };
        if offset >= size {
            return Err(Refusal::RangeNotSatisfiable(size));
        }
        let rest = size - offset;
        match self {
            ByteRange::From(first, Some(last)) => {
                Ok((offset, rest.min((last - first).saturating_add(1))))
            }
            _ => Ok((offset, rest)),
        }
    }
}

/// Digits only: `u64::from_str` would take a sign too.
pub(super) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The part of an upload that a chunk says it is: its first and its last byte
/// (distribution-spec, "Pushing a blob in chunks").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRange {
    /// Offset of the chunk's first byte.
    pub first: u64,
    /// Offset of its last byte.
    pub last: u64,
}

impl ChunkRange {
    /// Parses a `Content-Range` header, `0-99`; also the form of RFC 9110, `bytes 0-99/*`.
    pub fn parse(header: &str) -> Result<ChunkRange, Refusal> {
        let spec = header.trim();
        let spec = spec
            .strip_prefix("bytes")
            .map_or(spec, |rest| rest.trim_start_matches([' ', '=']));
        let spec = spec.split_once('/').map_or(spec, |(range, _)| range);
        let ends = spec
            .split_once('-')
            .and_then(|(first, last)| number(first).zip(number(last)));
        match ends {
            Some((first, last)) if first <= last && last < u64::MAX => {
                Ok(ChunkRange { first, last })
            }
            _ => Err(Refusal::BlobUploadInvalid(format!(
                "{:?} is not a Content-Range such as 0-99",
                clip(header)
            ))),
        }
    }

    /// Bytes in the chunk; never 0.
    pub fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clamped_to_the_blob() {
        for (header, size, expected) in [
            ("bytes=0-0", 10, Some((0, 1))),
            ("bytes=0-9", 10, Some((0, 10))),
            ("bytes=3-", 10, Some((3, 7))),
            ("bytes=3-100", 10, Some((3, 7))),
            ("bytes=0-18446744073709551615", 10, Some((0, 10))),
            ("bytes=-4", 10, Some((6, 4))),
            ("bytes=-40", 10, Some((0, 10))),
            ("bytes=-0", 10, None),
            ("bytes=10-", 10, None),
            ("bytes=0-", 0, None),
            ("bytes=5-4", 10, None),
            ("bytes=a-b", 10, None),
            ("bytes=+1-2", 10, None),
            ("bytes=--1", 10, None),
            ("bytes=", 10, None),
            ("bytes=99999999999999999999-", 10, None),
        ] {
            let range = ByteRange::parse(header).expect("a range in bytes");
            assert_eq!(range.within(size).ok(), expected, "{header} of {size}");
        }
        assert_eq!(ByteRange::parse("items=0-1"), None);
        assert_eq!(ByteRange::parse("bytes=0-1,3-4"), None);
    }

    #[test]
    fn chunks_say_where_they_belong() {
        for good in ["5-9", "bytes 5-9/*", "bytes=5-9", "5-9/10"] {
            assert_eq!(
                ChunkRange::parse(good),
                Ok(ChunkRange { first: 5, last: 9 })
            );
        }
        for bad in [
            "",
            "5",
            "5-",
            "-9",
            "9-5",
            "a-b",
            "0-18446744073709551615",
            "0--1",
        ] {
            assert!(
                ChunkRange::parse(bad).is_err(),
                "{bad:?} was taken for a Content-Range"
            );
        }
    }
}
