//! Files that were written to hurt: each must be refused in words (or read), quickly, in little memory, by the program itself.

#![expect(clippy::format_collect, reason = "texts of a test are written as they read")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// What the program may map, in KiB: its stack for recursion is 256 MiB of it, most of which is never touched.
const ADDRESS_SPACE: u64 = 3 << 20;
/// Far beyond what any of them takes: tells an endless loop, not a slow machine.
const SECONDS: u64 = 120;
/// An error is for people to read.
const MAX_OUTPUT: usize = 16 << 10;

/// A file: its name, what stands in it, and what the error says; `None` where it is fine.
type Case = (&'static str, &'static str, Vec<u8>, Option<&'static str>);

fn check(cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for (what, file, content, expected) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        prepare(folder.path(), file, &content);
        let script = format!("ulimit -v {ADDRESS_SPACE}; ulimit -c 0; exec timeout -k 5 {SECONDS} \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &script, "bash", env!("CARGO_BIN_EXE_catamaran"), "plan"]);
        if !matches!(file, "catamaran.toml" | "Dockerfile" | ".env" | "deps.yaml") {
            command.args(["-f", file]);
        }
        let output = command.current_dir(folder.path()).env_remove("VERSION").output().expect("bash");
        let error = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        let complaint = match expected {
            _ if error.contains("panicked") || error.contains("overflowed") => Some("panics"),
            _ if code == Some(124) => Some("takes for ever"),
            _ if error.len() > MAX_OUTPUT => Some("says too much"),
            _ if error.contains(|c: char| c.is_control() && c != '\n') => Some("shows control characters"),
            None if code != Some(0) => Some("is refused"),
            Some(_) if code != Some(2) => Some("is not refused"),
            Some(part) if !error.contains(part) => Some("is refused in other words"),
            _ => None,
        };
        if let Some(complaint) = complaint {
            let shown: String = error.chars().take(600).collect();
            wrong.push(format!("{what} {complaint} ({code:?}, {} bytes; wanted {expected:?}):\n{shown}", error.len()));
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Writes the file, and around it what makes it one of a project.
fn prepare(folder: &Path, file: &str, content: &[u8]) {
    fs::write(folder.join(file), content).expect("a file");
    if file != "Dockerfile" {
        fs::write(folder.join("Dockerfile"), "FROM scratch\nCOPY x /\n").expect("a file");
    }
    let project = match file {
        "Dockerfile" => "platforms = [\"amd64\"]\n[component.a]\n",
        ".env" => "platforms = [\"amd64\"]\n[vars]\nfiles = [\".env\"]\n[component.a]\n",
        "deps.yaml" => "platforms = [\"amd64\"]\n[vars]\nfiles = [\"deps.yaml\"]\n[component.a]\n",
        _ => return,
    };
    fs::write(folder.join("catamaran.toml"), project).expect("a file");
}

/// `open` many times, then `close` as often.
fn nested(before: &str, open: &str, middle: &str, close: &str, after: &str) -> Vec<u8> {
    format!("{before}{}{middle}{}{after}", open.repeat(10_000), close.repeat(10_000)).into_bytes()
}

/// A hundred megabytes of one line.
fn huge(begin: &str) -> Vec<u8> {
    let mut bytes = begin.as_bytes().to_vec();
    bytes.resize(100 << 20, b'a');
    bytes
}

/// Fifteen, which is below the limit for a file.
fn long(begin: &str, end: &str) -> Vec<u8> {
    let mut bytes = begin.as_bytes().to_vec();
    bytes.resize(15 << 20, b'a');
    bytes.extend_from_slice(end.as_bytes());
    bytes
}

fn hcl(text: &str) -> Vec<u8> {
    format!("target \"default\" {{\n  args = {{\n    X = {text}\n  }}\n}}\n").into_bytes()
}

#[test]
fn hostile_toml() {
    const FILE: &str = "catamaran.toml";
    const BEGIN: &str = "platforms = [\"amd64\"]\n";
    let project = |text: &str| format!("{BEGIN}[component.a]\n{text}").into_bytes();
    let matrix: String = (0..5).map(|axis| format!("x{axis} = [{}]\n", "\"v\",".repeat(1000))).collect();
    let chain: String = (0..10_000).map(|at| format!("[settings.s{at}]\ninherits = [\"s{}\"]\n", at + 1)).collect();
    let circle: String = (0..10_000)
        .map(|at| format!("[component.c{at}]\nneeds = [\"c{}\"]\ndockerfile = \"Dockerfile\"\n", (at + 1) % 10_000))
        .collect();
    let doubling: String = (1..60).map(|at| format!("V{at} = \"${{V{}}}${{V{}}}\"\n", at - 1, at - 1)).collect();
    check(vec![
        ("nested lists", FILE, nested(BEGIN, "[", "", "]", "").splice_key("a = "), Some("not valid TOML")),
        ("nested tables", FILE, nested("a = ", "{a=", "1", "}", "\n"), Some("not valid TOML")),
        ("nested keys", FILE, nested("a", ".a", " = 1", "", "\n"), Some("error: ")),
        ("nested headers", FILE, nested("[a", ".a", "]", "", "\nx = 1\n"), Some("error: ")),
        ("a file of 100 MB", FILE, huge("# "), Some("larger than 16 MiB")),
        ("a long name", FILE, long(&format!("{BEGIN}tag = \""), "\"\n[component.a]\n"), Some("is not a tag")),
        ("a long key", FILE, long(BEGIN, " = 1\n[component.a]\n"), Some("unknown key")),
        ("a string that does not end", FILE, long(&format!("{BEGIN}tag = \""), ""), Some("not valid TOML")),
        ("an explosion", FILE, project(&format!("[component.a.matrix.axes]\n{matrix}")), Some("combinations")),
        (
            "a chain of settings",
            FILE,
            format!("{BEGIN}{chain}[component.a]\ninherits = [\"s0\"]\n").into(),
            Some("circle"),
        ),
        ("a circle of ten thousand", FILE, format!("{BEGIN}{circle}").into(), Some("circle")),
        (
            "settings in a circle",
            FILE,
            project("inherits = [\"s\"]\n[settings.s]\ninherits = [\"s\"]\n"),
            Some("circle"),
        ),
        ("variables in a circle", FILE, project("[vars.set]\nA = \"${B}\"\nB = \"${A}\"\n"), Some("error: ")),
        (
            "variables that double",
            FILE,
            project(&format!("[vars.set]\nV0 = \"aaaaaaaaaa\"\n{doubling}")),
            Some("longer than 1 MiB"),
        ),
        (
            "nested defaults",
            FILE,
            nested(&format!("{BEGIN}tag = \""), "${A:-", "x", "}", "\"\n[component.a]\n"),
            Some("error: "),
        ),
        ("NUL", FILE, project("tag = \"a\0b\"\n"), Some("not valid TOML")),
        (
            "a byte order mark and CRLF",
            FILE,
            b"\xef\xbb\xbfplatforms = [\"amd64\"]\r\n[component.a]\r\n".to_vec(),
            None,
        ),
        ("bytes that are not UTF-8", FILE, b"name = \"\xff\"\n".to_vec(), Some("not UTF-8")),
        ("a number without end", FILE, project("[service.a]\nport = 1e999999999\n"), Some("port")),
        (
            "a whole number without end",
            FILE,
            project(&format!("[service.a]\nport = {}\n", "9".repeat(100_000))),
            Some("port"),
        ),
        ("escape sequences", FILE, project("target = \"\\u001b[2J\\u0007\"\n"), Some("error: ")),
        ("a repository of everything", FILE, project("[discover]\nroots = [\"/**\"]\n"), Some("error: ")),
        (
            "braces that nobody closes",
            FILE,
            project(&format!("tag = \"{}\"\n", "{".repeat(100_000))),
            Some("not closed"),
        ),
    ]);
}

/// For the one case that needs its key after the platforms.
trait SpliceKey {
    fn splice_key(self, key: &str) -> Vec<u8>;
}

impl SpliceKey for Vec<u8> {
    fn splice_key(mut self, key: &str) -> Vec<u8> {
        let at = self.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        drop(self.splice(at..at, key.bytes()));
        self
    }
}

#[test]
fn hostile_hcl_syntax() {
    const FILE: &str = "docker-bake.hcl";
    const DEEP: Option<&str> = Some("levels deep");
    check(vec![
        ("nested tuples", FILE, nested("x = ", "[", "1", "]", "\n"), DEEP),
        ("nested parentheses", FILE, nested("x = ", "(", "1", ")", "\n"), DEEP),
        ("nested objects", FILE, nested("x = ", "{a=", "1", "}", "\n"), DEEP),
        ("nested templates", FILE, nested("x = ", "\"${", "1", "}\"", "\n"), DEEP),
        ("nested calls", FILE, nested("x = ", "upper(", "\"a\"", ")", "\n"), DEEP),
        ("nested negations", FILE, nested("x = ", "!", "true", "", "\n"), DEEP),
        ("nested minus", FILE, nested("x = ", "-", "1", "", "\n"), DEEP),
        ("nested conditionals", FILE, nested("x = ", "true ? 1 : ", "1", "", "\n"), DEEP),
        ("nested blocks", FILE, nested("", "a {\n", "", "}\n", "\n"), DEEP),
        ("nested indexes", FILE, nested("x = a", "[a", "[0]", "]", "\n"), DEEP),
        ("nested fors", FILE, nested("x = ", "[for a in [1]: ", "a", "]", "\n"), DEEP),
        ("nested directives", FILE, nested("x = \"", "%{ if true }", "a", "%{ endif }", "\"\n"), DEEP),
        ("blocks that nobody closes", FILE, nested("", "a {\n", "", "", ""), Some("error: ")),
        ("a long chain of names", FILE, nested("x = a", ".a", "", "", "\n"), Some("unknown variable")),
        ("a long chain of indexes", FILE, nested("x = [[]]", "[0]", "", "", "\n"), Some("error: ")),
        ("a long chain of computed indexes", FILE, nested("i = 0\nx = [[]]", "[i]", "", "", "\n"), Some("error: ")),
        ("a long chain of splats", FILE, nested("x = [[]]", "[*]", "", "", "\n"), Some("error: ")),
        ("a long sum", FILE, nested("target \"default\" {}\nx = 1", " + 1", "", "", "\n"), None),
        ("a file of 100 MB", FILE, huge("# "), Some("larger than 16 MiB")),
        ("a long string", FILE, long("target \"default\" {}\nx = \"", "\"\n"), None),
        ("a string that does not end", FILE, long("x = \"", ""), Some("error: ")),
        ("a heredoc that does not end", FILE, long("x = <<EOF\n", ""), Some("error: ")),
        ("a comment that does not end", FILE, long("/* ", ""), Some("comment that is not closed")),
        ("a long name", FILE, long("x = ", "\n"), Some("unknown variable")),
        ("a long target", FILE, long("target \"", ".\" {}\n"), Some("error: ")),
        ("a hundred thousand errors", FILE, "x = \n".repeat(100_000).into(), Some("error: ")),
        ("NUL", FILE, b"x = \"a\0\"\ntarget \"default\" {}\ny = \0\n".to_vec(), Some("error: ")),
        ("bytes that are not UTF-8", FILE, b"x = \"\xff\"\n".to_vec(), Some("not UTF-8")),
        (
            "a byte order mark and CRLF",
            FILE,
            b"\xef\xbb\xbftarget \"default\" {\r\n  platforms = [\"linux/amd64\"]\r\n}\r\n".to_vec(),
            None,
        ),
    ]);
}

#[test]
fn hostile_hcl_values() {
    const FILE: &str = "docker-bake.hcl";
    let any = Some("error: ");
    let doubling: String = (1..60).map(|at| format!("v{at} = \"${{v{}}}${{v{}}}\"\n", at - 1, at - 1)).collect();
    let lists: String = (1..60).map(|at| format!("v{at} = [v{}, v{}]\n", at - 1, at - 1)).collect();
    let functions: String = (1..60)
        .map(|at| format!("function \"f{at}\" {{\n params = [a]\n result = \"${{f{0}(a)}}${{f{0}(a)}}\"\n}}\n", at - 1))
        .collect();
    let axes: String = (0..5).map(|axis| format!("a{axis} = range(1000)\n")).collect();
    let parents: String =
        (0..60).map(|at| format!("target \"t{at}\" {{ inherits = [\"t{0}\", \"t{0}\"] }}\n", at + 1)).collect();
    check(vec![
        ("range", FILE, hcl("length(range(1000000000000))"), any),
        ("backward range", FILE, hcl("length(range(0, -1e18, -0.001))"), any),
        ("setproduct", FILE, hcl("length(setproduct(range(1000), range(1000), range(1000)))"), any),
        ("format", FILE, hcl("format(\"%9999999999s\", \"x\")"), Some("width")),
        ("format with precision", FILE, hcl("format(\"%.9999999999f\", 1)"), Some("width")),
        ("format many", FILE, hcl(&format!("format(\"{}\", 1)", "%9999[1]d".repeat(10_000))), any),
        ("formatlist", FILE, hcl("formatlist(\"%9999d\", range(1000))"), any),
        ("formatlist of formats", FILE, hcl(&format!("length(formatlist(\"{}\", range(1000)))", "%9999[1]d".repeat(1000))), any),
        ("a number beyond all", FILE, hcl("1e999999999"), Some("number")),
        ("a long number", FILE, hcl(&"9".repeat(1 << 20)), Some("number")),
        ("a power", FILE, hcl("pow(10, 1e12)"), None),
        ("powers of powers", FILE, hcl("pow(pow(pow(9, 999), 999), 999)"), None),
        ("many digits", FILE, hcl("1e-30000 + 1e30000"), None),
        ("parseint", FILE, hcl(&format!("parseint(\"{}\", 36)", "z".repeat(1 << 20))), any),
        ("regex bomb", FILE, hcl("regex(\"((((((((((a{1,99}){1,99}){1,99}){1,99}){1,99}){1,99}){1,99}){1,99}){1,99})\", \"a\")"), any),
        ("backtracking regex", FILE, hcl(&format!("length(regexall(\"(a+)+$\", \"{}!\"))", "a".repeat(100_000))), None),
        ("regex everywhere", FILE, hcl(&format!("length(regex_replace(\"{}\", \"\", \"{}\"))", "a".repeat(10_000), "b".repeat(10_000))), any),
        ("replace everywhere", FILE, hcl(&format!("strlen(replace(\"{}\", \"a\", \"{}\"))", "a".repeat(20_000), "b".repeat(20_000))), any),
        ("join", FILE, hcl(&format!("strlen(join(\"{}\", range(1000)))", "b".repeat(1 << 20))), any),
        ("cidrsubnets", FILE, hcl(&format!("cidrsubnets(\"10.0.0.0/8\"{})", ", 32".repeat(1000))), any),
        ("cidrhost", FILE, hcl("cidrhost(\"0.0.0.0/0\", 1e30)"), any),
        ("bcrypt", FILE, hcl("bcrypt(\"x\", 31)"), any),
        ("chunklist", FILE, hcl("length(chunklist(range(1000), 1e30))"), any),
        ("timeadd", FILE, hcl("timeadd(\"2020-01-01T00:00:00Z\", \"99999999999999h\")"), any),
        ("unixtimestampparse", FILE, hcl("unixtimestampparse(1e30).year"), any),
        ("formatdate", FILE, hcl(&format!("formatdate(\"{}\", \"2020-01-01T00:00:00Z\")", "YYYY".repeat(100_000))), any),
        ("jsondecode", FILE, hcl(&format!("jsondecode(\"{}\")", "[".repeat(10_000))), any),
        ("jsondecode of a number", FILE, hcl("jsondecode(\"1e999999999\")"), any),
        ("indent", FILE, hcl("indent(1e12, \"a\\nb\")"), any),
        ("substr", FILE, hcl("substr(\"abc\", -1e18, 1e18)"), None),
        ("texts that double", FILE, format!("v0 = \"aaaaaaaaaa\"\n{doubling}target \"default\" {{ args = {{ X = v59 }} }}\n").into(), any),
        ("lists that double", FILE, format!("v0 = [1]\n{lists}target \"default\" {{}}\n").into(), any),
        ("functions that double", FILE, format!("function \"f0\" {{\n params = [a]\n result = a\n}}\n{functions}target \"default\" {{ args = {{ X = f59(\"a\") }} }}\n").into(), any),
        ("fors in fors", FILE, hcl("length([for a in range(1000): [for b in range(1000): [for c in range(1000): c]]])"), any),
        ("a matrix", FILE, format!("target \"default\" {{\n name = \"t\"\n matrix = {{\n{axes}}}\n}}\n").into(), any),
        ("parents of parents", FILE, format!("{parents}target \"t60\" {{}}\ntarget \"default\" {{ inherits = [\"t0\"] }}\n").into(), None),
        ("variables in a circle", FILE, b"variable \"A\" { default = B }\nvariable \"B\" { default = A }\n".to_vec(), Some("depends on itself")),
        ("functions in a circle", FILE, b"function \"f\" {\n params = [a]\n result = g(a)\n}\nfunction \"g\" {\n params = [a]\n result = f(a)\n}\ntarget \"default\" { tags = [f(\"a\")] }\n".to_vec(), any),
        ("targets in a circle", FILE, b"target \"default\" { contexts = { a = \"target:b\" } }\ntarget \"b\" { contexts = { a = \"target:default\" } }\n".to_vec(), any),
        ("groups in a circle", FILE, b"group \"default\" { targets = [\"g\"] }\ngroup \"g\" { targets = [\"default\"] }\n".to_vec(), any),
        ("values in a circle", FILE, b"target \"default\" {\n args = { A = target.default.args.A }\n}\n".to_vec(), any),
        ("control characters", FILE, hcl("nosuch(\"\\u001b[2J\", \"\u{7}\u{1b}[31m\")"), Some("unknown function")),
    ]);
}

#[test]
fn hostile_json() {
    const FILE: &str = "docker-bake.json";
    let any = Some("error: ");
    check(vec![
        ("nested lists", FILE, nested("{\"x\": ", "[", "1", "]", "}"), any),
        ("nested objects", FILE, nested("", "{\"a\":", "1", "}", ""), any),
        ("lists that nobody closes", FILE, nested("{\"x\": ", "[", "", "", ""), any),
        ("nested templates", FILE, nested("{\"x\": \"", "${[", "1", "]}", "\"}"), any),
        ("a file of 100 MB", FILE, huge("{\"x\": \""), Some("larger than 16 MiB")),
        ("a string that does not end", FILE, long("{\"x\": \"", ""), any),
        ("half a surrogate", FILE, br#"{"target": {"default": {"args": {"a": "\ud800"}}}}"#.to_vec(), any),
        ("the other half", FILE, br#"{"target": {"default": {"args": {"a": "\udc00\ud800"}}}}"#.to_vec(), any),
        ("a number beyond all", FILE, br#"{"target": {"default": {"args": {"a": 1e999999999}}}}"#.to_vec(), any),
        ("NUL", FILE, b"{\"target\": {\"default\": \0}}".to_vec(), any),
        ("an escaped NUL", FILE, br#"{"target": {"\u0000": {}}}"#.to_vec(), any),
        ("a byte order mark", FILE, b"\xef\xbb\xbf{}".to_vec(), any),
        ("bytes that are not UTF-8", FILE, b"{\"x\": \"\xff\"}".to_vec(), Some("not UTF-8")),
        ("half a file", FILE, b"{\"target\": {\"default\": {\"tags\": [\"a\",".to_vec(), any),
        ("a long key", FILE, long("{\"target\": {\"", "\": {}}}"), any),
        ("what is no object", FILE, b"[1, 2]".to_vec(), any),
        ("nothing", FILE, Vec::new(), any),
    ]);
}

#[test]
fn hostile_yaml() {
    const FILE: &str = "compose.yaml";
    const BUILD: &str = "services:\n  web:\n    build:\n      context: .\n";
    let any = Some("error: ");
    let laughs = |item: &str| -> String {
        let lines = (1..30).map(|at| {
            let aliases = format!("*a{},", at - 1).repeat(9);
            item.replace('@', &format!("&a{at}")).replace('#', aliases.trim_end_matches(',')) + "\n"
        });
        let lines: Vec<String> = lines.enumerate().map(|(at, line)| format!("x-{at}: {line}")).collect();
        format!("x-first: &a0 {{k: v}}\n{}{BUILD}", lines.concat())
    };
    let text = |text: &str| text.as_bytes().to_vec();
    let values = Some("values");
    check(vec![
        ("a billion laughs", FILE, laughs("@ [#]").into(), values),
        ("a billion merges", FILE, laughs("@ {<<: [#], l: [#]}").into(), values),
        ("an alias of itself", FILE, format!("x: &a [*a]\n{BUILD}").into(), any),
        ("nested lists", FILE, nested("x: ", "[", "", "]", "\n"), any),
        ("nested mappings", FILE, nested("x: ", "{a: ", "1", "}", "\n"), any),
        ("nested dashes", FILE, nested("x:\n  ", "- ", "1", "", "\n"), any),
        ("nested question marks", FILE, nested("", "? ", "1", "", "\n"), any),
        ("lists that nobody closes", FILE, nested("x: ", "[", "", "", ""), any),
        ("a file of 100 MB", FILE, huge("# "), Some("larger than 16 MiB")),
        ("a string that does not end", FILE, long("x: \"", ""), any),
        ("a long key", FILE, long("", ": 1\nservices: {}\n"), any),
        ("a long value", FILE, long("services: ", "\n"), any),
        ("a hundred thousand documents", FILE, "---\nx: 1\n".repeat(100_000).into(), any),
        ("nested defaults", FILE, nested(&format!("{BUILD}    image: \""), "${A:-", "x", "}", "\"\n"), any),
        ("a service that extends itself", FILE, text("services:\n  a:\n    extends: a\n    build: .\n"), any),
        (
            "services that extend each other",
            FILE,
            text("services:\n  a: {extends: b, build: .}\n  b: {extends: a, build: .}\n"),
            any,
        ),
        (
            "a file that extends itself",
            FILE,
            text("services:\n  a:\n    extends: {file: compose.yaml, service: a}\n    build: .\n"),
            any,
        ),
        ("a file that includes itself", FILE, format!("include: [compose.yaml]\n{BUILD}").into(), any),
        ("a device as env_file", FILE, format!("{BUILD}    env_file: /dev/zero\n").into(), any),
        ("a device as a file", FILE, format!("include: [/dev/zero]\n{BUILD}").into(), any),
        ("bytes that are not UTF-8", FILE, b"x: \"\xff\"\n".to_vec(), Some("not UTF-8")),
        ("NUL", FILE, b"x: a\0b\n".to_vec(), any),
        ("tabs", FILE, text("services:\n\tweb: {}\n"), any),
        ("a key twice", FILE, text("services:\n  a: {build: .}\n  a: {build: .}\n"), Some("twice")),
        (
            "numbers beyond all",
            FILE,
            format!("{BUILD}      args: {{A: 1e999999999, B: {}}}\n    platform: linux/amd64\n", "9".repeat(10_000))
                .into(),
            None,
        ),
        ("nothing", FILE, Vec::new(), any),
    ]);
}

#[test]
fn hostile_dockerfiles() {
    const FILE: &str = "Dockerfile";
    let any = Some("error: ");
    let doubling: String = (1..60).map(|at| format!("ARG V{at}=$V{0}$V{0}\n", at - 1)).collect();
    let stages: String = (0..20_000)
        .map(|at| format!("FROM {} AS s{}\n", if at == 0 { "scratch".to_owned() } else { format!("s{}", at - 1) }, at))
        .collect();
    check(vec![
        ("a file of 100 MB", FILE, huge("# "), Some("larger than 16 MiB")),
        ("a long line", FILE, long("FROM scratch\nRUN ", "\n"), None),
        ("a long image", FILE, long("FROM ", "\n"), any),
        ("a long instruction", FILE, long("FROM scratch\n", " x\n"), any),
        (
            "a million continued lines",
            FILE,
            format!("FROM scratch\nRUN {}x\n", "a \\\n".repeat(1_000_000)).into(),
            None,
        ),
        ("a million instructions", FILE, format!("FROM scratch\n{}", "RUN x\n".repeat(1_000_000)).into(), None),
        ("a chain of stages", FILE, stages.into(), None),
        ("variables that double", FILE, format!("ARG V0=aaaaaaaaaa\n{doubling}FROM $V59\n").into(), any),
        ("nested defaults", FILE, nested("FROM ", "${A:-", "x", "}", "\n"), any),
        ("a heredoc that does not end", FILE, long("FROM scratch\nRUN <<EOF\n", "\n"), Some("does not end")),
        ("many heredocs", FILE, format!("FROM scratch\nRUN {}\n", "<<A ".repeat(100_000)).into(), any),
        ("a thousand errors", FILE, format!("FROM scratch\n{}", "NO x\n".repeat(100_000)).into(), any),
        ("NUL", FILE, b"FROM scr\0atch\n".to_vec(), any),
        ("bytes that are not UTF-8", FILE, b"FROM \xff\n".to_vec(), any),
        ("escape sequences", FILE, b"FROM \x1b[2J\n".to_vec(), any),
        ("a byte order mark and CRLF", FILE, b"\xef\xbb\xbfFROM scratch\r\nCOPY a \\\r\n  b\r\n".to_vec(), None),
    ]);
}

#[test]
fn hostile_variable_files() {
    let any = Some("error: ");
    let doubling: String = (1..60).map(|at| format!("V{at}=$V{0}$V{0}\n", at - 1)).collect();
    check(vec![
        ("a long line", ".env", long("A=", "\n"), None),
        ("a file of 100 MB", ".env", huge("A="), Some("larger than 16 MiB")),
        ("quotes that nobody closes", ".env", long("A=\"", "\n"), any),
        ("variables that double", ".env", format!("V0=aaaaaaaaaa\n{doubling}").into(), None),
        ("NUL", ".env", b"A=\0\n".to_vec(), None),
        ("a hundred thousand errors", ".env", "!\n".repeat(100_000).into(), any),
        ("a list", "deps.yaml", b"- a\n- b\n".to_vec(), any),
        ("aliases", "deps.yaml", b"a: &a [*a]\nb: *a\n".to_vec(), any),
        ("bytes that are not UTF-8", "deps.yaml", b"a: \xff\n".to_vec(), Some("not UTF-8")),
        ("a hundred thousand errors", "deps.yaml", "!\n".repeat(100_000).into(), any),
    ]);
}
