//! What clients were told of a registry, and whether it holds.

use std::collections::{BTreeMap, BTreeSet};

use lighthouse::oci::Digest;

use crate::world::{Answer, Hub};

/// What a URL leads to: content, or nothing.
pub type Held = Option<Digest>;

/// What each URL can lead to: one thing once that was acknowledged, and more while nobody knows
/// what became of a request.
#[derive(Clone, Debug, Default)]
pub struct Told(BTreeMap<String, BTreeSet<Held>>);

impl Told {
    /// Notes what came of a request after which `url` leads to `held`: None if the connection
    /// broke. An answer of 4xx says that nothing has changed.
    pub fn note(&mut self, url: &str, held: Held, status: Option<u16>) {
        let known = self.0.entry(url.into());
        let known = known.or_insert_with(|| BTreeSet::from([None]));
        match status {
            Some(200..=299) => *known = BTreeSet::from([held]),
            Some(400..=499) => {}
            _ => drop(known.insert(held)),
        }
    }

    /// Notes what came of the removal of a manifest with all tags that lead to it, in a repository
    /// whose URLs begin so.
    pub fn note_removal(&mut self, repository: &str, digest: Digest, status: Option<u16>) {
        let all = self
            .0
            .iter_mut()
            .filter(|(url, _)| url.starts_with(repository));
        for (_, known) in all.filter(|(_, known)| known.contains(&Some(digest))) {
            match status {
                Some(200..=299) => {
                    known.remove(&Some(digest));
                    known.insert(None);
                }
                Some(400..=499) => {}
                _ => drop(known.insert(None)),
            }
        }
    }

    /// Asks for everything: what was acknowledged is there, and whole, and what is not known is
    /// known from then on.
    #[track_caller]
    pub fn verify(&mut self, hub: &Hub, when: &str) {
        for (url, known) in &mut self.0 {
            let held = held(&hub.get(url), url, when);
            assert!(
                known.contains(&held),
                "{when}: {url} is {held:?}, not of {known:?}"
            );
            *known = BTreeSet::from([held]);
        }
    }
}

/// What an answer gives, which is whole.
#[track_caller]
pub fn held(answer: &Answer, url: &str, when: &str) -> Held {
    match answer.status {
        404 => None,
        200 => {
            let said: Digest = answer
                .header("Docker-Content-Digest")
                .parse()
                .expect("a digest");
            let found = Digest::of(said.algorithm(), &answer.body);
            assert_eq!(found, said, "{when}: {url} is not what it says");
            Some(said)
        }
        _ => panic!("{when}: {url}: {answer}"),
    }
}
