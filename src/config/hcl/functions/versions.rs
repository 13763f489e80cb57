use std::cmp::Ordering;

use super::{Builtin, Outcome, Wanted, function, refuse, text};
use crate::config::hcl::value::Value;

pub(super) const FUNCTIONS: &[Builtin] = &[function("semvercmp", &[Wanted::String, Wanted::String], compare)];

/// A version as people write them: `v1.2`, `1.2.3-rc.1+build`.
#[derive(Debug, Clone)]
struct Version {
    numbers: [u64; 3],
    pre: String,
}

/// An operator and a version in which parts may be missing or `x`.
struct Constraint {
    operator: String,
    version: Version,
    /// How many of the three numbers are given.
    given: usize,
}

fn compare(values: &[Value]) -> Outcome {
    let Some(version) = Version::parse(text(values, 0)) else {
        return refuse(0, format!("`{}` is no version", text(values, 0)));
    };
    let Some(alternatives) = parse_constraints(text(values, 1)) else {
        return refuse(1, format!("`{}` is no constraint, such as `>= 1.2, < 2`", text(values, 1)));
    };
    Ok(Value::Bool(alternatives.iter().any(|all| {
        let pre_wanted = all.iter().any(|constraint| !constraint.version.pre.is_empty());
        all.iter().all(|constraint| constraint.holds(&version, pre_wanted))
    })))
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (numbers, pre) = text.split_once('-').map_or((text, None), |(numbers, pre)| (numbers, Some(pre)));
        if build.is_some_and(|build| !identifiers(build)) || pre.is_some_and(|pre| !identifiers(pre)) {
            return None;
        }
        // A numeric identifier of a pre-release has no leading zero.
        if pre.is_some_and(|pre| pre.split('.').any(|part| part.len() > 1 && part.starts_with('0') && is_digits(part)))
        {
            return None;
        }
        let mut parsed = [0; 3];
        let parts: Vec<&str> = numbers.split('.').collect();
        if parts.len() > 3 {
            return None;
        }
        for (slot, part) in parsed.iter_mut().zip(&parts) {
            *slot = part.parse().ok().filter(|_| is_digits(part))?;
        }
        Some(Self { numbers: parsed, pre: pre.unwrap_or_default().to_owned() })
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.order(other) == Ordering::Equal
    }
}

impl Version {
    fn order(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => pre_order(&self.pre, &other.pre),
        })
    }
}

/// semver.org, section 11: numbers by size and before texts, fewer identifiers first.
fn pre_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => {
                let order = match (a.parse::<u64>(), b.parse::<u64>()) {
                    (Ok(a), Ok(b)) => a.cmp(&b),
                    (Ok(_), Err(_)) => Ordering::Less,
                    (Err(_), Ok(_)) => Ordering::Greater,
                    (Err(_), Err(_)) => a.cmp(b),
                };
                if order != Ordering::Equal {
                    return order;
                }
            }
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn identifiers(text: &str) -> bool {
    text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

/// Alternatives between `||`, each a list of constraints that all must hold.
fn parse_constraints(text: &str) -> Option<Vec<Vec<Constraint>>> {
    text.split("||").map(parse_all).collect()
}

fn parse_all(text: &str) -> Option<Vec<Constraint>> {
    let mut words: Vec<String> = Vec::new();
    // An operator may stand apart from its version: put them together first.
    for word in text.replace(',', " ").split_whitespace() {
        let joins = words.last().is_some_and(|last| last != "-" && last.chars().all(|c| "=!<>~^".contains(c)));
        match words.last_mut() {
            Some(last) if joins => last.push_str(word),
            _ => words.push(word.to_owned()),
        }
    }
    let mut constraints = Vec::new();
    let mut at = 0;
    while at < words.len() {
        if words.get(at + 1).is_some_and(|word| word == "-") {
            constraints.push(Constraint::parse(&format!(">={}", words[at]))?);
            constraints.push(Constraint::parse(&format!("<={}", words.get(at + 2)?))?);
            at += 3;
        } else {
            constraints.push(Constraint::parse(&words[at])?);
            at += 1;
        }
    }
    (!constraints.is_empty()).then_some(constraints)
}

impl Constraint {
    fn parse(text: &str) -> Option<Self> {
        let start = text.find(|c| !"=!<>~^".contains(c))?;
        let (operator, rest) = text.split_at(start);
        if !["", "=", "!=", ">", "<", ">=", "=>", "<=", "=<", "~", "~>", "^"].contains(&operator) {
            return None;
        }
        let rest = rest.strip_prefix('v').unwrap_or(rest);
        let end = rest.find(['-', '+']).unwrap_or(rest.len());
        let (numbers, suffix) = rest.split_at(end);
        let parts: Vec<&str> = numbers.split('.').collect();
        if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        let given = parts.iter().position(|part| ["x", "X", "*"].contains(part)).unwrap_or(parts.len());
        let mut full: Vec<&str> = parts[..given].to_vec();
        full.resize(3, "0");
        let version = Version::parse(&format!("{}{suffix}", full.join(".")))?;
        Some(Self { operator: operator.to_owned(), version, given })
    }

    fn holds(&self, version: &Version, pre_wanted: bool) -> bool {
        if !version.pre.is_empty() && !pre_wanted {
            return false;
        }
        let own = &self.version;
        let order = version.order(own);
        let exact = self.given == 3;
        let ([major, minor, patch], [own_major, own_minor, own_patch]) = (version.numbers, own.numbers);
        match self.operator.as_str() {
            "" | "=" if exact => order == Ordering::Equal,
            "!=" if exact => order != Ordering::Equal,
            "!=" => {
                version.numbers[..self.given.max(1)] != own.numbers[..self.given.max(1)] && {
                    // Only the numbers that are given decide.
                    self.given > 0 || major != own_major
                }
            }
            ">" if exact => order == Ordering::Greater,
            ">" => major > own_major || major == own_major && self.given == 2 && minor > own_minor,
            "<" => order == Ordering::Less,
            ">=" | "=>" => order != Ordering::Less,
            "<=" | "=<" if exact => order != Ordering::Greater,
            "<=" | "=<" => major < own_major || major == own_major && (self.given < 2 || minor <= own_minor),
            "^" => {
                order != Ordering::Less
                    && if own_major > 0 || self.given < 2 {
                        // `^x` begins at zero and takes what has that major version only if one is given.
                        self.given == 0 && own_major == 0 && major == 0 || major == own_major
                    } else {
                        major == 0
                            && if own_minor > 0 || self.given < 3 {
                                minor == own_minor
                            } else {
                                minor == 0 && patch == own_patch
                            }
                    }
            }
            // "~", "~>", and versions with missing parts.
            _ => {
                if order == Ordering::Less {
                    return false;
                }
                if self.given == 0 || own.numbers == [0; 3] && exact {
                    return true;
                }
                major == own_major && (self.given < 2 || minor == own_minor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_versions() {
        let holds = |version: &str, constraint: &str| {
            compare(&[Value::string(version), Value::string(constraint)]).expect(constraint).as_bool() == Some(true)
        };
        for (version, constraint, expected) in [
            ("1.2.3", ">= 1.2, < 2", true),
            ("2.0.0", ">= 1.2, < 2", false),
            ("1.2.3", "1.2.x", true),
            ("1.3.0", "~1.2", false),
            ("1.9.0", "^1.2", true),
            ("0.3.0", "^0.2", false),
            ("1.2.3", "1.0 - 1.5 || 3", true),
            ("2.0.0-rc.1", ">1.0", false),
            ("2.0.0-rc.2", ">2.0.0-rc.1", true),
            ("v1.2", "!=1.3", true),
            ("1.2.3", "*", true),
        ] {
            assert_eq!(holds(version, constraint), expected, "{version} {constraint}");
        }
    }
}
