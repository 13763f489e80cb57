use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{Builtin, Outcome, Wanted, function, refuse, text};
use crate::config::hcl::value::Value;

pub(super) const FUNCTIONS: &[Builtin] = &[
    function("md5", &[Wanted::String], |values| Ok(Value::string(hex(&md5(text(values, 0).as_bytes()))))),
    function("sha1", &[Wanted::String], |values| hashed(&digest::SHA1_FOR_LEGACY_USE_ONLY, values)),
    function("sha256", &[Wanted::String], |values| hashed(&digest::SHA256, values)),
    function("sha512", &[Wanted::String], |values| hashed(&digest::SHA512, values)),
    function("uuidv4", &[], |_| {
        let mut bytes = [0u8; 16];
        SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random numbers")?;
        Ok(Value::string(uuid(bytes, 4)))
    }),
    function("uuidv5", &[Wanted::String, Wanted::String], uuid_v5),
];

#[expect(clippy::unnecessary_wraps, reason = "functions of one table share a signature")]
fn hashed(algorithm: &'static digest::Algorithm, values: &[Value]) -> Outcome {
    Ok(Value::string(hex(digest::digest(algorithm, text(values, 0).as_bytes()).as_ref())))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// RFC 4122: version and variant set, in the usual groups.
fn uuid(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    let groups = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    groups.join("-")
}

/// The name spaces of RFC 4122 appendix C differ in one byte.
fn uuid_v5(values: &[Value]) -> Outcome {
    let space = |last: u8| format!("6ba7b81{last:x}-9dad-11d1-80b4-00c04fd430c8");
    let namespace = match text(values, 0) {
        "dns" => space(0),
        "url" => space(1),
        "oid" => space(2),
        "x500" => space(4),
        other => other.to_owned(),
    };
    let trimmed = namespace.strip_prefix("urn:uuid:").unwrap_or(&namespace);
    let trimmed = trimmed.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(trimmed);
    let digits: String = trimmed.chars().filter(|c| *c != '-').collect();
    let shaped = trimmed.len() == 36 || trimmed.len() == 32;
    let mut name = Vec::new();
    for at in (0..digits.len()).step_by(2) {
        match digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => name.push(byte),
            None => return refuse(0, format!("`{namespace}` is no name space")),
        }
    }
    if !shaped || name.len() != 16 {
        return refuse(0, format!("`{namespace}` is no name space"));
    }
    name.extend_from_slice(text(values, 1).as_bytes());
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &name);
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    Ok(Value::string(uuid(bytes, 5)))
}

/// RFC 1321. No dependency: files use it to name things, not to keep them safe.
fn md5(message: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_le_bytes());
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        let words: Vec<u32> = block
            .chunks_exact(4)
            .map(|bytes| bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)))
            .collect();
        let [mut a, mut b, mut c, mut d] = state;
        for round in 0..64usize {
            let (mix, at) = match round / 16 {
                0 => (b & c | !b & d, round),
                1 => (d & b | !d & c, (5 * round + 1) % 16),
                2 => (b ^ c ^ d, (3 * round + 5) % 16),
                _ => (c ^ (b | !d), 7 * round % 16),
            };
            let sum = a.wrapping_add(mix).wrapping_add(sine(round)).wrapping_add(words[at]);
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[round / 16][round % 4]));
        }
        for (part, new) in state.iter_mut().zip([a, b, c, d]) {
            *part = part.wrapping_add(new);
        }
    }
    let mut digest = [0u8; 16];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

/// The integer part of 2^32 times the sine's absolute value, as RFC 1321 defines its table.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is positive and below 2^32")]
#[expect(clippy::cast_precision_loss, reason = "the round is below 64")]
fn sine(round: usize) -> u32 {
    (((round + 1) as f64).sin().abs() * 4_294_967_296.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_digests_of_the_rfc() {
        assert_eq!(hex(&md5(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex(&md5(b"message digest")), "f96b697d7cb7938d525a2f31aaf161d0");
        let name = [Value::string("dns"), Value::string("tada")];
        assert_eq!(uuid_v5(&name).expect("a uuid").as_str(), Some("faa898db-9b9d-5b75-86a9-149e7bb8e3b8"));
    }
}
