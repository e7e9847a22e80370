//! CIDs against the vectors that real IPFS implementations gave (cid-vectors.json says which).
//! Every input streams once through all imports, which are asked on the way at each length.

use lighthouse::cid::{Cid, Codec, Import, Unixfs, Version};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A raw block named by SHA-512.
const SHA2_512: &str = concat!(
    "bafkrgqfevpkejdcjkywyfaiv2e5b7thksj7vfngviwjjp6fuhzbnvcjdrpa",
    "tmjxehxftrxnqqjeisj7msbh3iicxiq4yh2efqulz2ucvdl7ge",
);

#[derive(Deserialize)]
struct Vectors {
    profiles: BTreeMap<String, Profile>,
    vectors: Vec<Vector>,
    kubo_published: Vec<Published>,
}

#[derive(Deserialize)]
struct Profile {
    chunk: usize,
    width: usize,
    raw_leaves: bool,
    cid_version: u8,
}

#[derive(Deserialize)]
struct Vector {
    input: String,
    bytes: usize,
    sha256: String,
    cids: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    cid: String,
    dag_bytes: u64,
}

#[derive(Deserialize)]
struct Published {
    profile: String,
    input: Option<String>,
    text: Option<String>,
    bytes: usize,
    cid: String,
}

impl Vectors {
    fn read() -> Vectors {
        serde_json::from_str(include_str!("cid-vectors.json")).expect("the vectors are JSON")
    }

    fn import(&self, profile: &str) -> Import {
        let profile = &self.profiles[profile];
        Import {
            chunk_size: profile.chunk,
            links_max: profile.width,
            raw_leaves: profile.raw_leaves,
            version: if profile.cid_version == 0 {
                Version::V0
            } else {
                Version::V1
            },
        }
    }
}

#[test]
fn the_constants_are_the_profiles() {
    let vectors = Vectors::read();
    assert_eq!(Import::ESTUARY, vectors.import("estuary"));
    assert_eq!(Import::KUBO, vectors.import("estuary"));
}

#[test]
fn every_vector() {
    let vectors = Vectors::read();
    assert_eq!(vectors.vectors.len(), 21);
    for input in ["counter", "pattern"] {
        let same_input = |vector: &&Vector| vector.input == input;
        let mut lengths: Vec<_> = vectors.vectors.iter().filter(same_input).collect();
        lengths.sort_by_key(|vector| vector.bytes);
        let mut stream = Stream::new(input, &vectors);
        for vector in lengths {
            stream.advance_to(vector.bytes);
            let sha256 = hex(&stream.sha256.clone().finalize());
            assert_eq!(
                sha256, vector.sha256,
                "the input is not what the vector means"
            );
            for (profile, expected) in &vector.cids {
                let root = stream.unixfs[profile].clone().finish();
                let what = format!("{} bytes of {input} as {profile}", vector.bytes);
                assert_eq!(root.cid.to_string(), expected.cid, "{what}");
                assert_eq!(root.size, vector.bytes as u64, "{what}");
                assert_eq!(root.dag_size, expected.dag_bytes, "{what}");
            }
        }
    }
}

#[test]
fn every_cid_that_kubo_publishes_of_up_to_64_mib() {
    published(|bytes| bytes <= 64 << 20);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "GiBs take minutes without optimization")]
fn every_cid_that_kubo_publishes_above_64_mib() {
    published(|bytes| bytes > 64 << 20);
}

fn published(chosen: impl Fn(usize) -> bool) {
    let vectors = Vectors::read();
    for published in vectors
        .kubo_published
        .iter()
        .filter(|one| chosen(one.bytes))
    {
        let input = published.input.as_ref().or(published.text.as_ref());
        let mut stream = Stream::new(input.expect("an input or a text"), &vectors);
        stream
            .unixfs
            .retain(|profile, _| *profile == published.profile);
        stream.advance_to(published.bytes);
        let root = stream.unixfs[&published.profile].clone().finish();
        assert_eq!(
            root.cid.to_string(),
            published.cid,
            "{} bytes",
            published.bytes
        );
    }
}

#[test]
fn content_of_up_to_one_chunk_is_named_by_its_own_digest() {
    for bytes in [0, 1, 1 << 20] {
        let content = vec![7; bytes];
        let mut unixfs = Unixfs::new(Import::ESTUARY);
        unixfs.write(&content);
        assert_eq!(
            unixfs.finish().cid,
            Cid::raw(Sha256::digest(&content).into())
        );
    }
}

#[test]
fn a_cid_reads_back_in_every_form() {
    let vectors = Vectors::read();
    let texts = vectors
        .vectors
        .iter()
        .flat_map(|vector| vector.cids.values());
    for text in texts.map(|expected| &expected.cid) {
        let cid: Cid = text.parse().expect(text);
        assert_eq!(&cid.to_string(), text);
        assert_eq!(Cid::from_bytes(&cid.to_bytes()), Ok(cid));
        assert_eq!(cid.version() == Version::V0, text.starts_with("Qm"));
        assert_eq!(cid.codec() == Codec::Raw, text.starts_with("bafkrei"));
    }
    // The same CIDs in base58btc, as js-ipfs prints them.
    for (base58, base32) in [
        (
            "zb2rhWoggyRFYujrQsFJcSPek4yRhCQEXuMXSzSX7iCDNVscs",
            "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta",
        ),
        (
            "zdj7WjBJ9xA5C6oeBnZPch6casxsPRChPniZ2RGoj3mMGhDCS",
            "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64",
        ),
    ] {
        let cid: Cid = base58.parse().expect(base58);
        let same: Cid = base32.parse().expect(base32);
        assert_eq!(cid, same);
    }
}

#[test]
fn versions_differ_but_may_name_the_same_block() {
    let old: Cid = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
        .parse()
        .expect("valid");
    let new = Cid::dag_pb(Version::V1, *old.sha256());
    assert_ne!(old, new);
    assert!(old.same_content(&new));
    assert!(!new.same_content(&Cid::raw(*old.sha256())));
}

#[test]
fn what_is_no_cid_is_refused() {
    let good = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    let long = format!("{good}aa");
    for text in [
        "",
        "b",
        "Qm",
        "é",
        &good[1..],
        &good[..58],
        &long,
        &good.to_uppercase(),
        "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQ0",
        "zQmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH",
        // A codec, a hash and a hash that this registry does not use.
        "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua",
        "bafkqaaa",
        SHA2_512,
    ] {
        assert!(text.parse::<Cid>().is_err(), "{text}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An input on its way through SHA-256 and all imports.
struct Stream {
    sha256: Sha256,
    unixfs: BTreeMap<String, Unixfs>,
    position: usize,
    step: usize,
    next_block: Box<dyn FnMut() -> Vec<u8>>,
    block: Vec<u8>,
}

impl Stream {
    /// An input as cid-vectors.json describes it, or a text.
    fn new(input: &str, vectors: &Vectors) -> Stream {
        let mut count = 0u64..;
        let mut count = move || count.next().expect("an endless range");
        let seed = input
            .strip_prefix("chacha20(\"")
            .and_then(|rest| rest.strip_suffix("\")"));
        let next_block: Box<dyn FnMut() -> Vec<u8>> = match (input, seed) {
            ("counter", _) => Box::new(move || Sha256::digest(count().to_be_bytes()).to_vec()),
            ("pattern", _) => Box::new(|| (0..251).collect()),
            (_, Some(seed)) => {
                let key = Sha256::digest(seed).into();
                Box::new(move || chacha20_block(&key, count() as u32))
            }
            (text, None) => {
                let text = text.as_bytes().to_vec();
                Box::new(move || text.clone())
            }
        };
        let unixfs = |name: &String| (name.clone(), Unixfs::new(vectors.import(name)));
        let unixfs = vectors.profiles.keys().map(unixfs).collect();
        let (sha256, block) = (Sha256::new(), Vec::new());
        Stream {
            sha256,
            unixfs,
            position: 0,
            step: 1,
            next_block,
            block,
        }
    }

    /// Streams on to `position`, in pieces of ever other lengths.
    fn advance_to(&mut self, position: usize) {
        while self.position < position {
            self.step = (self.step * 5 + 3) % (1 << 20);
            let len = self.step.clamp(1, position - self.position);
            while self.block.len() < len {
                self.block.extend((self.next_block)());
            }
            let rest = self.block.split_off(len);
            let piece = std::mem::replace(&mut self.block, rest);
            self.sha256.update(&piece);
            self.unixfs
                .values_mut()
                .for_each(|unixfs| unixfs.write(&piece));
            self.position += len;
        }
    }
}

/// A block of RFC 8439's key stream with a nonce of zeros.
fn chacha20_block(key: &[u8; 32], counter: u32) -> Vec<u8> {
    let mut start = [0u32; 16];
    start[..4].copy_from_slice(&[0x61707865, 0x3320646e, 0x79622d32, 0x6b206574]);
    for (word, bytes) in start[4..12].iter_mut().zip(key.chunks_exact(4)) {
        *word = u32::from_le_bytes(bytes.try_into().expect("chunks of four"));
    }
    start[12] = counter;
    let mut state = start;
    let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
        for (x, y, z, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
            state[x] = state[x].wrapping_add(state[y]);
            state[z] = (state[z] ^ state[x]).rotate_left(turn);
        }
    };
    for _ in 0..10 {
        (0..4).for_each(|i| quarter(i, 4 + i, 8 + i, 12 + i));
        (0..4).for_each(|i| quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4));
    }
    state
        .iter()
        .zip(start)
        .flat_map(|(a, b)| a.wrapping_add(b).to_le_bytes())
        .collect()
}
