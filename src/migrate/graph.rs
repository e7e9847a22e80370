//! The graph: what waits for what. A tag waits for its manifest, an index for its manifests, a
//! manifest for its blobs; each is brought once, however many wait for it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::oci::Digest;

use super::Failure;

/// A piece of what is to arrive; with the number of its route, for repositories share nothing
/// without being told.
pub type Key = (usize, Piece);

/// A piece of what is to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// What the user asked for: the tag, or digest, of that number.
    Root(usize),
    /// A manifest.
    Manifest(Digest),
    /// A blob.
    Blob(Digest),
    /// All that refers to a manifest.
    Referrers(Digest),
}

/// Pieces, and what is to be done with each when all its parts have arrived: `T`.
pub struct Graph<T> {
    nodes: HashMap<Key, Node<T>>,
}

struct Node<T> {
    stage: Stage,
    /// Parts that have not arrived.
    missing: usize,
    /// All parts.
    parts: Vec<Key>,
    then: Option<T>,
    /// Whose part it is.
    waiters: Vec<Key>,
}

enum Stage {
    /// On its way.
    Open,
    Arrived,
    Failed(Arc<Failure>),
}

/// What a piece that now has parts waits for.
#[derive(Debug)]
pub enum Wait {
    /// Nothing: all of them are there.
    Over,
    /// For some, of which these were unknown until now.
    For(Vec<Key>),
    /// In vain.
    Failed(Arc<Failure>),
}

impl<T> Default for Graph<T> {
    fn default() -> Graph<T> {
        Graph {
            nodes: HashMap::new(),
        }
    }
}

impl<T> Graph<T> {
    /// Adds a piece that nothing waits for.
    pub fn add(&mut self, key: Key) {
        self.nodes.entry(key).or_insert_with(Node::open);
    }

    /// A piece needs these parts now; when all have arrived, [`Graph::arrive`] names it and
    /// [`Graph::then`] gives back what to do.
    pub fn expect(&mut self, key: Key, parts: Vec<Key>, then: T) -> Wait {
        let mut unknown = Vec::new();
        let mut missing = 0;
        for part in &parts {
            if *part == key || self.waits_for(&key, part) {
                let cause = "it refers to itself, by way of others".into();
                let url = format!("{:?}", part.1);
                return Wait::Failed(Arc::new(Failure::Protocol { url, cause }));
            }
            let node = self.nodes.entry(*part).or_insert_with(|| {
                unknown.push(*part);
                Node::open()
            });
            match &node.stage {
                Stage::Arrived => {}
                Stage::Failed(failure) => return Wait::Failed(failure.clone()),
                Stage::Open => {
                    node.waiters.push(key);
                    missing += 1;
                }
            }
        }
        let node = self.nodes.entry(key).or_insert_with(Node::open);
        (node.missing, node.parts, node.then) = (missing, parts, Some(then));
        if missing == 0 {
            Wait::Over
        } else {
            Wait::For(unknown)
        }
    }

    /// Whether `part` waits for `key`, so that they would wait for each other.
    fn waits_for(&self, key: &Key, part: &Key) -> bool {
        let waiters = self.nodes.get(key).map_or(&[][..], |node| &node.waiters);
        waiters
            .iter()
            .any(|waiter| waiter == part || self.waits_for(waiter, part))
    }

    /// What was to be done with a piece when its parts are there.
    pub fn then(&mut self, key: &Key) -> Option<T> {
        self.nodes.get_mut(key)?.then.take()
    }

    /// Who waits for a piece.
    pub fn waiters(&self, key: &Key) -> &[Key] {
        self.nodes.get(key).map_or(&[], |node| &node.waiters)
    }

    /// Whether a piece, or a part of it, is still on its way.
    pub fn is_open(&self, key: &Key) -> bool {
        self.nodes
            .get(key)
            .is_some_and(|node| matches!(node.stage, Stage::Open))
    }

    /// A piece is there. Returns those that now have all their parts.
    pub fn arrive(&mut self, key: Key) -> Vec<Key> {
        let node = self.nodes.entry(key).or_insert_with(Node::open);
        node.stage = Stage::Arrived;
        (node.parts, node.then) = (Vec::new(), None);
        let waiters = std::mem::take(&mut node.waiters);
        let mut complete = Vec::new();
        for waiter in waiters {
            let Some(node) = self.nodes.get_mut(&waiter) else {
                continue;
            };
            if !matches!(node.stage, Stage::Open) {
                continue;
            }
            node.missing -= 1;
            if node.missing == 0 {
                complete.push(waiter);
            }
        }
        complete
    }

    /// A piece will not arrive, nor will anything that waits for it. Returns all of them.
    pub fn fail(&mut self, key: Key, failure: &Arc<Failure>) -> Vec<Key> {
        let node = self.nodes.entry(key).or_insert_with(Node::open);
        if !matches!(node.stage, Stage::Open) {
            return Vec::new();
        }
        node.stage = Stage::Failed(failure.clone());
        (node.parts, node.then) = (Vec::new(), None);
        let waiters = std::mem::take(&mut node.waiters);
        let above = waiters
            .into_iter()
            .flat_map(|waiter| self.fail(waiter, failure));
        let mut failed: Vec<Key> = above.collect();
        failed.push(key);
        failed
    }

    /// How many of a piece's parts are there, and how many it has.
    pub fn progress(&self, key: &Key) -> (usize, usize) {
        let Some(node) = self.nodes.get(key) else {
            return (0, 0);
        };
        let arrived = node.parts.iter().filter(|part| !self.is_open(part)).count();
        (arrived, node.parts.len())
    }
}

impl<T> Node<T> {
    fn open() -> Node<T> {
        Node {
            stage: Stage::Open,
            missing: 0,
            parts: Vec::new(),
            then: None,
            waiters: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn manifest(n: u8) -> Key {
        (0, Piece::Manifest(Digest::of(Algorithm::Sha256, &[n])))
    }

    fn root(n: usize) -> Key {
        (0, Piece::Root(n))
    }

    #[test]
    fn each_piece_is_brought_once_and_completes_all_that_wait() {
        let mut graph = Graph::default();
        let (one, two, shared) = (manifest(1), manifest(2), manifest(3));
        let fresh = |wait| match wait {
            Wait::For(fresh) => fresh,
            other => panic!("{other:?}"),
        };
        assert_eq!(fresh(graph.expect(root(1), vec![one], "root 1")), [one]);
        assert_eq!(fresh(graph.expect(root(2), vec![two], "root 2")), [two]);
        assert_eq!(fresh(graph.expect(one, vec![shared], "one")), [shared]);
        assert_eq!(fresh(graph.expect(two, vec![shared], "two")), []);
        assert_eq!(graph.progress(&one), (0, 1));
        assert_eq!(graph.arrive(shared), [one, two]);
        assert_eq!(graph.progress(&one), (1, 1));
        assert_eq!(graph.then(&one), Some("one"));
        assert_eq!(graph.arrive(one), [root(1)]);
        assert!(matches!(
            graph.expect(root(1), vec![shared], "again"),
            Wait::Over
        ));
    }

    #[test]
    fn one_failure_reaches_all_that_need_it_and_nothing_else() {
        let mut graph = Graph::default();
        graph.expect(root(1), vec![manifest(1)], ());
        graph.expect(root(2), vec![manifest(2)], ());
        graph.expect(manifest(1), vec![manifest(3), manifest(4)], ());
        let failure = Arc::new(Failure::Missing("it".into()));
        assert_eq!(
            graph.fail(manifest(3), &failure),
            [root(1), manifest(1), manifest(3)]
        );
        assert!(
            graph.arrive(manifest(4)).is_empty(),
            "what has failed does not go on"
        );
        assert!(graph.is_open(&root(2)) && !graph.is_open(&root(1)));
        assert!(matches!(
            graph.expect(root(3), vec![manifest(1)], ()),
            Wait::Failed(_)
        ));
    }

    #[test]
    fn a_circle_is_a_failure() {
        let mut graph = Graph::default();
        graph.expect(manifest(1), vec![manifest(2)], ());
        assert!(matches!(
            graph.expect(manifest(2), vec![manifest(1)], ()),
            Wait::Failed(_)
        ));
        assert!(matches!(
            graph.expect(manifest(3), vec![manifest(3)], ()),
            Wait::Failed(_)
        ));
    }
}
