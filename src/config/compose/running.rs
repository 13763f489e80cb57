use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::config::error::ConfigProblem;

use super::yaml::{Kind, Node};

/// Checks the texts of `ports`, `volumes` and `devices` of every service of a document.
///
/// They say how a service runs and mean nothing for building it. One that cannot be read is a mistake all the same, most
/// often a variable that is not set, and bake refuses the file for it.
pub(super) fn check(document: &Node, problems: &mut Vec<ConfigProblem>) {
    let services = document.get("services").and_then(Node::as_map).unwrap_or_default();
    for (_, service) in services {
        for (key, check) in
            [("ports", port as fn(&str) -> Result<(), String>), ("volumes", volume), ("devices", device)]
        {
            for item in service.get(key).and_then(Node::as_list).unwrap_or_default() {
                let Kind::Text(text) = &item.kind else { continue };
                if let Err(why) = check(text) {
                    let message = format!("`{}` in `{key}`: {why}", text.escape_debug());
                    problems.push(ConfigProblem::Invalid { message, help: None, span: Some(item.span.clone()) });
                }
            }
        }
    }
}

/// `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`, ports as numbers or ranges.
fn port(text: &str) -> Result<(), String> {
    let (rest, last) = text.rsplit_once(':').unwrap_or(("", text));
    let (address, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    let (container, protocol) = last.split_once('/').unwrap_or((last, ""));
    if container.is_empty() {
        return Err("the port of the container is missing".to_owned());
    }
    if !matches!(protocol.to_lowercase().as_str(), "" | "tcp" | "udp" | "sctp") {
        return Err(format!("`{protocol}` is no protocol"));
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(format!("`{bare}` is no address"));
    }
    let inner = range(container)?;
    if !host.is_empty() {
        let outer = range(host)?;
        let length = |range: &RangeInclusive<u16>| range.end() - range.start();
        if length(&inner) != 0 && length(&inner) != length(&outer) {
            return Err("the ranges differ in length".to_owned());
        }
    }
    Ok(())
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}` is no port"));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if last < first { Err(format!("`{text}` ends before it begins")) } else { Ok(first..=last) }
}

/// `[SOURCE:]TARGET[:OPTIONS]`. A drive letter keeps its colon.
fn volume(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("nothing is there".to_owned());
    }
    if text.len() <= 2 {
        return Ok(());
    }
    let mut sections = 0;
    let mut section = String::new();
    for c in text.chars().chain([':']) {
        let drive = section.chars().count() == 1 && section.starts_with(char::is_alphabetic);
        if c != ':' || drive {
            section.push(c);
            continue;
        }
        if section.is_empty() {
            return Err("nothing is between two colons".to_owned());
        }
        sections += 1;
        section.clear();
    }
    if sections > 3 { Err("it has too many parts".to_owned()) } else { Ok(()) }
}

/// `HOST[:CONTAINER[:PERMISSIONS]]`.
fn device(text: &str) -> Result<(), String> {
    if text.split(':').count() > 3 { Err("it has too many parts".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_and_what_is_not() {
        for text in ["80", "8080:80", ":80", "127.0.0.1::80/udp", "[::1]:80-81:90-91", "8000-8005:80", "::1:1:2"] {
            assert_eq!(port(text), Ok(()), "{text}");
        }
        for text in ["", ":", "a:80", "80:", "80/icmp", "x:1:2", "1-2:3-5", "70000", "5-4"] {
            assert!(port(text).is_err(), "{text}");
        }
        for text in ["a", "a:/b", "/a:/b:ro,z", "c:\\x:/y", ":"] {
            assert_eq!(volume(text), Ok(()), "{text}");
        }
        for text in ["", ":/b", "/a::ro", "/a:/b:ro:rw", "/a:"] {
            assert!(volume(text).is_err(), "{text}");
        }
        assert!(device("a:b:c:d").is_err() && device("a:b:c").is_ok());
    }
}
