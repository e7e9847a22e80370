//! Selection: which tags of a repository are wanted, and in which order they travel.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::oci::{Digest, Tag};

/// Which tags are wanted.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only tags that match one of these globs; all if there are none.
    pub include: Vec<String>,
    /// No tag that matches one of these globs.
    pub exclude: Vec<String>,
    /// Of those, only so many with the highest versions.
    pub latest: Option<usize>,
}

impl Selection {
    /// The wanted tags, highest version first: what matters most arrives first.
    pub fn of(&self, tags: &[Tag]) -> Vec<Tag> {
        let matches = |globs: &[String], tag: &Tag| {
            globs
                .iter()
                .any(|glob| matches_glob(glob.as_bytes(), tag.as_str().as_bytes()))
        };
        let mut wanted: Vec<Tag> = tags
            .iter()
            .filter(|tag| self.include.is_empty() || matches(&self.include, tag))
            .filter(|tag| !matches(&self.exclude, tag))
            .filter(|tag| self.latest.is_none() || subject_of(tag).is_none())
            .cloned()
            .collect();
        wanted.sort_by(|one, other| by_version(other.as_str(), one.as_str()));
        wanted.dedup();
        wanted.truncate(self.latest.unwrap_or(usize::MAX));
        wanted
    }
}

/// Whether the whole text matches a glob: `*` is any run of characters, `?` any one, and `[a-z]`
/// or `[!a-z]` one of a set.
fn matches_glob(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    // Where to go on after a mismatch: behind the last `*`, which then swallows one byte more.
    let mut retry: Option<(usize, usize)> = None;
    while pos < text.len() {
        let step = match glob.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, pos));
                at += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => in_set(&glob[at..], text[pos]),
            Some(&c) => (c == text[pos]).then_some(1),
            None => None,
        };
        match (step, retry) {
            (Some(length), _) => {
                at += length;
                pos += 1;
            }
            (None, Some((behind, swallowed))) => {
                retry = Some((behind, swallowed + 1));
                (at, pos) = (behind, swallowed + 1);
            }
            (None, None) => return false,
        }
    }
    glob[at..].iter().all(|&c| c == b'*')
}

/// The length of the set that the glob begins with, if it has the byte in it. A bracket that is
/// never closed stands for itself.
fn in_set(glob: &[u8], byte: u8) -> Option<usize> {
    let Some(end) = (2..glob.len()).find(|&at| glob[at] == b']') else {
        return (byte == b'[').then_some(1);
    };
    let (inverted, mut set) = match &glob[1..end] {
        [b'!' | b'^', set @ ..] => (true, set),
        set => (false, set),
    };
    let mut found = false;
    while let Some((&first, rest)) = set.split_first() {
        (found, set) = match rest {
            [b'-', last, rest @ ..] => (found || (first..=*last).contains(&byte), rest),
            _ => (found || first == byte, rest),
        };
    }
    (found != inverted).then_some(end + 1)
}

/// Orders tags by version: numbers by their value, `1.2` above `1.2-rc1`, and what does not begin
/// like a version, such as `edge`, below all that does.
fn by_version(one: &str, other: &str) -> Ordering {
    let (one_number, other_number) = (Version::of(one), Version::of(other));
    one_number.cmp(&other_number).then_with(|| one.cmp(other))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Version<'t> {
    /// The numbers in front; none if the tag is no version.
    numbers: Vec<u64>,
    /// Whether nothing follows them: a release is above its own candidates.
    plain: bool,
    /// The words and numbers that follow them.
    rest: Vec<(Option<u64>, &'t str)>,
}

impl<'t> Version<'t> {
    fn of(tag: &'t str) -> Version<'t> {
        let text = match tag.strip_prefix('v') {
            Some(text) if text.starts_with(|c: char| c.is_ascii_digit()) => text,
            _ => tag,
        };
        let mut rest = text;
        let mut numbers = Vec::new();
        loop {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            let Ok(number) = rest[..digits].parse() else {
                break;
            };
            numbers.push(number);
            rest = &rest[digits..];
            match rest.strip_prefix('.') {
                Some(after) if after.starts_with(|c: char| c.is_ascii_digit()) => rest = after,
                _ => break,
            }
        }
        let words = rest.split(['.', '-', '_']).filter(|word| !word.is_empty());
        let rest: Vec<_> = words.map(word_and_number).collect();
        Version {
            plain: rest.is_empty(),
            numbers,
            rest,
        }
    }
}

/// `rc10` is after `rc9`: the number at the end of a word counts by its value, after the word.
fn word_and_number(word: &str) -> (Option<u64>, &str) {
    let letters = word.trim_end_matches(|c: char| c.is_ascii_digit());
    (word[letters.len()..].parse().ok(), letters)
}

/// The digest that a tag of the form `sha256-…`, with or without a suffix such as `.sig`, belongs
/// to: the fallback of the distribution-spec ("Referrers Tag Schema") and what cosign sets.
pub fn subject_of(tag: &Tag) -> Option<Digest> {
    let (algorithm, rest) = tag.as_str().split_once('-')?;
    let hex = rest.split_once('.').map_or(rest, |(hex, _)| hex);
    Digest::from_parts(algorithm, hex)
}

/// The tags that belong to a manifest each, by its digest.
pub fn companions(tags: &[Tag]) -> HashMap<Digest, Vec<Tag>> {
    let mut companions: HashMap<Digest, Vec<Tag>> = HashMap::new();
    for tag in tags {
        if let Some(subject) = subject_of(tag) {
            companions.entry(subject).or_default().push(tag.clone());
        }
    }
    companions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> Vec<Tag> {
        text.split_whitespace()
            .map(|tag| tag.parse().expect(tag))
            .collect()
    }

    fn selected(selection: &Selection, text: &str) -> String {
        let names: Vec<_> = selection
            .of(&tags(text))
            .iter()
            .map(Tag::to_string)
            .collect();
        names.join(" ")
    }

    #[test]
    fn globs_match_the_whole_tag() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("3.*", "3.20", true),
            ("3.*", "13.2", false),
            ("*-alpine", "7.2-alpine", true),
            ("*-alpine", "7.2-alpine3", false),
            ("3.?", "3.2", true),
            ("3.?", "3.20", false),
            ("v[0-9]*", "v1", true),
            ("v[!0-9]*", "v1", false),
            ("[abc", "[abc", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("latest", "latest", true),
            (
                "********************a",
                "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
                false,
            ),
        ] {
            assert_eq!(
                matches_glob(glob.as_bytes(), text.as_bytes()),
                expected,
                "{glob} {text}"
            );
        }
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let all = Selection::default();
        assert_eq!(
            selected(
                &all,
                "edge 3.9 3.20.0_rc2 3.10 latest 3.20.0_rc10 v3.20.0 3.20 3"
            ),
            "v3.20.0 3.20.0_rc10 3.20.0_rc2 3.20 3.10 3.9 3 latest edge"
        );
    }

    #[test]
    fn include_exclude_and_latest_narrow_down() {
        let selection = Selection {
            include: vec!["3.*".into(), "latest".into()],
            exclude: vec!["*_rc*".into()],
            latest: Some(2),
        };
        let sig = format!("sha256-{}.sig", "a".repeat(64));
        let text = format!("2.7 3.1 3.2 3.3_rc1 latest {sig}");
        assert_eq!(selected(&selection, &text), "3.2 3.1");
        let only_latest = Selection {
            latest: Some(1),
            ..Selection::default()
        };
        assert_eq!(
            selected(&only_latest, &sig),
            "",
            "a signature is no version of an image"
        );
    }

    #[test]
    fn companions_say_whose_they_are() {
        let hex = "a".repeat(64);
        let text = format!("3.1 sha256-{hex} sha256-{hex}.sig sha256-abc.sig md5-{hex}");
        let found = companions(&tags(&text));
        let digest = Digest::from_parts("sha256", &hex).expect("a digest");
        assert_eq!(found.len(), 1);
        assert_eq!(found[&digest].len(), 2);
    }
}
