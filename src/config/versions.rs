use super::ConfigProblem;
use super::vars::{Values, lines};
use crate::base::{SourceText, Span};

/// `deps.yaml`: lines `name: version`, or a list of items with `name` and `version`, also below a key of its own. A name is
/// upper-cased, everything but letters and digits becomes `_`, and `_VERSION` is added unless it is there: `golang: 1.25` is
/// `GOLANG_VERSION`. Other keys of an item (where it comes from, who looks after it) name no variable.
pub(super) fn read_versions(source: &SourceText) -> Result<Values, Vec<ConfigProblem>> {
    let mut reading = Versions { values: Values::new(), problems: Vec::new(), item: None };
    let told = |line: &str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && line != "---" && line != "..."
    };
    let mut all = lines(source.text()).filter(|(_, line)| told(line)).peekable();
    while let Some((start, line)) = all.next() {
        let span = source.span(start..start + line.len());
        let indented = line.starts_with([' ', '\t']);
        let trimmed = line.trim();
        if let Some(first) = trimmed.strip_prefix('-').filter(|rest| rest.starts_with([' ', '\t'])) {
            reading.close();
            reading.item = Some(Item { name: None, version: None, span: span.clone() });
            reading.member(first.trim(), span);
            continue;
        }
        if indented && reading.item.is_some() {
            reading.member(trimmed, span);
            continue;
        }
        reading.close();
        let list = all.peek().is_some_and(|(_, next)| next.trim_start().starts_with("- "));
        match pair(trimmed).filter(|_| !indented) {
            // The key of a list says nothing about versions.
            Some((_, "")) if list => {}
            Some((name, value)) => match yaml_scalar(value) {
                Some(value) => drop(reading.values.insert(variable(name), (value, span))),
                None => reading.refuse(span),
            },
            None => reading.refuse(span),
        }
    }
    reading.close();
    if reading.problems.is_empty() { Ok(reading.values) } else { Err(reading.problems) }
}

/// An item of a list while it is read.
struct Item {
    name: Option<String>,
    version: Option<(String, Span)>,
    span: Span,
}

struct Versions {
    values: Values,
    problems: Vec<ConfigProblem>,
    item: Option<Item>,
}

impl Versions {
    fn refuse(&mut self, span: Span) {
        let help = "a versions file has one pair a line, or a list of items with `name` and `version`".to_owned();
        let message = "not a `name: version` pair".to_owned();
        self.problems.push(ConfigProblem::Invalid { message, help: Some(help), span: Some(span) });
    }

    /// A line of an item.
    fn member(&mut self, line: &str, span: Span) {
        let Some((key, value)) = pair(line) else { return self.refuse(span) };
        let (true, Some(item)) = (matches!(key, "name" | "version"), &mut self.item) else { return };
        match (key, yaml_scalar(value)) {
            ("name", Some(value)) => item.name = Some(value),
            (_, Some(value)) => item.version = Some((value, span)),
            (_, None) => self.refuse(span),
        }
    }

    /// The end of an item.
    fn close(&mut self) {
        match self.item.take() {
            None => {}
            Some(Item { name: Some(name), version: Some(version), .. }) => {
                self.values.insert(variable(&name), version);
            }
            Some(item) => self.refuse(item.span),
        }
    }
}

fn pair(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_once(':')?;
    let separate = rest.is_empty() || rest.starts_with([' ', '\t']);
    (!name.trim().is_empty() && separate).then(|| (name.trim(), rest.trim()))
}

fn variable(name: &str) -> String {
    let mut upper: String = name
        .trim_matches(['"', '\''])
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    if !upper.ends_with("_VERSION") {
        upper.push_str("_VERSION");
    }
    upper
}

/// A plain or quoted scalar on one line, a comment after it left out; nothing for any other YAML.
fn yaml_scalar(text: &str) -> Option<String> {
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote) {
            let (inner, after) = rest.split_once(quote)?;
            let after = after.trim();
            let plain = !inner.contains('\\') && (after.is_empty() || after.starts_with('#'));
            return plain.then(|| inner.to_owned());
        }
    }
    let text = if text.starts_with('#') { "" } else { text.split(" #").next().unwrap_or(text).trim() };
    let special = text.is_empty() || text.starts_with(['[', '{', '&', '*', '!', '|', '>', '%', '@', '`', '-']);
    (!special).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        match read_versions(&SourceText::new("deps.yaml", text)) {
            Ok(values) => values.into_iter().map(|(name, (value, _))| format!("{name}={value}")).collect(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn reads_lists_of_names_and_versions() {
        let wanted = ["GOLANG_VERSION=1.25", "NODE_JS_VERSION=22.1"];
        let plain = "- name: golang\n  version: 1.25\n  source: https://go.dev # where from\n- version: \"22.1\"\n  name: node-js\n";
        assert_eq!(shown(plain), wanted);
        let keyed =
            "# all\ndependencies:\n  - name: golang\n    version: 1.25\n\n  - name: node-js\n    version: 22.1\n";
        assert_eq!(shown(keyed), wanted);
        let mixed = "slurm: 25.05\ndeps:\n- name: golang\n  version: 1.25\nnode-js: 22.1\n";
        assert_eq!(shown(mixed).len(), 3, "{:?}", shown(mixed));
        for bad in ["- name: a\n", "- version: 1\n", "- name: a\n  version: [1]\n", "- a\n", "deps:\n"] {
            assert!(shown(bad).iter().all(|line| line == "not a `name: version` pair"), "{bad}: {:?}", shown(bad));
        }
    }
}
