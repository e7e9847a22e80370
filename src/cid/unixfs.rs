//! What a network makes of a file: chunks as leaves, and above them a balanced tree of dag-pb nodes
//! whose root names the file (<https://specs.ipfs.tech/unixfs/>).

use super::{Cid, Version};
use sha2::{Digest, Sha256};

/// How a file is cut and linked. Only equal parameters give equal CIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Import {
    /// Bytes of each chunk but the last.
    pub chunk_size: usize,
    /// Links of a node before the next one is begun; at least 2.
    pub links_max: usize,
    /// Whether a leaf is the chunk itself, or a dag-pb block around it.
    pub raw_leaves: bool,
    /// The version of the CIDs of dag-pb blocks; raw leaves are always of version 1.
    pub version: Version,
}

impl Import {
    /// What Estuary does with every upload (its `util/unixfs.go`). A file of up to 1 MiB is one raw
    /// block, so that its CID is its SHA-256.
    pub const ESTUARY: Import = Import {
        chunk_size: 1 << 20,
        links_max: 174,
        raw_leaves: true,
        version: Version::V1,
    };

    /// What we ask Kubo for: Estuary's choice, so that content has one CID wherever it travels.
    pub const KUBO: Import = Import::ESTUARY;

    /// Parameters by the name under which they are noted beside a CID that was computed with them.
    const NAMED: [(&'static str, Import); 1] = [("estuary-174", Import::ESTUARY)];

    /// The parameters of that name; None if it is not known here.
    pub fn named(name: &str) -> Option<Import> {
        let mut named = Import::NAMED.into_iter();
        named
            .find(|(known, _)| *known == name)
            .map(|(_, import)| import)
    }

    /// The name of these parameters, if they have one.
    pub fn name(&self) -> Option<&'static str> {
        let mut named = Import::NAMED.into_iter();
        named.find(|(_, known)| known == self).map(|(name, _)| name)
    }

    /// The CID of content with this SHA-256 and length, where that is all one has to know: it is
    /// one raw block.
    pub fn raw_cid(&self, sha256: &[u8; 32], size: u64) -> Option<Cid> {
        let is_one_block = self.raw_leaves && size <= self.chunk_size as u64;
        is_one_block.then(|| Cid::raw(*sha256))
    }
}

/// A file as a network knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Names the file.
    pub cid: Cid,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes of all blocks of the tree, repeated ones counted each time (dag-pb's `Tsize`).
    pub dag_size: u64,
}

/// Computes the CID of a file that is written to it piece by piece.
///
/// Raw leaves are hashed as they pass, without a buffer. What is kept is one list of links for each
/// level of the tree: 8 KiB a level with Estuary's parameters, and three levels hold 5 TB.
///
/// ```
/// use lighthouse::cid::{Import, Unixfs};
/// let mut unixfs = Unixfs::new(Import::ESTUARY);
/// unixfs.write(b"hello ");
/// unixfs.write(b"world");
/// let root = unixfs.finish();
/// assert_eq!(root.size, 11);
/// assert_eq!(
///     root.cid.to_string(),
///     "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Unixfs {
    import: Import,
    leaf: Leaf,
    /// The links that wait for their node, leaves first. A full list is closed only when its next
    /// sibling comes, since nothing may stand above a root.
    levels: Vec<Vec<Root>>,
}

/// The chunk that is being written.
#[derive(Clone, Debug)]
struct Leaf {
    size: usize,
    content: LeafContent,
}

#[derive(Clone, Debug)]
enum LeafContent {
    Raw(Sha256),
    /// Kept whole, for its block opens with its length.
    Wrapped(Vec<u8>),
}

impl Unixfs {
    /// Begins an empty file.
    pub fn new(import: Import) -> Unixfs {
        assert!(
            import.chunk_size > 0 && import.links_max > 1,
            "an import that never ends"
        );
        Unixfs {
            import,
            leaf: Leaf::new(import),
            levels: vec![Vec::new()],
        }
    }

    /// Takes the next bytes of the file.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.leaf.size == self.import.chunk_size {
                self.close_leaf();
            }
            let room = self.import.chunk_size - self.leaf.size;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.leaf.write(now);
            bytes = later;
        }
    }

    /// Ends the file and names it.
    pub fn finish(mut self) -> Root {
        self.close_leaf();
        if let [leaves] = &self.levels[..]
            && let [leaf] = leaves[..]
        {
            return leaf;
        }
        let mut level = 0;
        loop {
            let root = node(self.import, &self.levels[level]);
            level += 1;
            if level == self.levels.len() {
                return root;
            }
            self.link(level, root);
        }
    }

    fn close_leaf(&mut self) {
        let leaf = std::mem::replace(&mut self.leaf, Leaf::new(self.import));
        self.link(0, leaf.close(self.import));
    }

    /// Hangs a child into the list of `level`, after closing that list if it is full.
    fn link(&mut self, level: usize, child: Root) {
        if self.levels[level].len() == self.import.links_max {
            let parent = node(self.import, &self.levels[level]);
            self.levels[level].clear();
            if level + 1 == self.levels.len() {
                self.levels.push(Vec::new());
            }
            self.link(level + 1, parent);
        }
        self.levels[level].push(child);
    }
}

impl Leaf {
    fn new(import: Import) -> Leaf {
        let content = match import.raw_leaves {
            true => LeafContent::Raw(Sha256::new()),
            false => LeafContent::Wrapped(Vec::new()),
        };
        Leaf { size: 0, content }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.size += bytes.len();
        match &mut self.content {
            LeafContent::Raw(sha256) => sha256.update(bytes),
            LeafContent::Wrapped(chunk) => chunk.extend_from_slice(bytes),
        }
    }

    fn close(self, import: Import) -> Root {
        let size = self.size as u64;
        match self.content {
            LeafContent::Raw(sha256) => Root {
                cid: Cid::raw(sha256.finalize().into()),
                size,
                dag_size: size,
            },
            LeafContent::Wrapped(chunk) => {
                let block = dag_pb(Vec::new(), &unixfs_file(&chunk, size, &[]));
                let dag_size = block.len() as u64;
                let cid = Cid::dag_pb(import.version, Sha256::digest(&block).into());
                Root {
                    cid,
                    size,
                    dag_size,
                }
            }
        }
    }
}

/// The node above `children`.
fn node(import: Import, children: &[Root]) -> Root {
    let mut links = Vec::with_capacity(children.len() * 56);
    for child in children {
        let cid = child.cid.to_bytes();
        let mut link = Vec::with_capacity(56);
        field_bytes(&mut link, 1, &cid);
        field_bytes(&mut link, 2, b"");
        field_varint(&mut link, 3, child.dag_size);
        field_bytes(&mut links, 2, &link);
    }
    let size = children.iter().map(|child| child.size).sum();
    let block = dag_pb(links, &unixfs_file(b"", size, children));
    let children_size: u64 = children.iter().map(|child| child.dag_size).sum();
    let cid = Cid::dag_pb(import.version, Sha256::digest(&block).into());
    Root {
        cid,
        size,
        dag_size: block.len() as u64 + children_size,
    }
}

/// A dag-pb block: its links, already encoded, come before its data.
fn dag_pb(mut links: Vec<u8>, unixfs: &[u8]) -> Vec<u8> {
    field_bytes(&mut links, 1, unixfs);
    links
}

/// The UnixFS message of a file: its type, its own bytes if any, its size, its children's sizes.
fn unixfs_file(chunk: &[u8], size: u64, children: &[Root]) -> Vec<u8> {
    const TYPE_FILE: u64 = 2;
    let mut message = Vec::with_capacity(chunk.len() + children.len() * 6 + 24);
    field_varint(&mut message, 1, TYPE_FILE);
    if !chunk.is_empty() {
        field_bytes(&mut message, 2, chunk);
    }
    field_varint(&mut message, 3, size);
    for child in children {
        field_varint(&mut message, 4, child.size);
    }
    message
}

/// A protobuf field of wire type 2.
fn field_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A protobuf field of wire type 0.
fn field_varint(out: &mut Vec<u8>, number: u8, value: u64) {
    out.push(number << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
