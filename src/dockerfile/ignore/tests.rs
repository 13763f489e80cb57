use proptest::prelude::*;
use regex::Regex;

use super::*;

/// Patterns, paths that they match, and paths that they do not; no paths at all for patterns that are refused.
struct Case(&'static [&'static str], &'static [&'static str], &'static [&'static str]);

const fn good(
    patterns: &'static [&'static str],
    matched: &'static [&'static str],
    kept: &'static [&'static str],
) -> Case {
    Case(patterns, matched, kept)
}

const fn bad(patterns: &'static [&'static str]) -> Case {
    Case(patterns, &[], &[])
}

/// What moby/patternmatcher 0.6.1 answers, asked directory by directory as a walk does.
const CASES: &[Case] = &[
    good(&["**"], &["a", "a/b"], &[]),
    good(&["*"], &["a", "a/b", ".a"], &[]),
    good(&["a"], &["a", "a/b"], &["ab", "b/a"]),
    good(&["/a"], &[], &["a"]),
    good(&["a/"], &["a", "a/b"], &[]),
    good(&["./a"], &["a"], &[]),
    good(&["a/../b"], &["b"], &["a"]),
    good(&["a//b"], &["a/b"], &[]),
    good(&["a/**"], &["a/b", "a/b/c"], &["a", "ab"]),
    good(&["a**"], &["a", "ab", "a/b"], &["b"]),
    good(&["**/a"], &["a", "b/a", "b/c/a", "a/b"], &["ba", "b/ba"]),
    good(&["**a"], &["a", "ba", "b/a", "b/ba"], &["ab"]),
    good(&["**/*.go"], &["x.go", "a/x.go", "a/b.go/c"], &["x.got"]),
    good(&["foo/**.txt"], &["foo/.txt", "foo/a/.txt"], &["foo/x.txt"]),
    good(&["a**b"], &["ab", "a/b", "a/x/b"], &["axb", "a/xb"]),
    good(&["a/**/b"], &["a/b", "a/x/b", "a/x/y/b"], &["ab"]),
    good(&["**/**/a"], &["a", "b/a"], &[]),
    good(&["***"], &["a", "a/b"], &[]),
    good(&["**/b*"], &["b", "ba", "x/b", "x/ba"], &["x/yb"]),
    good(&["a?"], &["ab", "aé"], &["a", "abc"]),
    good(&["?"], &["a", "é"], &[]),
    good(&["*.md"], &["README.md", ".md"], &["a/README.md"]),
    good(&["*/*"], &["a/b", "a/b/c"], &["a"]),
    good(&["a/*"], &["a/b", "a/b/c"], &["a"]),
    good(&["*/b"], &["a/b", "a/b/c", "c/b"], &["b"]),
    good(&["[a-c]"], &["a", "c", "b/d"], &["d"]),
    good(&["[^a]"], &["b"], &["a"]),
    good(&["a[^x]b"], &["a/b", "ayb"], &["axb"]),
    good(&["[!a]"], &["a", "!"], &["b"]),
    good(&["[a/]b"], &["ab", "/b"], &[]),
    good(&[r"[\]]"], &["]"], &["a"]),
    good(&["[[:alpha:]]"], &["a"], &["1"]),
    bad(&["[a-]"]),
    bad(&["[]a]"]),
    good(&["a]*"], &["a]", "a]b"], &[]),
    bad(&["["]),
    bad(&["[b-a]"]),
    bad(&["a["]),
    good(&[r"\*"], &["*"], &["a"]),
    good(&[r"a\d"], &["a1"], &["ad"]),
    good(&[r"a\w*"], &["ab_"], &["a-"]),
    good(&[r"\a"], &[], &["a"]),
    good(&[r"\bfoo*"], &["foo"], &["fo"]),
    good(&[r"a\x62"], &["ab"], &["ax62"]),
    bad(&[r"a\"]),
    bad(&[r"*\"]),
    good(&[r"a*\"], &["a$", "ab$b"], &["a"]),
    good(&[r"\Qa*"], &["a[^/]*$"], &[]),
    bad(&[r"\é"]),
    good(&[r"\<a"], &["<a"], &["a"]),
    good(&[r"\pL"], &["a", "é"], &["1"]),
    good(&[r"\p{Greek}"], &["α"], &["a"]),
    good(&["a^b"], &["a^b"], &["ab"]),
    good(&["a^*"], &[], &["a^", "a", "a^b"]),
    good(&["^*"], &["a", "^a"], &[]),
    good(&["a|b"], &["a|b"], &["a", "b"]),
    good(&["a|b*"], &["a|b", "a", "b", "bx", "xbx", "ax"], &[]),
    good(&["a{2}"], &["a{2}"], &["aa"]),
    good(&["a{2}*"], &["aa", "aab"], &["a{2}", "a"]),
    bad(&["*{2}"]),
    good(&["*.{js,ts}"], &["x.{js,ts}"], &["x.js"]),
    good(&["a.b"], &["a.b"], &["axb"]),
    good(&["a.*"], &["a.b"], &["axb"]),
    good(&["a+b*"], &["a+b"], &["aab"]),
    good(&["(a)*"], &["(a)"], &["a"]),
    good(&["a$*"], &["a$"], &["a"]),
    good(&["$"], &["$"], &[]),
    good(&["a", "!a/b"], &["a", "a/c"], &["a/b", "a/b/c"]),
    good(&["a", "!a/b", "a/b/c"], &["a/b/c"], &["a/b", "a/b/d"]),
    good(&["*", "!a"], &["b"], &["a", "a/x"]),
    good(&["**", "!**/*.rs"], &["a/b.c", "a"], &["a.rs", "a/b.rs"]),
    good(&["!a", "a"], &["a"], &[]),
    good(&["a", "!a"], &[], &["a", "a/b"]),
    good(&["a/*", "!a/b"], &["a/c"], &["a/b", "a"]),
    good(&["!a"], &[], &["a", "b"]),
    bad(&["!"]),
    bad(&["!/"]),
    good(&["!./a", "a"], &["a"], &[]),
    good(&["**", "!a/../b"], &["b", "a"], &[]),
    good(&["a", "!a/b", "*"], &["a/c"], &["a/b"]),
    good(&["a*/b", "!ab"], &["ab/b"], &[]),
    good(&["é"], &["é"], &["e"]),
    good(&["**/é*"], &["x/éa", "éa"], &[]),
    good(&["a b"], &[], &["a"]),
    good(&["\u{feff}a*"], &["ab"], &["\u{feff}ab"]),
    good(&[".."], &[".."], &["a"]),
    good(&["../a"], &[], &["a"]),
    good(&["."], &["."], &["a"]),
    good(&["/"], &[], &["a"]),
    good(&["/**"], &[], &["a"]),
    good(&["#a"], &["#a"], &[]),
];

/// Asks directory by directory.
fn walk(matcher: &PatternMatcher, path: &str) -> bool {
    let mut state = MatchState::default();
    let mut matched = false;
    for end in path.match_indices('/').map(|(end, _)| end).chain([path.len()]) {
        (matched, state) = matcher.matches_with_parent(&path[..end], &state);
    }
    matched
}

#[test]
fn patterns_mean_what_they_mean_to_moby() {
    for Case(patterns, matched, kept) in CASES {
        let matcher = match PatternMatcher::new(patterns) {
            Ok(matcher) => matcher,
            Err(error) => {
                assert!(matched.is_empty() && kept.is_empty(), "{patterns:?}: {error}");
                continue;
            }
        };
        assert!(!matched.is_empty() || !kept.is_empty(), "{patterns:?} must be refused");
        for path in *matched {
            assert!(walk(&matcher, path), "{patterns:?} must match {path:?}");
        }
        for path in *kept {
            assert!(!walk(&matcher, path), "{patterns:?} must not match {path:?}");
        }
    }
}

#[test]
fn a_skipped_pattern_is_inherited_only_without_a_walk() {
    let matcher = PatternMatcher::new(&["a", "!a/b", "*"]).unwrap();
    assert!(!walk(&matcher, "a/b"));
    assert!(matcher.matches("a/b"));
}

#[test]
fn the_text_of_an_ignore_file_is_read_as_the_frontend_does() {
    let read = |text: &str| DockerIgnore::parse(text).unwrap().patterns().join("|");
    assert_eq!(read("\u{feff}a\n#b\n\n #c\r\n\u{a0}d \t\n"), "a|#c|d");
    assert_eq!(read("/a\n//b\n! /c/\n!\n/\n./d/../e\n!.\n"), "a|b|!c|!|/|e|!.");
    assert_eq!(read("a\n\u{feff}b"), "a|\u{feff}b");
    assert_eq!(read(""), "");
    assert_eq!(DockerIgnore::parse("!").unwrap().matcher().unwrap_err(), IgnoreError::BareException);
    let long = format!("a\n{}", "b".repeat(64 * 1024));
    assert_eq!(DockerIgnore::parse(&long).unwrap_err(), IgnoreError::LongLine { line: 2 });
    assert!(DockerIgnore::parse(&long[..long.len() - 1]).is_ok());
}

#[test]
fn names_match_as_by_go() {
    for (pattern, name, wanted) in [
        ("*", "a", true),
        ("*", "", true),
        ("a*", "abc", true),
        ("a*c", "abcc", true),
        ("a*d", "abc", false),
        ("?", "é", true),
        ("[^a]", "b", true),
        ("[a-c]*", "b.txt", true),
        (r"\*", "*", true),
        (r"\*", "a", false),
        ("[", "[", false),
        ("a", "ab", false),
        ("", "", true),
    ] {
        assert_eq!(matches_name(pattern, name), wanted, "{pattern:?} {name:?}");
    }
}

#[test]
fn paths_are_cleaned_as_by_go() {
    for (path, wanted) in [
        ("", "."),
        ("/", "/"),
        ("//", "/"),
        ("a/", "a"),
        ("a//b/./c/..", "a/b"),
        ("..", ".."),
        ("../../a/..", "../.."),
        ("/../a", "/a"),
        ("a/..", "."),
    ] {
        assert_eq!(clean_path(path), wanted, "{path:?}");
    }
}

/// Many patterns must not make a path slow: each path meets the one that it needs to meet instead of 60,000.
#[test]
fn a_path_meets_only_the_patterns_that_can_match_it() {
    let texts: Vec<String> = (0..20_000)
        .flat_map(|n| [format!("generated/f{n}"), format!("**/d{n}/*.o"), format!("src/**/x{n}_*")])
        .collect();
    let patterns: Vec<_> = texts.iter().map(|text| pattern::Pattern::compile(text).unwrap().unwrap()).collect();
    let index = index::Index::new(&patterns);
    let mut found = Vec::new();
    for n in (0..20_000_u32).step_by(97) {
        for (path, wanted) in [
            (format!("generated/f{n}"), vec![n * 3]),
            (format!("lib/d{n}/m.o"), vec![n * 3 + 1]),
            (format!("src/a/x{n}_1"), vec![n * 3 + 2]),
            (format!("src/e{n}/m.o"), vec![]),
        ] {
            index.candidates(&path, &mut found);
            assert!(found.len() <= 1, "{path} meets {} patterns", found.len());
            index.collect(&patterns, &path, &mut found);
            assert_eq!(found, wanted, "{path}");
        }
    }
}

/// Repetitions and stars in a row must not multiply.
#[test]
fn no_pattern_is_slow_on_its_own() {
    let matcher =
        PatternMatcher::new(&["a{1000}*a{1000}*b", "*a*a*a*a*a*a*a*a*a*a*a*a*b", "**a**a**a**a**a**b"]).unwrap();
    assert!(!matcher.matches(&"a".repeat(5_000)));
}

/// moby's own procedure, one flag for each pattern, one plain regular expression for each.
struct Model(Vec<(bool, Regex)>);

impl Model {
    fn new(patterns: &[String]) -> Self {
        let compile = |pattern: &String| {
            let pattern = clean_path(pattern);
            let (exception, text) = pattern.strip_prefix('!').map_or((false, &*pattern), |text| (true, text));
            let (text, tail) = match text.strip_suffix("**") {
                Some(front) if !text.is_empty() => (front, ".*"),
                _ => (text, ""),
            };
            let expression = regex::escape(text)
                .replace(r"\*\*/", "(.*/)?")
                .replace(r"\*\*", "(.*/)?")
                .replace(r"\*", "[^/]*")
                .replace(r"\?", "[^/]");
            // A leading `**` before plain text is a comparison of ends.
            let plain = text.strip_prefix("**").is_some_and(|rest| !rest.contains(['*', '?'])) && tail.is_empty();
            let expression = match text.strip_prefix("**").filter(|_| plain) {
                Some(rest) if rest.starts_with('/') => format!("^(.*/)?{}$", regex::escape(&rest[1..])),
                Some(rest) => format!("^.*{}$", regex::escape(rest)),
                None => format!("^{expression}{tail}$"),
            };
            (exception, Regex::new(&expression).unwrap())
        };
        Self(patterns.iter().map(compile).collect())
    }

    fn walk(&self, path: &str) -> bool {
        let mut parent = vec![false; self.0.len()];
        let mut matched = false;
        for end in path.match_indices('/').map(|(end, _)| end).chain([path.len()]) {
            let mut own = vec![false; self.0.len()];
            matched = false;
            for (index, (exception, expression)) in self.0.iter().enumerate() {
                if !parent[index] && *exception != matched {
                    continue;
                }
                own[index] = parent[index] || expression.is_match(&path[..end]);
                if own[index] {
                    matched = !exception;
                }
            }
            parent = own;
        }
        matched
    }
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[ab]{1,2}",
        2 => "[ab]?[*?][ab]?",
        2 => Just("**".to_owned()),
        1 => "[ab]?\\*\\*[ab]?",
    ];
    (any::<bool>(), prop::collection::vec(part, 1..4)).prop_map(|(exception, parts)| {
        let sign = if exception { "!" } else { "" };
        format!("{sign}{}", parts.join("/"))
    })
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec("[ab]{1,3}", 1..5).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn matches_like_the_slow_way(patterns in prop::collection::vec(pattern(), 1..8), paths in prop::collection::vec(path(), 8)) {
        let matcher = PatternMatcher::new(&patterns).unwrap();
        let model = Model::new(&patterns);
        for path in paths {
            prop_assert_eq!(walk(&matcher, &path), model.walk(&path), "{:?} {:?}", patterns, path);
        }
    }

    #[test]
    fn what_cannot_match_below_does_not(patterns in prop::collection::vec(pattern(), 1..8), path in path()) {
        let matcher = PatternMatcher::new(&patterns).unwrap();
        for (end, _) in path.match_indices('/') {
            let directory = &path[..end];
            // As a walk sees it: an exception that matches a parent only is no exception to it.
            if !walk(&matcher, directory) && !matcher.may_match_below(directory) {
                prop_assert!(!walk(&matcher, &path), "{:?} {:?} {:?}", patterns, directory, path);
            }
            if walk(&matcher, directory) && !matcher.may_except_below(directory) {
                prop_assert!(walk(&matcher, &path), "{:?} {:?} {:?}", patterns, directory, path);
            }
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,60}", path in "\\PC{0,30}") {
        if let Ok(matcher) = DockerIgnore::parse(&text).and_then(|file| file.matcher()) {
            let _matched = (walk(&matcher, &path), matcher.may_match_below(&path));
        }
    }

    #[test]
    fn any_pattern_is_compiled_without_a_panic(pattern in r"[ab*?/!\\\[\]{}|^$:.0-3,\-QEdpLx\u{feff}é]{0,12}", path in "[ab$é/]{0,8}") {
        if let Ok(matcher) = PatternMatcher::new(&[pattern]) {
            let _matched = walk(&matcher, &path);
        }
    }
}
