use std::cmp::Ordering;

use super::natural::Natural;

mod digits;

/// Bits of a number that was written in decimal: what HCL's reference implementation keeps.
pub(crate) const LITERAL_BITS: u32 = 512;

/// Numbers beyond 2^±LIMIT are refused or become infinite: no file means them, and writing them out would take for ever.
const EXPONENT_LIMIT: i64 = 1 << 17;

/// A binary floating-point number with its own precision, as HCL computes with them.
///
/// The precision matters for what is shown: `0.1 + 1` is exact enough to print `1.1` when both were written in the file,
/// and prints 57 digits when `0.1` came from the environment, which is read in double precision.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    negative: bool,
    magnitude: Magnitude,
    bits: u32,
}

#[derive(Debug, Clone)]
enum Magnitude {
    /// `mantissa * 2^exponent`; the mantissa is odd or zero.
    Finite {
        mantissa: Natural,
        exponent: i64,
    },
    Infinite,
}

/// An operation without a result, such as `0/0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotANumber;

impl Number {
    pub(crate) fn from_i64(value: i64) -> Self {
        Self::rounded(value < 0, Natural::from_u64(value.unsigned_abs()), 0, false, 64)
    }

    pub(crate) fn from_usize(value: usize) -> Self {
        Self::from_i64(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// From a natural number, exactly; at least 64 bits of precision, like `math/big`.
    pub(crate) fn from_natural(negative: bool, value: Natural) -> Self {
        let bits = u32::try_from(value.bit_length()).unwrap_or(u32::MAX).max(64);
        Self::rounded(negative, value, 0, false, bits)
    }

    /// From a double; not-a-number becomes zero.
    pub(crate) fn from_f64(value: f64) -> Self {
        if value.is_infinite() {
            return Self::infinity(value < 0.0);
        }
        let raw = value.to_bits();
        let fraction = raw & ((1 << 52) - 1);
        let exponent = i64::try_from(raw >> 52 & 0x7ff).unwrap_or(0);
        if value.is_nan() {
            return Self::from_i64(0);
        }
        let (mantissa, exponent) =
            if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
        Self::rounded(value.is_sign_negative(), Natural::from_u64(mantissa), exponent, false, 53)
    }

    pub(crate) const fn infinity(negative: bool) -> Self {
        Self { negative, magnitude: Magnitude::Infinite, bits: LITERAL_BITS }
    }

    /// From `digits[.digits][e±digits]` with an optional sign, `Inf` or `inf`, as HCL converts a text to a number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, body) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        if body == "Inf" || body == "inf" {
            return Some(Self::infinity(negative));
        }
        let (mantissa, exponent) = match body.find(['e', 'E']) {
            Some(at) => (&body[..at], parse_exponent(&body[at + 1..])?),
            None => (body, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let digits = format!("{whole}{fraction}");
        // A million digits would take minutes; nobody writes more than some hundred.
        if digits.len() > 20_000 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let value = Natural::parse_decimal(&digits)?;
        let scale = exponent - i64::try_from(fraction.len()).ok()?;
        Self::from_decimal(negative, &value, scale)
    }

    /// `value * 10^scale`, rounded to the precision of a literal.
    fn from_decimal(negative: bool, value: &Natural, scale: i64) -> Option<Self> {
        if value.is_zero() {
            return Some(Self::rounded(negative, Natural::default(), 0, false, LITERAL_BITS));
        }
        if scale.abs() > EXPONENT_LIMIT / 4 {
            return None;
        }
        let power = Natural::power(10, u32::try_from(scale.unsigned_abs()).ok()?);
        if scale >= 0 {
            return Some(Self::rounded(negative, value.multiply(&power), 0, false, LITERAL_BITS));
        }
        let shift = (u64::from(LITERAL_BITS) + 2 + power.bit_length()).saturating_sub(value.bit_length());
        let (quotient, rest) = value.shift_left(shift).divide(&power);
        Some(Self::rounded(negative, quotient, -i64::try_from(shift).ok()?, !rest.is_zero(), LITERAL_BITS))
    }

    /// Rounds to `bits`, to nearest and halves to even; `sticky` says that something below the mantissa was cut off.
    fn rounded(negative: bool, mantissa: Natural, exponent: i64, sticky: bool, bits: u32) -> Self {
        let length = mantissa.bit_length();
        let mut exponent = exponent;
        let mut mantissa = mantissa;
        if length > u64::from(bits) {
            let cut = length - u64::from(bits);
            let half = mantissa.bit(cut - 1);
            let below = sticky || mantissa.trailing_zeros() < cut - 1;
            let mut kept = mantissa.shift_right(cut);
            if half && (below || kept.is_odd()) {
                kept = kept.add(&Natural::from_u64(1));
            }
            mantissa = kept;
            exponent += i64::try_from(cut).unwrap_or(EXPONENT_LIMIT);
        }
        let zeros = mantissa.trailing_zeros();
        if zeros > 0 {
            mantissa = mantissa.shift_right(zeros);
            exponent += i64::try_from(zeros).unwrap_or(EXPONENT_LIMIT);
        }
        let top = exponent + i64::try_from(mantissa.bit_length()).unwrap_or(EXPONENT_LIMIT);
        if mantissa.is_zero() || top < -EXPONENT_LIMIT {
            return Self { negative, magnitude: Magnitude::Finite { mantissa: Natural::default(), exponent: 0 }, bits };
        }
        if top > EXPONENT_LIMIT {
            return Self { negative, magnitude: Magnitude::Infinite, bits };
        }
        Self { negative, magnitude: Magnitude::Finite { mantissa, exponent }, bits }
    }

    pub(crate) fn is_infinite(&self) -> bool {
        matches!(self.magnitude, Magnitude::Infinite)
    }

    pub(crate) fn is_zero(&self) -> bool {
        matches!(&self.magnitude, Magnitude::Finite { mantissa, .. } if mantissa.is_zero())
    }

    /// Whether it is below zero; minus zero is not.
    pub(crate) fn is_negative(&self) -> bool {
        self.negative && !self.is_zero()
    }

    pub(crate) fn negate(&self) -> Self {
        Self { negative: !self.negative, ..self.clone() }
    }

    pub(crate) fn absolute(&self) -> Self {
        Self { negative: false, ..self.clone() }
    }

    pub(crate) fn add(&self, other: &Self) -> Result<Self, NotANumber> {
        let bits = self.bits.max(other.bits);
        let (Magnitude::Finite { mantissa: a, exponent: x }, Magnitude::Finite { mantissa: b, exponent: y }) =
            (&self.magnitude, &other.magnitude)
        else {
            return match (self.is_infinite(), other.is_infinite()) {
                (true, true) if self.negative != other.negative => Err(NotANumber),
                (true, _) => Ok(self.clone()),
                _ => Ok(other.clone()),
            };
        };
        let low = *x.min(y);
        let shifted = |mantissa: &Natural, exponent: i64| mantissa.shift_left((exponent - low).unsigned_abs());
        let (a, b) = (shifted(a, *x), shifted(b, *y));
        let (negative, sum) = if self.negative == other.negative {
            (self.negative, a.add(&b))
        } else if a >= b {
            (self.negative, a.subtract(&b))
        } else {
            (other.negative, b.subtract(&a))
        };
        let negative = negative && !(sum.is_zero() && self.negative != other.negative);
        Ok(Self::rounded(negative, sum, low, false, bits))
    }

    pub(crate) fn subtract(&self, other: &Self) -> Result<Self, NotANumber> {
        self.add(&other.negate())
    }

    /// The product; it may have more bits than the operands if it needs them, up to those of a literal.
    pub(crate) fn multiply(&self, other: &Self) -> Result<Self, NotANumber> {
        let negative = self.negative != other.negative;
        match (&self.magnitude, &other.magnitude) {
            (Magnitude::Finite { mantissa: a, exponent: x }, Magnitude::Finite { mantissa: b, exponent: y }) => {
                let mut product = Self::rounded(negative, a.multiply(b), x + y, false, LITERAL_BITS);
                let needed = match &product.magnitude {
                    Magnitude::Finite { mantissa, .. } => u32::try_from(mantissa.bit_length()).unwrap_or(LITERAL_BITS),
                    Magnitude::Infinite => 0,
                };
                product.bits = self.bits.max(other.bits).max(needed);
                Ok(product)
            }
            _ if self.is_zero() || other.is_zero() => Err(NotANumber),
            _ => Ok(Self::infinity(negative)),
        }
    }

    pub(crate) fn divide(&self, other: &Self) -> Result<Self, NotANumber> {
        let bits = self.bits.max(other.bits);
        let negative = self.negative != other.negative;
        match (&self.magnitude, &other.magnitude) {
            (Magnitude::Infinite, Magnitude::Infinite) => Err(NotANumber),
            (Magnitude::Infinite, Magnitude::Finite { .. }) => Ok(Self::infinity(negative)),
            (Magnitude::Finite { .. }, Magnitude::Infinite) => {
                Ok(Self::rounded(negative, Natural::default(), 0, false, bits))
            }
            (Magnitude::Finite { mantissa: a, .. }, Magnitude::Finite { mantissa: b, .. }) if b.is_zero() => {
                if a.is_zero() { Err(NotANumber) } else { Ok(Self::infinity(negative)) }
            }
            (Magnitude::Finite { mantissa: a, exponent: x }, Magnitude::Finite { mantissa: b, exponent: y }) => {
                let shift = (u64::from(bits) + 2 + b.bit_length()).saturating_sub(a.bit_length());
                let (quotient, rest) = a.shift_left(shift).divide(b);
                let exponent = x - y - i64::try_from(shift).unwrap_or(0);
                Ok(Self::rounded(negative, quotient, exponent, !rest.is_zero(), bits))
            }
        }
    }

    /// What is left of `self` after taking out whole multiples of `other`; `self` itself if `other` is zero.
    pub(crate) fn modulo(&self, other: &Self) -> Result<Self, NotANumber> {
        if self.is_infinite() || other.is_infinite() {
            return self.multiply(other);
        }
        if other.is_zero() {
            return Ok(self.clone());
        }
        let whole = self.divide(other)?.truncate();
        let multiple = Self { bits: self.bits.max(other.bits), ..other.multiply(&whole)? };
        let mut rest = self.subtract(&multiple)?;
        rest.bits = self.bits;
        Ok(rest)
    }

    /// Without its fraction, towards zero.
    pub(crate) fn truncate(&self) -> Self {
        match &self.magnitude {
            Magnitude::Finite { mantissa, exponent } if *exponent < 0 => {
                Self::from_natural(self.negative, mantissa.shift_right(exponent.unsigned_abs()))
            }
            _ => self.clone(),
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        matches!(&self.magnitude, Magnitude::Finite { exponent, .. } if *exponent >= 0)
    }

    /// The next whole number below (`up` false) or above, or itself.
    pub(crate) fn to_whole(&self, up: bool) -> Self {
        if self.is_whole() || self.is_infinite() {
            return self.clone();
        }
        let cut = self.truncate();
        let step = Self::from_i64(if up { 1 } else { -1 });
        if self.negative == up { cut } else { cut.add(&step).unwrap_or(cut) }
    }

    /// As a natural number with sign, if it is whole.
    pub(crate) fn to_natural(&self) -> Option<(bool, Natural)> {
        match &self.magnitude {
            Magnitude::Finite { mantissa, exponent } if *exponent >= 0 => {
                Some((self.is_negative(), mantissa.shift_left(exponent.unsigned_abs())))
            }
            _ => None,
        }
    }

    pub(crate) fn to_i64(&self) -> Option<i64> {
        let (negative, value) = self.to_natural()?;
        let value = i128::from(value.to_u64()?);
        i64::try_from(if negative { -value } else { value }).ok()
    }

    pub(crate) fn to_usize(&self) -> Option<usize> {
        usize::try_from(self.to_i64()?).ok()
    }

    /// The nearest double.
    pub(crate) fn to_f64(&self) -> f64 {
        // Rust reads decimal texts exactly, so the text of enough digits is the shortest correct way.
        match &self.magnitude {
            Magnitude::Infinite if self.negative => f64::NEG_INFINITY,
            Magnitude::Infinite => f64::INFINITY,
            Magnitude::Finite { .. } => self.exponent_text(None).parse().unwrap_or(0.0),
        }
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i64 = digits.parse().ok()?;
    Some(if text.starts_with('-') { -value } else { value })
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.is_zero(), number.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let order = sign(self).cmp(&sign(other));
        if order != Ordering::Equal || sign(self) == 0 {
            return order;
        }
        let larger = match (&self.magnitude, &other.magnitude) {
            (Magnitude::Infinite, Magnitude::Infinite) => Ordering::Equal,
            (Magnitude::Infinite, _) => Ordering::Greater,
            (_, Magnitude::Infinite) => Ordering::Less,
            (Magnitude::Finite { mantissa: a, exponent: x }, Magnitude::Finite { mantissa: b, exponent: y }) => {
                let low = *x.min(y);
                a.shift_left((x - low).unsigned_abs()).cmp(&b.shift_left((y - low).unsigned_abs()))
            }
        };
        if self.negative { larger.reverse() } else { larger }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Number::parse(text).expect(text).plain_text(None)
    }

    #[test]
    fn writes_what_was_read() {
        for (text, expected) in [
            ("1.50", "1.5"),
            ("1e21", "1000000000000000000000"),
            ("0.0000001", "0.0000001"),
            ("-0", "-0"),
            ("12345678901234567890.123456789", "12345678901234567890.123456789"),
            ("0", "0"),
            ("10", "10"),
        ] {
            assert_eq!(shown(text), expected);
        }
        let third = Number::parse("1").expect("1").divide(&Number::parse("3").expect("3")).expect("a third");
        assert_eq!(third.plain_text(None).len(), 157);
        assert!(third.plain_text(None).ends_with("3335"));
    }

    #[test]
    fn keeps_the_precision_of_the_environment() {
        let one = Number::parse("1").expect("1");
        let double = Number::from_f64(0.1);
        assert_eq!(double.plain_text(None), "0.1");
        assert_eq!(
            double.add(&one).expect("a sum").plain_text(None),
            "1.1000000000000000055511151231257827021181583404541015625"
        );
        assert_eq!(Number::parse("0.1").expect("0.1").add(&one).expect("a sum").plain_text(None), "1.1");
    }

    #[test]
    fn formats_like_printf() {
        let number = |text: &str| Number::parse(text).expect(text);
        assert_eq!(number("1.005").plain_text(Some(2)), "1.00");
        assert_eq!(number("1000000").general_text(None), "1e+06");
        assert_eq!(number("100000").general_text(None), "100000");
        assert_eq!(number("0.00001").general_text(None), "1e-05");
        assert_eq!(number("1234.5").exponent_text(Some(2)), "1.23e+03");
        assert_eq!(number("0").exponent_text(Some(1)), "0.0e+00");
        assert_eq!(number("-7").modulo(&number("3")).expect("a rest").plain_text(None), "-1");
        assert_eq!(number("-1.5").to_whole(false).plain_text(None), "-2");
        assert_eq!(number("-1.5").to_whole(true).plain_text(None), "-1");
        assert_eq!(number("1.5").to_whole(true).plain_text(None), "2");
    }
}
