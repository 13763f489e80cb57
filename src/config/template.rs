use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::interpolate::name_length;
use super::{ConfigProblem, Variable};
use crate::base::{SourceText, did_you_mean};

/// A template with its names filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The variables that it used.
    pub used: BTreeSet<String>,
}

/// Replaces every `{{NAME}}` (blanks inside the braces are allowed) by the variable of that name.
///
/// Braces around anything that is not a name, such as Go's `{{.State}}`, stay as they are. Values are not looked into again.
/// All undefined names are reported at once.
pub fn render(source: &SourceText, vars: &IndexMap<String, Variable>) -> Result<Rendered, Vec<ConfigProblem>> {
    let text = source.text();
    let mut out = String::with_capacity(text.len());
    let mut used = BTreeSet::new();
    let mut problems = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("{{").map(|open| at + open) {
        let inner = &text[open + 2..];
        let trimmed = inner.trim_start_matches([' ', '\t']);
        let length = name_length(trimmed);
        let close = trimmed[length..].trim_start_matches([' ', '\t']);
        if length == 0 || !close.starts_with("}}") {
            out.push_str(&text[at..=open]);
            at = open + 1;
            continue;
        }
        let name = &trimmed[..length];
        let end = text.len() - close.len() + 2;
        out.push_str(&text[at..open]);
        if let Some(variable) = vars.get(name) {
            out.push_str(&variable.value);
            used.insert(name.to_owned());
        } else {
            let help = did_you_mean(name, vars.keys().map(String::as_str)).map_or_else(
                || format!("set it in [vars], or with --set {name}=…"),
                |near| format!("did you mean `{near}`?"),
            );
            problems.push(ConfigProblem::Invalid {
                message: format!("`{name}` is not set in this template"),
                help: Some(help),
                span: Some(source.span(open..end)),
            });
        }
        at = end;
    }
    out.push_str(&text[at..]);
    if problems.is_empty() { Ok(Rendered { text: out, used }) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Failure as _;
    use crate::config::Origin;

    #[test]
    fn fills_in_names_and_nothing_else() {
        let vars: IndexMap<String, Variable> = [("A", "1"), ("B", "{{A}}")]
            .map(|(name, value)| (name.to_owned(), Variable { value: value.to_owned(), origin: Origin::CommandLine }))
            .into();
        let render = |text: &str| match render(&SourceText::new("Dockerfile.tpl", text), &vars) {
            Ok(rendered) => rendered.text,
            Err(problems) => {
                let lines: Vec<String> =
                    problems.iter().map(|p| format!("{}: {p}", p.span().expect("a place").line())).collect();
                lines.join("\n")
            }
        };
        assert_eq!(render("x{{A}}y{{ A }}{{B}}"), "x1y1{{A}}");
        assert_eq!(render("{{.State}} {{}} {{A {{{A}}} {{ {{1}} }}"), "{{.State}} {{}} {{A {1} {{ {{1}} }}");
        assert_eq!(
            render("{{A}}\n{{NO}}\n{{NOPE}}"),
            "2: `NO` is not set in this template\n3: `NOPE` is not set in this template"
        );
    }
}
