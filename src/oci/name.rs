//! Names: repositories and what is found in them (distribution-spec, "Pulling manifests").

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::digest::{Digest, clip};
use super::refusal::Refusal;

/// A repository's name; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository(Arc<str>);

impl Repository {
    /// The longest name, in bytes, that clients and file systems agree on.
    pub const LENGTH_MAX: usize = 255;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Repository {
    type Err = Refusal;

    /// Parses path components of lower-case letters and digits, held together by `.`, `_`, `__`
    /// or dashes, and separated by slashes.
    fn from_str(text: &str) -> Result<Repository, Refusal> {
        if text.len() <= Self::LENGTH_MAX && text.split('/').all(is_component) {
            Ok(Repository(text.into()))
        } else {
            Err(Refusal::NameInvalid(format!(
                "{:?} is not a repository name",
                clip(text)
            )))
        }
    }
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_well = |end: Option<&u8>| end.is_some_and(alphanumeric);
    ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes.split(alphanumeric).all(|held_by| {
            matches!(held_by, b"" | b"." | b"_" | b"__") || held_by.iter().all(|&c| c == b'-')
        })
}

/// A tag: a name, movable, for one manifest of a repository; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = Refusal;

    /// Parses `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    fn from_str(text: &str) -> Result<Tag, Refusal> {
        let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        let bytes = text.as_bytes();
        let good = (1..=128).contains(&bytes.len())
            && word(bytes[0])
            && bytes.iter().all(|&c| word(c) || c == b'.' || c == b'-');
        if good {
            Ok(Tag(text.into()))
        } else {
            // The spec has no code for a malformed tag; clients know this one from distribution.
            Err(Refusal::TagInvalid(format!(
                "{:?} is not a tag",
                clip(text)
            )))
        }
    }
}

/// What names a manifest in its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By the tag that points to it.
    Tag(Tag),
    /// By its own digest.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = Refusal;

    /// A digest if there is a colon, which no tag has; else a tag.
    fn from_str(text: &str) -> Result<Reference, Refusal> {
        if text.contains(':') {
            text.parse().map(Reference::Digest)
        } else {
            text.parse().map(Reference::Tag)
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Tag(tag) => tag.fmt(f),
            Reference::Digest(digest) => digest.fmt(f),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_follow_the_grammar() {
        for good in [
            "a",
            "alpine",
            "library/alpine",
            "a.b/c_d/e__f/g-h/i---j",
            "0/1",
            "quay.io/org/img",
        ] {
            assert_eq!(
                good.parse::<Repository>().map(|name| name.to_string()).ok(),
                Some(good.into())
            );
        }
        let long = ["a".repeat(255), "a".repeat(256)];
        assert!(long[0].parse::<Repository>().is_ok());
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a/B",
            ".",
            "..",
            "a/../b",
            "a..b",
            "a___b",
            "a._b",
            "-a",
            "a-",
            "_uploads",
            "a/_manifests",
            "a b",
            "a\0",
            "é",
            "a:b",
            "a%2fb",
            &long[1],
        ] {
            assert!(
                bad.parse::<Repository>().is_err(),
                "{bad:?} was taken for a repository name"
            );
        }
    }

    #[test]
    fn tags_follow_the_grammar() {
        for good in ["latest", "v1.2.3", "_x", "A-b_c.d", &"t".repeat(128)] {
            assert!(good.parse::<Tag>().is_ok(), "{good:?} is a tag");
        }
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "a/b",
            "a b",
            "a:b",
            "é",
            &"t".repeat(129),
        ] {
            assert!(bad.parse::<Tag>().is_err(), "{bad:?} was taken for a tag");
        }
    }
}
