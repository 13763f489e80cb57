use std::fmt::Write as _;

/// A YAML timestamp as Go prints a time, since that is what a date without quotes becomes; `None` for any other text.
///
/// The forms are those of Go's YAML library (yaml.v3 resolve.go, `allowedTimestampFormats`): a date alone, a date and a time
/// with a zone behind `T` or `t`, or without one behind a blank.
pub(super) fn timestamp(text: &str) -> Option<String> {
    let mut rest = Cursor(text);
    let year = rest.digits(4, 4)?;
    let month = rest.after('-')?.digits(1, 2)?;
    let day = rest.after('-')?.digits(1, 2)?;
    if !(1..=12).contains(&month) || day == 0 || day > days(year, month) {
        return None;
    }
    let mut out = format!("{year:04}-{month:02}-{day:02}");
    let Some(separator) = rest.0.chars().next() else { return Some(out + " 00:00:00 +0000 UTC") };
    rest.after(separator)?;
    let hour = rest.digits(1, 2).filter(|hour| *hour < 24)?;
    let minute = rest.after(':')?.digits(1, 2).filter(|minute| *minute < 60)?;
    let second = rest.after(':')?.digits(1, 2).filter(|second| *second < 60)?;
    let _ = write!(out, " {hour:02}:{minute:02}:{second:02}");
    out.push_str(&rest.fraction());
    let zone = match (separator, rest.0) {
        ('T' | 't', "Z") | (' ', "") => "+0000 UTC".to_owned(),
        ('T' | 't', zone) => offset(zone)?,
        _ => return None,
    };
    Some(format!("{out} {zone}"))
}

/// `+01:30` as Go prints a zone without a name.
fn offset(text: &str) -> Option<String> {
    let sign = text.chars().next().filter(|sign| matches!(sign, '+' | '-'))?;
    let mut rest = Cursor(&text[1..]);
    let hours = rest.digits(2, 2).filter(|hours| *hours <= 24)?;
    let minutes = rest.after(':')?.digits(2, 2).filter(|minutes| *minutes < 60)?;
    if !rest.0.is_empty() {
        return None;
    }
    let shown = format!("{sign}{hours:02}{minutes:02}");
    Some(if hours == 0 && minutes == 0 { "+0000 UTC".to_owned() } else { format!("{shown} {shown}") })
}

const fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn after(&mut self, wanted: char) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(wanted)?;
        Some(self)
    }

    /// A number of `least` to `most` digits.
    fn digits(&mut self, least: usize, most: usize) -> Option<u32> {
        let length = self.0.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.0.split_at(length);
        self.0 = rest;
        if length < least { None } else { number.parse().ok() }
    }

    /// `.5`, with zeros at its end left out and no more than nine digits; nothing if there is none.
    fn fraction(&mut self) -> String {
        let Some(digits) = self.0.strip_prefix(['.', ',']) else { return String::new() };
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            return String::new();
        }
        let shown = digits[..length.min(9)].trim_end_matches('0');
        self.0 = &digits[length..];
        if shown.is_empty() { String::new() } else { format!(".{shown}") }
    }
}
