//! Content identifiers: what IPFS and Filecoin call the bytes of a blob.
//!
//! A [`Cid`] is a version, a codec and a SHA-256, the three that UnixFS files need
//! (<https://github.com/multiformats/cid>). [`Unixfs`] computes the CID that a network will give a
//! file, while the file streams by.

mod base;
mod unixfs;

use std::fmt;
use std::str::FromStr;

pub use unixfs::{Import, Root, Unixfs};

/// A content identifier with a SHA-256. Prints as base58btc in version 0 (`Qm…`) and as base32 in
/// version 1 (`bafy…`, `bafk…`); parses either, and version 1 in base58btc (`z…`) too.
///
/// Two CIDs are equal when version, codec and hash are; see [`Cid::same_content`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cid {
    version: Version,
    codec: Codec,
    sha256: [u8; 32],
}

/// The version of a CID. Version 0 is always dag-pb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// The bare multihash of a dag-pb block.
    V0,
    /// Version, codec and multihash.
    V1,
}

/// How the block that a CID names is to be read; the multicodec table's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Bytes as they are.
    Raw = 0x55,
    /// A node of a UnixFS tree, or a leaf wrapped in one.
    DagPb = 0x70,
}

/// Why a text or bytes are not a CID that this registry can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CidError(&'static str);

/// The multihash prefix of SHA-256: its code and its length.
const SHA2_256: [u8; 2] = [0x12, 0x20];

impl Cid {
    /// The CID of a dag-pb block with this SHA-256.
    pub const fn dag_pb(version: Version, sha256: [u8; 32]) -> Cid {
        Cid {
            version,
            codec: Codec::DagPb,
            sha256,
        }
    }

    /// The CID of a raw block with this SHA-256. For content of up to one chunk that is imported
    /// with raw leaves the block is the content, so this takes the content's own digest.
    pub const fn raw(sha256: [u8; 32]) -> Cid {
        Cid {
            version: Version::V1,
            codec: Codec::Raw,
            sha256,
        }
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The codec.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The SHA-256 of the block that this CID names: that of the content only if the codec is raw.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Whether both name the same block, whatever their versions.
    pub fn same_content(&self, other: &Cid) -> bool {
        self.codec == other.codec && self.sha256 == other.sha256
    }

    /// The binary form, 34 bytes in version 0 and 36 in version 1.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(36);
        if self.version == Version::V1 {
            bytes.extend([1, self.codec as u8]);
        }
        bytes.extend(SHA2_256);
        bytes.extend(self.sha256);
        bytes
    }

    /// Reads the binary form; nothing may follow it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Cid, CidError> {
        let (version, codec, multihash) = match bytes {
            [0x12, ..] => (Version::V0, Codec::DagPb, bytes),
            [1, 0x55, multihash @ ..] => (Version::V1, Codec::Raw, multihash),
            [1, 0x70, multihash @ ..] => (Version::V1, Codec::DagPb, multihash),
            [1, ..] => return Err(CidError("a codec other than raw and dag-pb")),
            _ => return Err(CidError("a CID version other than 0 and 1")),
        };
        let sha256 = multihash
            .strip_prefix(&SHA2_256)
            .ok_or(CidError("a hash other than sha2-256"))?
            .try_into()
            .map_err(|_| CidError("a CID of the wrong length"))?;
        Ok(Cid {
            version,
            codec,
            sha256,
        })
    }
}

impl FromStr for Cid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Cid, CidError> {
        let undecodable = CidError("characters outside the CID's base");
        if text.len() == 46 && text.starts_with("Qm") {
            let bytes = base::base58_decode(text).ok_or(undecodable)?;
            return Cid::from_bytes(&bytes);
        }
        let bytes = match text.split_at_checked(1) {
            Some(("b", rest)) => base::base32_decode(rest),
            Some(("z", rest)) => base::base58_decode(rest),
            _ => return Err(CidError("neither Qm… nor in base32 (b…) or base58btc (z…)")),
        };
        match Cid::from_bytes(&bytes.ok_or(undecodable)?)? {
            Cid {
                version: Version::V0,
                ..
            } => Err(CidError("a CID of version 0 with a base")),
            cid => Ok(cid),
        }
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.version {
            Version::V0 => f.write_str(&base::base58_encode(&self.to_bytes())),
            Version::V1 => write!(f, "b{}", base::base32_encode(&self.to_bytes())),
        }
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Cid({self})")
    }
}

impl fmt::Display for CidError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "not a usable CID: {}", self.0)
    }
}

impl std::error::Error for CidError {}
