use std::cmp::Ordering;

/// A natural number of any size, in little-endian 32-bit digits without leading zeros.
///
/// Just what [`super::number::Number`] needs: operands stay below some thousand digits, so the schoolbook methods do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Natural {
    digits: Vec<u32>,
}

impl Natural {
    pub(crate) fn from_u64(value: u64) -> Self {
        let mut digits = vec![low(value), low(value >> 32)];
        trim(&mut digits);
        Self { digits }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// Bits needed to write it; 0 for zero.
    pub(crate) fn bit_length(&self) -> u64 {
        self.digits.last().map_or(0, |top| self.digits.len() as u64 * 32 - u64::from(top.leading_zeros()))
    }

    /// Zero bits at the low end; 0 for zero.
    pub(crate) fn trailing_zeros(&self) -> u64 {
        let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.get(zeros).map_or(0, |digit| zeros as u64 * 32 + u64::from(digit.trailing_zeros()))
    }

    pub(crate) fn bit(&self, at: u64) -> bool {
        let digit = usize::try_from(at / 32).ok().and_then(|index| self.digits.get(index));
        digit.is_some_and(|digit| digit >> (at % 32) & 1 == 1)
    }

    pub(crate) fn is_odd(&self) -> bool {
        self.bit(0)
    }

    /// The value, if it fits.
    pub(crate) fn to_u64(&self) -> Option<u64> {
        match self.digits[..] {
            [] => Some(0),
            [a] => Some(u64::from(a)),
            [a, b] => Some(u64::from(a) | u64::from(b) << 32),
            _ => None,
        }
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        let (long, short) = if self.digits.len() >= other.digits.len() { (self, other) } else { (other, self) };
        let mut digits = Vec::with_capacity(long.digits.len() + 1);
        let mut carry = 0u64;
        for (index, digit) in long.digits.iter().enumerate() {
            let sum = u64::from(*digit) + u64::from(short.digits.get(index).copied().unwrap_or(0)) + carry;
            digits.push(low(sum));
            carry = sum >> 32;
        }
        digits.push(low(carry));
        trim(&mut digits);
        Self { digits }
    }

    /// `self - other`, or zero where that would be negative.
    pub(crate) fn subtract(&self, other: &Self) -> Self {
        if *self <= *other {
            return Self::default();
        }
        let mut digits = Vec::with_capacity(self.digits.len());
        let mut borrow = 0i64;
        for (index, digit) in self.digits.iter().enumerate() {
            let mut rest = i64::from(*digit) - i64::from(other.digits.get(index).copied().unwrap_or(0)) - borrow;
            borrow = i64::from(rest < 0);
            rest += borrow << 32;
            digits.push(low(rest.unsigned_abs()));
        }
        trim(&mut digits);
        Self { digits }
    }

    pub(crate) fn multiply(&self, other: &Self) -> Self {
        let mut digits = vec![0u32; self.digits.len() + other.digits.len()];
        for (i, a) in self.digits.iter().enumerate() {
            let mut carry = 0u64;
            for (j, b) in other.digits.iter().enumerate() {
                let sum = u64::from(*a) * u64::from(*b) + u64::from(digits[i + j]) + carry;
                digits[i + j] = low(sum);
                carry = sum >> 32;
            }
            digits[i + other.digits.len()] = low(carry);
        }
        trim(&mut digits);
        Self { digits }
    }

    pub(crate) fn shift_left(&self, bits: u64) -> Self {
        if self.is_zero() {
            return Self::default();
        }
        let whole = usize::try_from(bits / 32).unwrap_or(usize::MAX / 64);
        let part = u32::try_from(bits % 32).unwrap_or(0);
        let mut digits = vec![0u32; whole];
        let mut carry = 0u64;
        for digit in &self.digits {
            let shifted = u64::from(*digit) << part | carry;
            digits.push(low(shifted));
            carry = shifted >> 32;
        }
        digits.push(low(carry));
        trim(&mut digits);
        Self { digits }
    }

    pub(crate) fn shift_right(&self, bits: u64) -> Self {
        let whole = usize::try_from(bits / 32).unwrap_or(usize::MAX);
        if whole >= self.digits.len() {
            return Self::default();
        }
        let part = bits % 32;
        let kept = &self.digits[whole..];
        let mut digits: Vec<u32> = (0..kept.len())
            .map(|at| {
                let above = kept.get(at + 1).copied().unwrap_or(0);
                low((u64::from(above) << 32 | u64::from(kept[at])) >> part)
            })
            .collect();
        trim(&mut digits);
        Self { digits }
    }

    /// Quotient and remainder by a small divisor, which must not be zero.
    pub(crate) fn divide_small(&self, divisor: u32) -> (Self, u32) {
        let divisor = u64::from(divisor.max(1));
        let mut digits = vec![0u32; self.digits.len()];
        let mut rest = 0u64;
        for (index, digit) in self.digits.iter().enumerate().rev() {
            let current = rest << 32 | u64::from(*digit);
            digits[index] = low(current / divisor);
            rest = current % divisor;
        }
        trim(&mut digits);
        (Self { digits }, low(rest))
    }

    /// Quotient and remainder; division by zero gives zero and `self`.
    pub(crate) fn divide(&self, divisor: &Self) -> (Self, Self) {
        if divisor.is_zero() || *self < *divisor {
            return (Self::default(), self.clone());
        }
        if let [single] = divisor.digits[..] {
            let (quotient, rest) = self.divide_small(single);
            return (quotient, Self::from_u64(u64::from(rest)));
        }
        // Knuth, The Art of Computer Programming 2, algorithm D: both are shifted so that the divisor's top bit is set.
        let shift = u64::from(divisor.digits.last().map_or(0, |top| top.leading_zeros()));
        let small = divisor.shift_left(shift).digits;
        let mut rest = self.shift_left(shift).digits;
        rest.resize(rest.len().max(self.digits.len()) + 1, 0);
        let n = small.len();
        let mut quotient = vec![0u32; rest.len() - n];
        let (top, next) = (u64::from(small[n - 1]), u64::from(small[n - 2]));
        for j in (0..rest.len() - n).rev() {
            let numerator = u64::from(rest[j + n]) << 32 | u64::from(rest[j + n - 1]);
            let mut guess = numerator / top;
            let mut left = numerator % top;
            while guess >> 32 != 0 || guess * next > (left << 32 | u64::from(rest[j + n - 2])) {
                guess -= 1;
                left += top;
                if left >> 32 != 0 {
                    break;
                }
            }
            if subtract_multiple(&mut rest[j..=j + n], &small, guess) {
                guess -= 1;
                add_back(&mut rest[j..=j + n], &small);
            }
            quotient[j] = low(guess);
        }
        trim(&mut quotient);
        trim(&mut rest);
        (Self { digits: quotient }, Self { digits: rest }.shift_right(shift))
    }

    pub(crate) fn power(base: u32, mut exponent: u32) -> Self {
        let mut result = Self::from_u64(1);
        let mut square = Self::from_u64(u64::from(base));
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = result.multiply(&square);
            }
            exponent >>= 1;
            if exponent > 0 {
                square = square.multiply(&square);
            }
        }
        result
    }

    /// From ASCII digits in `base`, which must be valid in it.
    pub(crate) fn parse(digits: &str, base: u32) -> Option<Self> {
        let mut value = Self::default();
        for c in digits.chars() {
            let digit = digit_value(c, base)?;
            value = value.multiply(&Self::from_u64(u64::from(base))).add(&Self::from_u64(u64::from(digit)));
        }
        Some(value)
    }

    /// From ASCII decimal digits; faster than [`Natural::parse`] for long texts.
    pub(crate) fn parse_decimal(text: &str) -> Option<Self> {
        let mut value = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(9));
            let chunk: u32 = head.bytes().all(|b| b.is_ascii_digit()).then(|| head.parse().ok()).flatten()?;
            let scale = 10u64.pow(u32::try_from(head.len()).ok()?);
            value = value.multiply(&Self::from_u64(scale)).add(&Self::from_u64(u64::from(chunk)));
            rest = tail;
        }
        Some(value)
    }

    /// Decimal digits; `0` for zero.
    #[expect(clippy::format_push_string, reason = "the text is short")]
    pub(crate) fn to_decimal(&self) -> String {
        if self.is_zero() {
            return "0".to_owned();
        }
        let mut chunks = Vec::new();
        let mut value = self.clone();
        while !value.is_zero() {
            let (quotient, rest) = value.divide_small(1_000_000_000);
            chunks.push(rest);
            value = quotient;
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        for chunk in chunks.iter().rev() {
            text.push_str(&format!("{chunk:09}"));
        }
        text
    }

    /// Digits in a power-of-two or other small base, lower case.
    pub(crate) fn to_base(&self, base: u32) -> String {
        if self.is_zero() {
            return "0".to_owned();
        }
        let mut text = Vec::new();
        let mut value = self.clone();
        while !value.is_zero() {
            let (quotient, rest) = value.divide_small(base);
            text.push(char::from_digit(rest, base).unwrap_or('0'));
            value = quotient;
        }
        text.iter().rev().collect()
    }

    /// Big-endian bytes without leading zeros.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let bytes: Vec<u8> = self.digits.iter().rev().flat_map(|digit| digit.to_be_bytes()).collect();
        bytes.into_iter().skip_while(|byte| *byte == 0).collect()
    }

    /// From big-endian bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut digits: Vec<u32> = bytes
            .rchunks(4)
            .map(|chunk| chunk.iter().fold(0u32, |digit, byte| digit << 8 | u32::from(*byte)))
            .collect();
        trim(&mut digits);
        Self { digits }
    }

    /// `self ^ exponent mod modulus`.
    pub(crate) fn power_modulo(&self, exponent: &Self, modulus: &Self) -> Self {
        let mut result = Self::from_u64(1);
        let base = self.divide(modulus).1;
        for at in (0..exponent.bit_length()).rev() {
            result = result.multiply(&result).divide(modulus).1;
            if exponent.bit(at) {
                result = result.multiply(&base).divide(modulus).1;
            }
        }
        result
    }
}

/// The value of a digit as Go's `math/big` reads it: above base 36, upper-case letters stand for 36 and up.
fn digit_value(c: char, base: u32) -> Option<u32> {
    let value = match c {
        '0'..='9' => c as u32 - '0' as u32,
        'a'..='z' => c as u32 - 'a' as u32 + 10,
        'A'..='Z' if base <= 36 => c as u32 - 'A' as u32 + 10,
        'A'..='Z' => c as u32 - 'A' as u32 + 36,
        _ => return None,
    };
    (value < base).then_some(value)
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn low(value: u64) -> u32 {
    value as u32
}

fn trim(digits: &mut Vec<u32>) {
    while digits.last() == Some(&0) {
        digits.pop();
    }
}

/// Subtracts `small * factor` from `window`; whether that was too much.
fn subtract_multiple(window: &mut [u32], small: &[u32], factor: u64) -> bool {
    let mut borrow = 0u64;
    for (index, digit) in window.iter_mut().enumerate() {
        let product = factor * u64::from(small.get(index).copied().unwrap_or(0)) + borrow;
        let (rest, under) = digit.overflowing_sub(low(product));
        *digit = rest;
        borrow = (product >> 32) + u64::from(under);
    }
    borrow != 0
}

fn add_back(window: &mut [u32], small: &[u32]) {
    let mut carry = 0u64;
    for (index, digit) in window.iter_mut().enumerate() {
        let sum = u64::from(*digit) + u64::from(small.get(index).copied().unwrap_or(0)) + carry;
        *digit = low(sum);
        carry = sum >> 32;
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        self.digits.len().cmp(&other.digits.len()).then_with(|| self.digits.iter().rev().cmp(other.digits.iter().rev()))
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn natural() -> impl Strategy<Value = Natural> {
        proptest::collection::vec(prop_oneof![Just(0u32), Just(u32::MAX), any::<u32>()], 0..12).prop_map(
            |mut digits| {
                trim(&mut digits);
                Natural { digits }
            },
        )
    }

    proptest! {
        #[test]
        fn division_undoes_multiplication(a in natural(), b in natural(), c in natural()) {
            let (quotient, rest) = a.divide(&b);
            if b.is_zero() {
                prop_assert_eq!(rest, a.clone());
            } else {
                prop_assert!(rest < b);
                prop_assert_eq!(quotient.multiply(&b).add(&rest), a.clone());
            }
            prop_assert_eq!(a.add(&c).subtract(&c), a.clone());
            prop_assert_eq!(Natural::parse_decimal(&a.to_decimal()), Some(a.clone()));
            prop_assert_eq!(Natural::parse(&a.to_base(16), 16), Some(a.clone()));
            prop_assert_eq!(Natural::from_bytes(&a.to_bytes()), a.clone());
            prop_assert_eq!(a.shift_left(77).shift_right(77), a);
        }
    }
}
