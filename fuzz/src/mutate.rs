//! Inputs that are nearly right: seeds, cut into the words of their language and put together differently.

use super::expression;
use super::random::Random;
use super::seeds::Grammar;

/// Larger inputs say nothing new and cost time.
const MAX_BYTES: usize = 64 << 10;

/// One input. It follows from the state of `random` and the grammar alone.
pub(crate) fn input(random: &mut Random, grammar: &Grammar) -> Vec<u8> {
    let mut tokens: Vec<Vec<u8>> = grammar.seeds[random.below(grammar.seeds.len())].clone();
    // Most inputs are one or two changes away from what is right: others are refused at once.
    let changes = if random.percent(70) { 1 + random.below(3) } else { 1 + random.below(12) };
    for _ in 0..changes {
        change(random, grammar, &mut tokens);
    }
    let mut bytes = tokens.concat();
    if random.percent(12) {
        damage(random, &mut bytes);
    }
    if grammar.tar && random.percent(60) {
        damage_headers(random, &mut bytes);
    }
    bytes.truncate(if grammar.tar { bytes.len() } else { MAX_BYTES });
    bytes
}

/// Cuts a text into names and numbers, runs of spaces, line ends, and single other characters.
pub(crate) fn tokens(text: &[u8]) -> Vec<Vec<u8>> {
    let class = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | 0x80.. => 1,
        b' ' | b'\t' => 2,
        _ => 0,
    };
    let mut tokens: Vec<Vec<u8>> = Vec::new();
    for &byte in text {
        match tokens.last_mut() {
            Some(last) if class(byte) != 0 && last.last().is_some_and(|&end| class(end) == class(byte)) => {
                last.push(byte);
            }
            _ => tokens.push(vec![byte]),
        }
    }
    tokens
}

fn change(random: &mut Random, grammar: &Grammar, tokens: &mut Vec<Vec<u8>>) {
    let length = tokens.len();
    let at = random.below(length);
    let reach = if random.percent(80) { 3 } else { 30 };
    let end = (at + 1 + random.below(reach)).min(length);
    match random.below(17) {
        0 => drop(tokens.drain(at..end)),
        1 => {
            let copy = tokens[at..end].to_vec();
            drop(tokens.splice(at..at, copy));
        }
        2 | 3 => replace(tokens, at, word(random, grammar)),
        4 => tokens.insert(at, word(random, grammar)),
        5 => {
            let other = &grammar.seeds[random.below(grammar.seeds.len())];
            let from = random.below(other.len());
            let to = (from + 1 + random.below(12)).min(other.len());
            drop(tokens.splice(at..at, other[from..to].iter().cloned()));
        }
        6 => {
            if length > 0 {
                let other = random.below(length);
                tokens.swap(at, other);
            }
        }
        7 => drop(tokens.drain(line(tokens, at))),
        8 => {
            let copy = tokens[line(tokens, at)].to_vec();
            let to = line(tokens, random.below(length)).start;
            drop(tokens.splice(to..to, copy));
        }
        9 => indent(random, tokens, at),
        10 => nest(random, grammar, tokens, at),
        11 | 12 => number(random, tokens, at),
        13 => tokens.truncate(at),
        14 => {
            if let Some(token) = tokens.get(at).cloned() {
                let times = [2, 3, 16, 300, 2000][random.below(5)];
                // What was repeated may be repeated again: never beyond what an input may have.
                replace(tokens, at, token.repeat(times.min(MAX_BYTES / token.len().max(1))));
            }
        }
        _ if grammar.expressions => {
            // A value in place of another, or a new one at the end.
            let text = expression::generate(random);
            if random.percent(50) {
                replace(tokens, at, text.into_bytes());
            } else {
                tokens.push(format!("\nx{} = {text}\n", random.below(100)).into_bytes());
            }
        }
        _ => replace(tokens, at, word(random, grammar)),
    }
}

fn word(random: &mut Random, grammar: &Grammar) -> Vec<u8> {
    const HOSTILE: &[&str] = &[
        "",
        "null",
        "true",
        "~",
        "\"",
        "'",
        "`",
        "\\",
        "${",
        "}",
        "$${",
        "%{",
        "$",
        "{{",
        "}}",
        "${A:-${B:-${C}}}",
        "..",
        "/",
        "//",
        "/*",
        "*/",
        "#",
        ":",
        "=",
        ",",
        "@",
        "*",
        "?",
        "[!",
        "**",
        "\n",
        "\r\n",
        "\r",
        "\t",
        "\0",
        "\u{feff}",
        "\u{202e}",
        "\u{85}",
        "e\u{301}",
        "🦀",
        "\x1b[31m",
        "-",
        "--",
        "- ",
        "<<",
        "<<EOF\n",
        "<<-EOF\n",
        "EOF\n",
        "&a ",
        "*a",
        "!reset ",
        "!!binary ",
        "? ",
        "|\n",
        ">-\n",
        "---\n",
        "...\n",
        "__proto__",
        "../../../etc/passwd",
    ];
    if random.percent(40) { random.pick(HOSTILE) } else { grammar.words[random.below(grammar.words.len())] }
        .as_bytes()
        .to_vec()
}

fn replace(tokens: &mut Vec<Vec<u8>>, at: usize, token: Vec<u8>) {
    match tokens.get_mut(at) {
        Some(own) => *own = token,
        None => tokens.push(token),
    }
}

/// The tokens of the line around `at`, its end included.
fn line(tokens: &[Vec<u8>], at: usize) -> std::ops::Range<usize> {
    let at = at.min(tokens.len());
    let start = tokens[..at].iter().rposition(|token| token == b"\n").map_or(0, |found| found + 1);
    let end = tokens[at..].iter().position(|token| token == b"\n").map_or(tokens.len(), |found| at + found + 1);
    start..end.max(start)
}

fn indent(random: &mut Random, tokens: &mut Vec<Vec<u8>>, at: usize) {
    let start = line(tokens, at).start;
    let spaces = vec![b' '; random.below(9)];
    match tokens.get(start) {
        Some(token) if token.first() == Some(&b' ') => tokens[start] = spaces,
        _ => tokens.insert(start.min(tokens.len()), spaces),
    }
}

fn nest(random: &mut Random, grammar: &Grammar, tokens: &mut Vec<Vec<u8>>, at: usize) {
    let deepest = if random.percent(10) { 7 } else { 5 };
    let depth = [1, 2, 3, 8, 60, 300, 3000][random.below(deepest)];
    let (open, close) = grammar.brackets[random.below(grammar.brackets.len())];
    let mut nested = open.as_bytes().repeat(depth);
    nested.extend(tokens.get(at).cloned().unwrap_or_default());
    nested.truncate(MAX_BYTES);
    if random.percent(80) {
        nested.extend(close.as_bytes().repeat(depth));
    }
    replace(tokens, at, nested);
}

/// In place of the next number, or here, one that is hard to hold.
fn number(random: &mut Random, tokens: &mut Vec<Vec<u8>>, at: usize) {
    const NUMBERS: &[&str] = &[
        "0",
        "-1",
        "1",
        "007",
        "0x1F",
        "1_000",
        "65536",
        "2147483648",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "18446744073709551616",
        "340282366920938463463374607431768211456",
        "1e9",
        "1e308",
        "1e309",
        "1e-400",
        "1e99999",
        "1e999999999",
        "1e99999999999999999999",
        "0.1",
        ".5",
        "1.",
        "nan",
        "inf",
        "1.7976931348623157e308",
        "0.000000000000000000000000000000000000000000001",
        "99999999999999999999.9",
    ];
    let found = tokens[at.min(tokens.len())..].iter().position(|token| token.first().is_some_and(u8::is_ascii_digit));
    replace(tokens, at + found.unwrap_or(0), random.pick(NUMBERS).as_bytes().to_vec());
}

/// Bytes that no editor would write.
fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 => bytes.insert(at, u8::try_from(random.below(256)).unwrap_or(0)),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => *bytes = bytes.iter().flat_map(|&b| if b == b'\n' { vec![b'\r', b'\n'] } else { vec![b] }).collect(),
            _ => drop(bytes.splice(0..0, *b"\xef\xbb\xbf")),
        }
    }
}

/// Changes a field of a tar header and mends its checksum, so that what lies behind the checksum is reached.
fn damage_headers(random: &mut Random, bytes: &mut [u8]) {
    const FIELDS: [(usize, usize); 9] =
        [(0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155)];
    let headers: Vec<usize> =
        (0..bytes.len() / 512).filter(|at| bytes[at * 512 + 257..].starts_with(b"ustar")).collect();
    if headers.is_empty() {
        return;
    }
    let start = headers[random.below(headers.len())] * 512;
    let header = &mut bytes[start..start + 512];
    let (at, length) = FIELDS[random.below(FIELDS.len())];
    let byte = at + random.below(length);
    header[byte] = *random.pick(&[&b'0', &b'7', &b' ', &0, &0xff, &b'/', &b'.', &b'x', &b'L', &b'1', &b'\n']);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
