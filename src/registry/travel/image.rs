//! What is not completely on the network yet: images, and blobs that somebody waits for.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::super::Ticket;
use crate::oci::{Digest, Response};

/// A client that is answered once the network has pinned what it pushed.
#[derive(Debug)]
pub(super) struct Waiting {
    pub ticket: Ticket,
    pub response: Response,
    pub since: Duration,
}

/// A manifest, or a blob, with all that it needs.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// What the log calls it: `REPOSITORY:TAG`, once for each tag.
    pub names: Vec<String>,
    /// Those who wait for all of it.
    pub waiting: Vec<Waiting>,
    missing: HashSet<Digest>,
}

/// All images of which something is missing on the network.
#[derive(Debug, Default)]
pub(super) struct Images {
    incomplete: HashMap<Digest, Image>,
    needed_by: HashMap<Digest, HashSet<Digest>>,
}

impl Images {
    /// Expects an image of which at least one thing is missing.
    pub fn expect(&mut self, digest: Digest, names: Vec<String>, missing: &HashSet<Digest>) {
        for needed in missing {
            self.needed_by.entry(*needed).or_default().insert(digest);
        }
        let image = self.incomplete.entry(digest).or_default();
        image.missing.extend(missing);
        for name in names {
            if !image.names.contains(&name) {
                image.names.push(name);
            }
        }
    }

    /// What an image lacks; None if it lacks nothing that is known.
    pub fn missing(&self, digest: &Digest) -> Option<&HashSet<Digest>> {
        self.incomplete.get(digest).map(|image| &image.missing)
    }

    /// Lets somebody wait for an image that is expected.
    pub fn wait(&mut self, digest: Digest, waiting: Waiting) {
        let image = self.incomplete.entry(digest).or_default();
        image.waiting.push(waiting);
    }

    /// The images that are complete now that the network has pinned `digest`.
    pub fn complete(&mut self, digest: &Digest) -> Vec<(Digest, Image)> {
        let mut complete = Vec::new();
        for needing in self.needed_by.remove(digest).into_iter().flatten() {
            let Some(image) = self.incomplete.get_mut(&needing) else {
                continue;
            };
            image.missing.remove(digest);
            if image.missing.is_empty() {
                complete.extend(self.incomplete.remove_entry(&needing));
            }
        }
        complete
    }

    /// Those who wait for an image that needs `digest`; they wait no more.
    pub fn waiting_for(&mut self, digest: &Digest) -> Vec<Waiting> {
        let needing = self.needed_by.get(digest).into_iter().flatten();
        let mut waiting = Vec::new();
        for image in needing {
            if let Some(image) = self.incomplete.get_mut(image) {
                waiting.append(&mut image.waiting);
            }
        }
        waiting
    }

    /// Those who wait since `since` or before; they wait no more.
    pub fn waiting_since(&mut self, since: Duration) -> Vec<Waiting> {
        let images = self.incomplete.values_mut();
        images
            .flat_map(|image| image.waiting.extract_if(.., |one| one.since <= since))
            .collect()
    }
}
