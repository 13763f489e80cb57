//! Numbers as digits: exact, shortest, rounded.

use super::{Magnitude, Number};
use crate::config::hcl::natural::Natural;

impl Number {
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

#[expect(clippy::format_push_string, reason = "the text is short")]
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
