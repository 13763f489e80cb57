use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{Builtin, Outcome, Wanted, function, refuse, text, variadic, whole};
use crate::config::hcl::natural::Natural;
use crate::config::hcl::value::Value;

pub(super) const FUNCTIONS: &[Builtin] = &[
    variadic("bcrypt", &[Wanted::String], Wanted::Number, bcrypt),
    function("rsadecrypt", &[Wanted::String, Wanted::String], rsa_decrypt),
];

/// Beyond this cost a hash takes minutes; files that are read must not.
const MAX_COST: i64 = 14;

fn bcrypt(values: &[Value]) -> Outcome {
    if values.len() > 2 {
        return Err("at most two arguments are taken".into());
    }
    let cost = if values.len() == 2 { whole(values, 1)? } else { 10 };
    // A cost that is too low means the default, as in the reference implementation.
    let cost = if cost < 4 { 10 } else { cost };
    if cost > MAX_COST {
        return refuse(1, format!("a cost over {MAX_COST} takes too long"));
    }
    let password = text(values, 0).as_bytes();
    if password.len() > 72 {
        return refuse(0, "longer than 72 bytes");
    }
    let mut salt = [0u8; 16];
    SystemRandom::new().fill(&mut salt).map_err(|_| "the system gives no random numbers")?;
    let cost = u32::try_from(cost).unwrap_or(10);
    let hash = bcrypt_hash(password, &salt, cost);
    Ok(Value::string(format!("$2a${cost:02}${}{}", radix64(&salt), radix64(&hash[..23]))))
}

/// bcrypt's own base64: another alphabet, no padding.
fn radix64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut result = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            let index = group >> (18 - 6 * at) & 63;
            result.push(char::from(ALPHABET[index as usize]));
        }
    }
    result
}

/// Blowfish with a key schedule that is made expensive: Provos and Mazieres, "A Future-Adaptable Password Scheme".
struct Blowfish {
    p: [u32; 18],
    s: [[u32; 256]; 4],
}

impl Blowfish {
    /// The initial state: the fraction of pi in binary. Computed, since 4168 bytes of it are no source text.
    fn new() -> Self {
        let digits = pi_fraction((18 + 4 * 256) * 32);
        let bytes = digits.to_bytes();
        let mut padded = vec![0u8; (18 + 4 * 256) * 4 - bytes.len()];
        padded.extend(bytes);
        let mut words = padded.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        let mut cipher = Self { p: [0; 18], s: [[0; 256]; 4] };
        for slot in cipher.p.iter_mut().chain(cipher.s.iter_mut().flatten()) {
            *slot = words.next().unwrap_or(0);
        }
        cipher
    }

    fn mix(&self, half: u32) -> u32 {
        let at = half.to_be_bytes().map(usize::from);
        (self.s[0][at[0]].wrapping_add(self.s[1][at[1]]) ^ self.s[2][at[2]]).wrapping_add(self.s[3][at[3]])
    }

    fn encrypt(&self, mut left: u32, mut right: u32) -> (u32, u32) {
        for round in 0..16 {
            left ^= self.p[round];
            right ^= self.mix(left);
            std::mem::swap(&mut left, &mut right);
        }
        (right ^ self.p[17], left ^ self.p[16])
    }

    /// Mixes key and salt into the state.
    fn expand(&mut self, salt: &[u8], key: &[u8]) {
        let mut key_at = 0;
        for slot in &mut self.p {
            *slot ^= cyclic_word(key, &mut key_at);
        }
        let (mut left, mut right, mut salt_at) = (0, 0, 0);
        for index in 0usize..18 + 4 * 256 {
            if index % 2 == 0 {
                left ^= cyclic_word(salt, &mut salt_at);
                right ^= cyclic_word(salt, &mut salt_at);
                (left, right) = self.encrypt(left, right);
            }
            let value = if index % 2 == 0 { left } else { right };
            match index.checked_sub(18) {
                None => self.p[index] = value,
                Some(at) => self.s[at / 256][at % 256] = value,
            }
        }
    }
}

/// The next four bytes of `bytes`, over and over again.
fn cyclic_word(bytes: &[u8], at: &mut usize) -> u32 {
    let mut word = 0;
    for _ in 0..4 {
        word = word << 8 | u32::from(bytes.get(*at).copied().unwrap_or(0));
        *at = if *at + 1 < bytes.len() { *at + 1 } else { 0 };
    }
    word
}

fn bcrypt_hash(password: &[u8], salt: &[u8; 16], cost: u32) -> Vec<u8> {
    let mut key = password.to_vec();
    key.push(0);
    let mut cipher = Blowfish::new();
    cipher.expand(salt, &key);
    for _ in 0..1u64 << cost {
        cipher.expand(&[0; 16], &key);
        cipher.expand(&[0; 16], salt);
    }
    let mut text = *b"OrpheanBeholderScryDoubt";
    for block in text.chunks_exact_mut(8) {
        let word = |at: usize| u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        let (mut left, mut right) = (word(0), word(4));
        for _ in 0..64 {
            (left, right) = cipher.encrypt(left, right);
        }
        block[..4].copy_from_slice(&left.to_be_bytes());
        block[4..].copy_from_slice(&right.to_be_bytes());
    }
    text.to_vec()
}

/// The first bits of pi after the binary point, by Machin's formula: pi/4 = 4 arctan(1/5) - arctan(1/239).
fn pi_fraction(bits: u64) -> Natural {
    let guard = 64;
    let one = Natural::from_u64(1).shift_left(bits + guard);
    let arctan = |inverse: u32| {
        let mut power = one.divide_small(inverse).0;
        let mut sum = power.clone();
        let square = inverse * inverse;
        let mut divisor = 1;
        let mut positive = false;
        while !power.is_zero() {
            power = power.divide_small(square).0;
            divisor += 2;
            let term = power.divide_small(divisor).0;
            sum = if positive { sum.add(&term) } else { sum.subtract(&term) };
            positive = !positive;
        }
        sum
    };
    let quarter = arctan(5).shift_left(2).subtract(&arctan(239));
    let pi = quarter.shift_left(2);
    pi.subtract(&one.multiply(&Natural::from_u64(3))).shift_right(guard)
}

/// RSA with PKCS #1 version 1.5 padding, the key in PKCS #1 PEM.
fn rsa_decrypt(values: &[Value]) -> Outcome {
    let Ok(cipher) = STANDARD.decode(text(values, 0).replace(['\n', '\r'], "")) else { return refuse(0, "no base64") };
    let pem = text(values, 1);
    if pem.contains("ENCRYPTED") {
        return refuse(1, "a key that is protected by a password");
    }
    let body: String = pem.lines().filter(|line| !line.starts_with("-----") && !line.contains(':')).collect();
    let key = STANDARD.decode(body.trim()).ok().filter(|_| pem.contains("-----BEGIN"));
    let Some((modulus, exponent)) = key.as_deref().and_then(private_key) else {
        return refuse(1, "no RSA private key in PEM");
    };
    if modulus.bit_length() > 8192 || cipher.len() as u64 > modulus.bit_length().div_ceil(8) {
        return refuse(0, "does not belong to this key");
    }
    let message = Natural::from_bytes(&cipher).power_modulo(&exponent, &modulus).to_bytes();
    // 0x00 0x02, at least eight bytes that are not zero, 0x00, the message; the leading zero is not kept.
    let end = message.iter().position(|byte| *byte == 0);
    match (message.first(), end) {
        (Some(2), Some(end)) if end >= 9 => match String::from_utf8(message[end + 1..].to_vec()) {
            Ok(text) => Ok(Value::string(text)),
            Err(_) => refuse(0, "what is encrypted is no text"),
        },
        _ => refuse(0, "does not belong to this key"),
    }
}

/// Modulus and private exponent: the second and fourth integer of the sequence (RFC 8017, appendix A.1.2).
fn private_key(der: &[u8]) -> Option<(Natural, Natural)> {
    let (tag, mut rest, _) = element(der)?;
    if tag != 0x30 {
        return None;
    }
    let mut integers = Vec::new();
    while integers.len() < 4 {
        let (tag, content, after) = element(rest)?;
        if tag != 0x02 {
            return None;
        }
        integers.push(Natural::from_bytes(content));
        rest = after;
    }
    let exponent = integers.pop()?;
    integers.pop();
    let modulus = integers.pop()?;
    (!modulus.is_zero()).then_some((modulus, exponent))
}

/// Tag, content and what follows of a DER element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (bytes, after) = rest.split_at(count);
        rest = after;
        bytes.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte))
    };
    (length <= rest.len()).then(|| (tag, &rest[..length], &rest[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_like_the_others() {
        let cipher = Blowfish::new();
        assert_eq!(cipher.p[0], 0x243f_6a88, "pi in binary");
        assert_eq!(cipher.s[3][255], 0x3ac3_72e6, "the last word of it");
        // A vector that several implementations publish.
        let known = "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i";
        let (prefix, salt_text) = (&known[..7], &known[7..29]);
        let mut salt = [0u8; 16];
        let mut bits = Natural::default();
        for c in salt_text.bytes() {
            let index = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                .iter()
                .position(|own| *own == c)
                .expect("a digit");
            bits = bits.shift_left(6).add(&Natural::from_u64(index as u64));
        }
        let bytes = bits.shift_right(4).to_bytes();
        salt[16 - bytes.len()..].copy_from_slice(&bytes);
        let hash = bcrypt_hash(b"abc", &salt, 6);
        assert_eq!(format!("{prefix}{salt_text}{}", radix64(&hash[..23])), known);
    }

    #[test]
    fn refuses_what_is_no_key() {
        let refused = rsa_decrypt(&[Value::string("AAAA"), Value::string("no key")]);
        assert!(refused.is_err());
    }
}
