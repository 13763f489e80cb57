use std::collections::BTreeMap;

use super::{Builtin, Outcome, Refusal, Wanted, function, number, refuse, text};
use crate::config::hcl::number::Number;
use crate::config::hcl::value::Value;

pub(super) const FUNCTIONS: &[Builtin] = &[
    function("formatdate", &[Wanted::String, Wanted::String], |values| {
        let moment = Moment::parse(text(values, 1), 1)?;
        moment.format(text(values, 0)).map(Value::string)
    }),
    function("formattimestamp", &[Wanted::String, Wanted::Any], format_timestamp),
    function("timeadd", &[Wanted::String, Wanted::String], |values| {
        let moment = Moment::parse(text(values, 0), 0)?;
        let Some(nanoseconds) = parse_duration(text(values, 1)) else {
            return refuse(1, format!("`{}` is no duration, such as `1h30m`", text(values, 1)));
        };
        let total = i128::from(moment.seconds) * 1_000_000_000 + i128::from(moment.nanoseconds) + nanoseconds;
        let seconds = i64::try_from(total.div_euclid(1_000_000_000)).map_err(|_| "the time is out of range")?;
        Ok(Value::string(Moment { seconds, nanoseconds: 0, offset: moment.offset }.rfc3339()))
    }),
    function("unixtimestampparse", &[Wanted::Number], parse_unix),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A moment, with the offset from UTC in which it is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Since 1970-01-01 in UTC.
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
    /// Seconds east of UTC.
    pub(crate) offset: i64,
}

/// A moment taken apart.
struct Parts {
    year: i64,
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    /// 0 is Sunday.
    weekday: usize,
    /// 1 is the first of January.
    year_day: i64,
}

impl Moment {
    /// RFC 3339, strictly.
    fn parse(text: &str, argument: usize) -> Result<Self, Refusal> {
        Self::read(text)
            .ok_or(())
            .or_else(|()| refuse(argument, format!("`{text}` is no time in RFC 3339, such as `2024-01-31T12:00:00Z`")))
    }

    fn read(text: &str) -> Option<Self> {
        if !text.is_ascii() || text.len() < 20 {
            return None;
        }
        let (date, rest) = text.split_at(19);
        let shape = date.bytes().zip("0000-00-00T00:00:00".bytes());
        if !shape.clone().all(|(b, s)| if s == b'0' { b.is_ascii_digit() } else { b == s }) {
            return None;
        }
        let field = |at: usize, length: usize| date.get(at..at + length)?.parse::<i64>().ok();
        let (year, month, day) = (field(0, 4)?, field(5, 2)?, field(8, 2)?);
        let (hour, minute, second) = (field(11, 2)?, field(14, 2)?, field(17, 2)?);
        if !(1..=12).contains(&month)
            || day < 1
            || day > days_in(year, month)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return None;
        }
        let (fraction, zone) = match rest.strip_prefix('.') {
            Some(after) => {
                let end = after.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
                (&after[..end.min(9)], &after[end..])
            }
            None => ("", rest),
        };
        let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
        let offset = match zone.as_bytes() {
            b"Z" => 0,
            [sign @ (b'+' | b'-'), a, b, b':', c, d] if [a, b, c, d].iter().all(|b| b.is_ascii_digit()) => {
                let (hours, minutes) = (zone[1..3].parse::<i64>().ok()?, zone[4..6].parse::<i64>().ok()?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                (hours * 60 + minutes) * 60 * if *sign == b'-' { -1 } else { 1 }
            }
            _ => return None,
        };
        let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
        Some(Self { seconds, nanoseconds, offset })
    }

    fn parts(&self) -> Parts {
        let local = self.seconds.saturating_add(self.offset);
        let (days, second_of_day) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        Parts {
            year,
            month: usize::try_from(month - 1).unwrap_or(0),
            day,
            hour: second_of_day / 3_600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0),
            year_day: days - days_from_civil(year, 1, 1) + 1,
        }
    }

    /// `+0100`, or with a colon.
    fn zone(&self, colon: bool) -> String {
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.abs() / 60;
        format!("{sign}{:02}{}{:02}", minutes / 60, if colon { ":" } else { "" }, minutes % 60)
    }

    pub(crate) fn rfc3339(&self) -> String {
        let parts = self.parts();
        let zone = if self.offset == 0 { "Z".to_owned() } else { self.zone(true) };
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{zone}",
            parts.year,
            parts.month + 1,
            parts.day,
            parts.hour,
            parts.minute,
            parts.second
        )
    }

    /// Letters are verbs, `'…'` is literal text, the rest stands for itself.
    fn format(&self, pattern: &str) -> Result<String, Refusal> {
        let parts = self.parts();
        let mut result = String::new();
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            if c == '\'' {
                let (literal, after) = quoted(rest)?;
                result.push_str(&literal);
                rest = after;
            } else if c.is_ascii_alphabetic() {
                let length = rest.find(|other| other != c).unwrap_or(rest.len());
                result.push_str(&self.verb(&rest[..length], &parts)?);
                rest = &rest[length..];
            } else {
                result.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        Ok(result)
    }

    fn verb(&self, verb: &str, parts: &Parts) -> Result<String, Refusal> {
        let half = if parts.hour % 12 == 0 { 12 } else { parts.hour % 12 };
        Ok(match verb {
            "YY" => format!("{:02}", parts.year % 100),
            "YYYY" => format!("{:04}", parts.year),
            "M" => (parts.month + 1).to_string(),
            "MM" => format!("{:02}", parts.month + 1),
            "MMM" => MONTHS[parts.month][..3].to_owned(),
            "MMMM" => MONTHS[parts.month].to_owned(),
            "D" => parts.day.to_string(),
            "DD" => format!("{:02}", parts.day),
            "EEE" => DAYS[parts.weekday][..3].to_owned(),
            "EEEE" => DAYS[parts.weekday].to_owned(),
            "h" => parts.hour.to_string(),
            "hh" => format!("{:02}", parts.hour),
            "H" => half.to_string(),
            "HH" => format!("{half:02}"),
            "AA" => if parts.hour < 12 { "AM" } else { "PM" }.to_owned(),
            "aa" => if parts.hour < 12 { "am" } else { "pm" }.to_owned(),
            "m" => parts.minute.to_string(),
            "mm" => format!("{:02}", parts.minute),
            "s" => parts.second.to_string(),
            "ss" => format!("{:02}", parts.second),
            "Z" if self.offset == 0 => "Z".to_owned(),
            "ZZZ" if self.offset == 0 => "UTC".to_owned(),
            "Z" | "ZZZZZ" => self.zone(true),
            "ZZZ" | "ZZZZ" => self.zone(false),
            other => return refuse(0, format!("unknown verb `{other}`; literal letters stand in single quotes")),
        })
    }
}

/// A literal in single quotes at the start of `rest`, in which a quote is doubled; `''` alone is a quote.
fn quoted(rest: &str) -> Result<(String, &str), Refusal> {
    let mut literal = String::new();
    let mut rest = &rest[1..];
    if let Some(after) = rest.strip_prefix('\'') {
        return Ok(("'".to_owned(), after));
    }
    loop {
        let Some(end) = rest.find('\'') else { return refuse(0, "a literal that is not closed") };
        literal.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                literal.push('\'');
                rest = after;
            }
            None => return Ok((literal, rest)),
        }
    }
}

fn unix(values: &[Value], at: usize) -> Result<Moment, Refusal> {
    let seconds = number(values, at)?.to_i64();
    // Beyond the year 9999 nothing can be written in four digits.
    match seconds.filter(|seconds| seconds.unsigned_abs() < 100_000_000_000_000) {
        Some(seconds) => Ok(Moment { seconds, nanoseconds: 0, offset: 0 }),
        None => refuse(at, "a whole number of seconds is required"),
    }
}

fn format_timestamp(values: &[Value]) -> Outcome {
    let moment = match &values[1] {
        Value::String(text) => Moment::parse(text, 1)?,
        Value::Number(_) => unix(values, 1)?,
        _ => return refuse(1, "a time in RFC 3339 or a number of seconds is required"),
    };
    if text(values, 0) == "X" {
        return Ok(Value::string(moment.seconds.to_string()));
    }
    moment.format(text(values, 0)).map(Value::string)
}

fn parse_unix(values: &[Value]) -> Outcome {
    let moment = unix(values, 0)?;
    let parts = moment.parts();
    let (iso_year, iso_week) = iso_week(&parts);
    let number = |value: i64| Value::Number(Number::from_i64(value));
    let weekday = i64::try_from(parts.weekday).unwrap_or(0);
    let month = i64::try_from(parts.month).unwrap_or(0) + 1;
    let entries = [
        ("year", number(parts.year)),
        ("year_day", number(parts.year_day)),
        ("day", number(parts.day)),
        ("month", number(month)),
        ("month_name", Value::string(MONTHS[parts.month])),
        ("weekday", number(weekday)),
        ("weekday_name", Value::string(DAYS[parts.weekday])),
        ("hour", number(parts.hour)),
        ("minute", number(parts.minute)),
        ("second", number(parts.second)),
        ("rfc3339", Value::string(moment.rfc3339())),
        ("iso_year", number(iso_year)),
        ("iso_week", number(iso_week)),
    ];
    Ok(Value::object(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>()))
}

/// ISO 8601: a week belongs to the year that its Thursday is in.
fn iso_week(parts: &Parts) -> (i64, i64) {
    let from_monday = (i64::try_from(parts.weekday).unwrap_or(0) + 6) % 7;
    let thursday = parts.year_day - from_monday + 3;
    let length = |year: i64| if is_leap(year) { 366 } else { 365 };
    if thursday < 1 {
        return (parts.year - 1, (thursday + length(parts.year - 1) - 1) / 7 + 1);
    }
    if thursday > length(parts.year) {
        return (parts.year + 1, 1);
    }
    (parts.year, (thursday - 1) / 7 + 1)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar; years are counted from March, so that leap days come last.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

/// Nanoseconds of `1h30m`, `-1.5s`, `100ms`: Go's durations.
fn parse_duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() || rest.len() > 200 {
        return None;
    }
    let mut total = 0i128;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, after) = rest.split_at(end);
        let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let scale: i128 = match &after[..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
        total += whole.checked_mul(scale)?;
        let digits: String = fraction.chars().take(18).collect();
        if !digits.is_empty() {
            let value: i128 = digits.parse::<u64>().ok()?.into();
            total += value * scale / 10i128.pow(u32::try_from(digits.len()).ok()?);
        }
        rest = &after[unit_end..];
    }
    (total <= i128::from(i64::MAX)).then_some(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_calendar() {
        for seconds in [0i64, 951_782_400, 1_709_251_199, -1, 4_102_444_800, 1_735_516_800] {
            let moment = Moment { seconds, nanoseconds: 0, offset: 0 };
            let read = Moment::read(&moment.rfc3339()).expect("what was written");
            assert_eq!(read.seconds, seconds, "{}", moment.rfc3339());
        }
        let moment = Moment::read("2024-12-30T23:59:59.5+05:30").expect("a time");
        assert_eq!(moment.rfc3339(), "2024-12-30T23:59:59+05:30");
        assert_eq!(iso_week(&moment.parts()), (2025, 1));
        assert_eq!(
            moment.format("EEEE, DD-MMM-YY hh:mm:ss ZZZ 'o''clock'").expect("a text"),
            "Monday, 30-Dec-24 23:59:59 +0530 o'clock"
        );
        for bad in ["2024-02-30T00:00:00Z", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00", "2024-01-01T24:00:00Z"] {
            assert!(Moment::read(bad).is_none(), "{bad}");
        }
        assert_eq!(parse_duration("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse_duration("-1.5s"), Some(-1_500_000_000));
        assert_eq!(parse_duration("5"), None);
        for seconds in [i64::MIN, i64::MAX, 100_000_000_000_000] {
            assert!(parse_unix(&[Value::Number(Number::from_i64(seconds))]).is_err(), "{seconds}");
        }
    }
}
