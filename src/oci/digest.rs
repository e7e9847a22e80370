//! Digests: content named by its hash (image-spec, descriptor.md, "Digests").

use std::fmt;
use std::str::FromStr;

use sha2::digest::Digest as _;
use sha2::{Sha256, Sha512};

use super::Refusal;

/// A registered hash algorithm that this registry stores content under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// `sha256`, the canonical one.
    Sha256,
    /// `sha512`.
    Sha512,
}

impl Algorithm {
    /// Every algorithm, canonical first.
    pub const ALL: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

    /// The name that stands before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// The algorithm with that name, if we store content under it.
    pub fn named(name: &str) -> Option<Algorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// A verified-by-form digest: the algorithm is known and the hash has its length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// A SHA-256 hash.
    Sha256([u8; 32]),
    /// A SHA-512 hash.
    Sha512([u8; 64]),
}

impl Digest {
    /// The digest of some bytes.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm it was made with.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Digest::Sha256(_) => Algorithm::Sha256,
            Digest::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The hash in lower-case hexadecimal, without the algorithm.
    pub fn hex(&self) -> String {
        let mut hex = String::with_capacity(128);
        push_hex(&mut hex, self.hash());
        hex
    }

    /// The digest that an algorithm's name and a lower-case hexadecimal hash make.
    pub fn from_parts(algorithm: &str, hex: &str) -> Option<Digest> {
        match Algorithm::named(algorithm)? {
            Algorithm::Sha256 => parse_hex(hex).map(Digest::Sha256),
            Algorithm::Sha512 => parse_hex(hex).map(Digest::Sha512),
        }
    }

    /// The bytes of the hash.
    pub fn hash(&self) -> &[u8] {
        match self {
            Digest::Sha256(hash) => hash,
            Digest::Sha512(hash) => hash,
        }
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)].into());
        out.push(DIGITS[usize::from(byte & 15)].into());
    }
}

fn parse_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; N];
    if hex.len() != 2 * N {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(136);
        text.push_str(self.algorithm().name());
        text.push(':');
        push_hex(&mut text, self.hash());
        f.write_str(&text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Refusal;

    /// Parses `algorithm:hex`; upper case, another length or an unknown algorithm is refused.
    fn from_str(text: &str) -> Result<Digest, Refusal> {
        text.split_once(':')
            .and_then(|(algorithm, hex)| Digest::from_parts(algorithm, hex))
            .ok_or_else(|| Refusal::DigestInvalid(format!("{:?} is not a digest", clip(text))))
    }
}

/// What a refusal repeats of a client's text: no more than a reader needs.
pub(super) fn clip(text: &str) -> &str {
    match text.char_indices().nth(160) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// Hashes bytes as they pass.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// On the way to a [`Digest::Sha256`].
    Sha256(Sha256),
    /// On the way to a [`Digest::Sha512`].
    Sha512(Sha512),
}

impl Hasher {
    /// A hasher that has seen nothing yet.
    pub fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    /// The algorithm it hashes with.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Hasher::Sha256(_) => Algorithm::Sha256,
            Hasher::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(hasher) => Digest::Sha256(hasher.finalize().into()),
            Hasher::Sha512(hasher) => Digest::Sha512(hasher.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_as_it_was_printed() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"hello");
            assert_eq!(digest.to_string().parse::<Digest>().ok(), Some(digest));
        }
        assert_eq!(
            Digest::of(Algorithm::Sha256, b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn what_is_not_a_digest_is_refused() {
        let good = Digest::of(Algorithm::Sha256, b"").to_string();
        for bad in [
            String::new(),
            "sha256:".into(),
            "sha256".into(),
            good.to_uppercase(),
            good.replace("sha256", "SHA256"),
            good.replace("sha256", "md5"),
            good.replace("sha256", "sha512"),
            good[..good.len() - 1].into(),
            format!("{good}0"),
            good.replace('e', "g"),
            format!("{}é", &good[..good.len() - 2]),
            format!("sha256:{}", "../".repeat(21) + "a"),
        ] {
            assert!(
                bad.parse::<Digest>().is_err(),
                "{bad} was taken for a digest"
            );
        }
    }
}
