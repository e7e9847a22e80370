//! The two bases that CIDs are written in: base32 of RFC 4648 in lower case without padding, and
//! Bitcoin's base58. Both decode one way only, so that a text has no second spelling.

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Longest text that is decoded. A CID needs less, and base58 takes quadratic time.
const TEXT_LEN_MAX: usize = 128;

/// Base32 without the multibase prefix.
pub fn base32_encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut bits, mut count) = (0u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(BASE32[(bits >> count & 31) as usize]));
        }
    }
    if count > 0 {
        text.push(char::from(BASE32[(bits << (5 - count) & 31) as usize]));
    }
    text
}

/// The bytes of a base32 text; `None` for foreign characters, or bits left over that say anything.
pub fn base32_decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > TEXT_LEN_MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut bits, mut count) = (0u32, 0);
    for character in text.bytes() {
        bits = bits << 5 | digit(BASE32, character)?;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    (count < 5 && bits == 0).then_some(bytes)
}

/// Base58btc without the multibase prefix.
pub fn base58_encode(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    // Little-endian digits of the number that the bytes are.
    let mut digits: Vec<u32> = Vec::with_capacity(bytes.len() * 7 / 5 + 1);
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            *digit = carry % 58;
            carry /= 58;
        }
        while carry > 0 {
            digits.push(carry % 58);
            carry /= 58;
        }
    }
    let number = digits
        .iter()
        .rev()
        .map(|digit| char::from(BASE58[*digit as usize]));
    std::iter::repeat_n('1', zeros).chain(number).collect()
}

/// The bytes of a base58btc text; `None` for foreign characters.
pub fn base58_decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > TEXT_LEN_MAX {
        return None;
    }
    let zeros = text
        .bytes()
        .take_while(|character| *character == b'1')
        .count();
    // Little-endian bytes of the number that the text is.
    let mut bytes: Vec<u8> = Vec::with_capacity(text.len());
    for character in text.bytes() {
        let mut carry = digit(BASE58, character)?;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push(carry as u8);
            carry >>= 8;
        }
    }
    bytes.extend(std::iter::repeat_n(0, zeros));
    bytes.reverse();
    Some(bytes)
}

fn digit(alphabet: &[u8], character: u8) -> Option<u32> {
    let at = alphabet.iter().position(|letter| *letter == character)?;
    u32::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_follows_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(base32_encode(bytes.as_bytes()), text);
            assert_eq!(base32_decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        for text in ["mz", "a", "my======", "MY", "m1", "mzxw6a"] {
            assert_eq!(base32_decode(text), None, "{text}");
        }
    }

    #[test]
    fn base58_follows_bitcoin() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"\0", "1"),
            (b"\0\0\x01", "112"),
            (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
            (b"\0\0\x28\x7f\xb4\xcd", "11233QC4"),
        ] {
            assert_eq!(base58_encode(bytes), text);
            assert_eq!(base58_decode(text).as_deref(), Some(bytes));
        }
        for text in ["0", "O", "I", "l", "2NEp o7"] {
            assert_eq!(base58_decode(text), None, "{text}");
        }
    }

    #[test]
    fn an_endless_text_is_refused() {
        let text = "a".repeat(100_000);
        assert_eq!(base32_decode(&text), None);
        assert_eq!(base58_decode(&text), None);
    }
}
