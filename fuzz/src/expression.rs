//! Expressions of the bake language: every function with arguments of every kind.

use super::random::Random;

const FUNCTIONS: &str = "absolute add and base64decode base64encode basename bcrypt byteslen bytesslice can ceil chomp \
    chunklist cidrhost cidrnetmask cidrsubnet cidrsubnets coalesce coalescelist compact concat contains convert csvdecode \
    dirname distinct divide element equal flatten floor format formatdate formattimestamp formatlist greaterthan \
    greaterthanorequalto hasindex homedir indent index indexof int join jsondecode jsonencode keys length lessthan \
    lessthanorequalto log lookup lower max md5 merge min modulo multiply negate not notequal or parseint pow range \
    regex_replace regex regexall replace reverse reverselist rsadecrypt sanitize semvercmp sethaselement setintersection \
    setproduct setsubtract setsymmetricdifference setunion sha1 sha256 sha512 signum slice sort split strlen substr \
    subtract timeadd timestamp title trim trimprefix trimspace trimsuffix try unixtimestampparse upper urlencode uuidv4 \
    uuidv5 values zipmap";

const TEXTS: &[&str] = &[
    "",
    "a",
    "a.b/c é",
    "%d",
    "%9999999999s",
    "%[3]v",
    "%#v %5.2f",
    "%+08.3e",
    "1",
    "-1",
    "1e400",
    "0x1F",
    "true",
    "null",
    "10.0.0.0/8",
    "fd00::/8",
    "0.0.0.0/0",
    "300.1.1.1/99",
    "2020-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "-1h",
    "1h30m",
    "99999999h",
    "YYYY-MM-DD hh:mm",
    "'open",
    "(a+)+$",
    "((((((((((a{1,99}){1,99}){1,99}",
    "[[:alpha:]]+",
    "(?P<n>.)",
    "\\\\p{L}",
    "a,b\\n1,2",
    "{\\\"a\\\":[1,{}]}",
    "[[[[",
    "dns",
    "url",
    "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    ">=1.2, <2",
    "1.2.3-rc.1+b",
    "YQ==",
    "%zz",
    "🦀e\u{301}",
    "$1${n}",
    " \\t\\n",
    "${1+1}",
    "%{if true}x%{endif}",
    "a:b",
    "linux/amd64",
];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "10",
    "255",
    "1.5",
    "-0.1",
    "1e9",
    "1e21",
    "1e999",
    "1e99999",
    "-9223372036854775808",
    "9223372036854775807",
    "18446744073709551616",
    "1/0",
    "-1/0",
    "1/3",
    "0.1",
    "64",
    "65537",
    "100000",
    "4294967296",
];

/// One expression.
pub(crate) fn generate(random: &mut Random) -> String {
    value(random, 0)
}

fn value(random: &mut Random, depth: usize) -> String {
    let choices = if depth > 4 { 4 } else { 14 };
    let inner = |random: &mut Random| value(random, depth + 1);
    match random.below(choices) {
        0 | 3 => format!("\"{}\"", random.pick(TEXTS)),
        1 => (*random.pick(NUMBERS)).to_owned(),
        2 => (*random.pick(&[
            "null",
            "true",
            "false",
            "V",
            "L",
            "BAKE_LOCAL_PLATFORM",
            "target.default.tags",
            "[]",
            "{}",
        ]))
        .to_owned(),
        4 => format!("[{}, {}]", inner(random), inner(random)),
        5 => format!("{{ a = {}, \"b\" = {} }}", inner(random), inner(random)),
        6 => format!("(\"x\" == {} ? {} : {})", inner(random), inner(random), inner(random)),
        7 => format!(
            "[for k, v in {}: {} if {}]",
            inner(random),
            random.pick(&["v", "k", "[k, v]", "upper(v)"]),
            inner(random)
        ),
        8 => format!("{{for k, v in {}: k => v...}}", inner(random)),
        9 => {
            let operator = random.pick(&["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "&&", "||"]);
            format!("({} {operator} {})", inner(random), inner(random))
        }
        10 => format!(
            "{}{}",
            inner(random),
            random.pick(&["[0]", "[-1]", "[\"a\"]", ".a", "[*]", ".*.a", "[1e99]", ".0"])
        ),
        11 => format!("\"${{{}}}-{}\"", inner(random), random.pick(&["x", "%{for v in L}${v}%{endfor}", "$${y}"])),
        _ => call(random, depth),
    }
}

fn call(random: &mut Random, depth: usize) -> String {
    let functions: Vec<&str> = FUNCTIONS.split_whitespace().collect();
    let name = random.pick(&functions);
    let count = [0, 1, 1, 2, 2, 2, 3, 3, 4][random.below(9)];
    let arguments: Vec<String> = (0..count).map(|_| value(random, depth + 1)).collect();
    let expand = if random.percent(5) { "..." } else { "" };
    format!("{name}({}{expand})", arguments.join(", "))
}
