use std::cmp::Ordering;

use super::natural::Natural;

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

    /// All decimal digits of the exact value, and where the decimal point stands in them: `0.DIGITS * 10^point`.
    fn exact_digits(mantissa: &Natural, exponent: i64) -> (Vec<u8>, i64) {
        let (value, scale) = if exponent >= 0 {
            (mantissa.shift_left(exponent.unsigned_abs()), 0)
        } else {
            // m / 2^n = m * 5^n / 10^n
            let power = u32::try_from(exponent.unsigned_abs()).unwrap_or(u32::MAX);
            (mantissa.multiply(&Natural::power(5, power)), exponent)
        };
        if value.is_zero() {
            return (Vec::new(), 0);
        }
        let mut digits: Vec<u8> = value.to_decimal().bytes().map(|byte| byte - b'0').collect();
        let point = i64::try_from(digits.len()).unwrap_or(0) + scale;
        while digits.last() == Some(&0) {
            digits.pop();
        }
        (digits, point)
    }

    /// The shortest digits that read back as the same number at this precision.
    fn shortest_digits(&self) -> (Vec<u8>, i64) {
        let Magnitude::Finite { mantissa, exponent } = &self.magnitude else { return (Vec::new(), 0) };
        let (mut digits, mut point) = Self::exact_digits(mantissa, *exponent);
        if digits.is_empty() {
            return (digits, point);
        }
        // The neighbours at half a unit of the last place, with one bit more than the precision.
        let wanted = u64::from(self.bits) + 1;
        let shift = wanted.saturating_sub(mantissa.bit_length());
        let wide = mantissa.shift_left(shift);
        let exponent = exponent - i64::try_from(shift).unwrap_or(0);
        let one = Natural::from_u64(1);
        let inclusive = !wide.bit(1);
        let lower = align(Self::exact_digits(&wide.subtract(&one), exponent), point);
        let upper = align(Self::exact_digits(&wide.add(&one), exponent), point);
        // One leading place more, in case the upper neighbour has one digit more.
        let own = align((digits.clone(), point), point);
        for at in 0..own.len() {
            let digit = own[at];
            let low = lower.get(at).copied().unwrap_or(0);
            let high = upper.get(at).copied().unwrap_or(0);
            let down = low != digit || inclusive && at + 1 == lower.len();
            let up = digit != high && (inclusive || digit + 1 < high || at + 1 < upper.len());
            if !down && !up {
                continue;
            }
            let rest = &own[at + 1..];
            let round_up = if down && up {
                match rest.first() {
                    Some(5) if rest.len() == 1 => digit % 2 == 1,
                    Some(next) => *next >= 5,
                    None => false,
                }
            } else {
                up
            };
            let mut kept = own[..=at].to_vec();
            if round_up {
                increment(&mut kept);
            }
            return from_aligned(kept, point);
        }
        if digits.is_empty() {
            point = 0;
        }
        digits.shrink_to_fit();
        (digits, point)
    }

    /// Digits rounded to `places` after the point, or to `significant` in all.
    fn rounded_digits(&self, keep: i64, from_point: bool) -> (Vec<u8>, i64) {
        let Magnitude::Finite { mantissa, exponent } = &self.magnitude else { return (Vec::new(), 0) };
        let (digits, point) = Self::exact_digits(mantissa, *exponent);
        let wanted = if from_point { point + keep } else { keep };
        let Ok(wanted) = usize::try_from(wanted) else { return (Vec::new(), 0) };
        if wanted >= digits.len() {
            return (digits, point);
        }
        let rest = &digits[wanted..];
        let round_up = match (rest[0], wanted) {
            (5, _) if rest.len() == 1 => wanted > 0 && digits[wanted - 1] % 2 == 1,
            (next, _) => next >= 5,
        };
        let mut kept = vec![0];
        kept.extend_from_slice(&digits[..wanted]);
        if round_up {
            increment(&mut kept);
        }
        from_aligned(kept, point)
    }

    /// Plain decimal without exponent: the shortest, or with so many places after the point.
    pub(crate) fn plain_text(&self, places: Option<usize>) -> String {
        let sign = if self.negative { "-" } else { "" };
        if self.is_infinite() {
            return if self.negative { "-Inf".to_owned() } else { "+Inf".to_owned() };
        }
        let (digits, point) = match places {
            None => self.shortest_digits(),
            Some(places) => self.rounded_digits(i64::try_from(places).unwrap_or(0), true),
        };
        let digit = |at: i64| {
            let digit = usize::try_from(at).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
            char::from(b'0' + digit)
        };
        let whole: String = if point > 0 { (0..point).map(digit).collect() } else { "0".to_owned() };
        let places =
            places.unwrap_or_else(|| usize::try_from(i64::try_from(digits.len()).unwrap_or(0) - point).unwrap_or(0));
        if places == 0 {
            return format!("{sign}{whole}");
        }
        let fraction: String = (0..i64::try_from(places).unwrap_or(0)).map(|at| digit(point + at)).collect();
        format!("{sign}{whole}.{fraction}")
    }

    /// `d.ddde±dd`: the shortest, or with so many places after the point.
    pub(crate) fn exponent_text(&self, places: Option<usize>) -> String {
        if self.is_infinite() {
            return self.plain_text(None);
        }
        let (digits, point) = match places {
            None => self.shortest_digits(),
            Some(places) => self.rounded_digits(i64::try_from(places).unwrap_or(0) + 1, false),
        };
        exponent_form(self.negative, &digits, point, places)
    }

    /// `%g`: plain or with exponent, whichever Go chooses.
    pub(crate) fn general_text(&self, precision: Option<usize>) -> String {
        if self.is_infinite() {
            return self.plain_text(None);
        }
        let (digits, point) = match precision {
            None => self.shortest_digits(),
            Some(precision) => self.rounded_digits(i64::try_from(precision.max(1)).unwrap_or(1), false),
        };
        let length = i64::try_from(digits.len()).unwrap_or(0);
        let mut limit = precision.map_or(6, |precision| i64::try_from(precision.max(1)).unwrap_or(6));
        if precision.is_some() && limit > length && length >= point {
            limit = length;
        }
        let exponent = point - 1;
        if !digits.is_empty() && (exponent < -4 || exponent >= limit) {
            return exponent_form(self.negative, &digits, point, Some(digits.len().saturating_sub(1)));
        }
        let places = usize::try_from(length - point).unwrap_or(0);
        let rounded = Self { ..self.clone() };
        rounded.plain_text(Some(if digits.is_empty() { 0 } else { places }))
    }
}

fn exponent_form(negative: bool, digits: &[u8], point: i64, places: Option<usize>) -> String {
    let sign = if negative { "-" } else { "" };
    let exponent = if digits.is_empty() { 0 } else { point - 1 };
    let places = places.unwrap_or_else(|| digits.len().saturating_sub(1));
    let first = digits.first().copied().unwrap_or(0);
    let mut text = format!("{sign}{first}");
    if places > 0 {
        text.push('.');
        text.extend((1..=places).map(|at| char::from(b'0' + digits.get(at).copied().unwrap_or(0))));
    }
    let mark = if exponent < 0 { '-' } else { '+' };
    text.push_str(&format!("e{mark}{:02}", exponent.abs()));
    text
}

/// Digits with leading zeros so that the first one stands one place before `point`.
fn align((digits, own): (Vec<u8>, i64), point: i64) -> Vec<u8> {
    let zeros = usize::try_from(point + 1 - own).unwrap_or(0);
    let mut aligned = vec![0; zeros];
    aligned.extend(digits);
    aligned
}

/// Undoes [`align`]: drops leading and trailing zeros.
fn from_aligned(mut digits: Vec<u8>, point: i64) -> (Vec<u8>, i64) {
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
    while digits.last() == Some(&0) {
        digits.pop();
    }
    if digits.is_empty() {
        return (digits, 0);
    }
    (digits, point + 1 - i64::try_from(zeros).unwrap_or(0))
}

fn increment(digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        if *digit < 9 {
            *digit += 1;
            return;
        }
        *digit = 0;
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
