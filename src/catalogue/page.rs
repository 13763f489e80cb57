use std::fmt::Write as _;

use super::{builder, dockerfile, machine, packages, registry, step};

/// The catalogue as a page in Markdown: `docs/errors.md`.
pub fn page() -> String {
    let mut text = String::from(HEAD);
    let parts = [
        ("The machine", machine::ENTRIES),
        ("The builder", builder::ENTRIES),
        ("Registries and the network", registry::ENTRIES),
        ("The Dockerfile", dockerfile::ENTRIES),
        ("Steps", step::ENTRIES),
        ("Package managers and compilers", packages::ENTRIES),
    ];
    for (title, entries) in parts {
        let _ = write!(text, "\n## {title}\n");
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|entry| entry.id);
        for entry in entries {
            let exits = entry.exits.iter().map(|exit| format!("exit code {exit}")).collect::<Vec<_>>().join(" or ");
            let exits = if exits.is_empty() { exits } else { format!(" ({exits})") };
            // Indented code needs no escapes, whatever the message holds.
            let seen = format!("    {}\n", entry.seen.replace('\r', "\\r"));
            let _ = write!(
                text,
                "\n### {}: {}\n\n{seen}\n{}{exits}\n\n**Fix:** {}.\n",
                entry.id,
                entry.title,
                sentence(entry.means),
                capital(entry.fix)
            );
        }
    }
    text
}

const HEAD: &str = "<!-- Written from src/catalogue; `SNAPSHOTS=overwrite cargo test errors_page` writes it again. -->
# Known failures

What catamaran recognises in an error. `catamaran build` shows the explanation behind `why` and the remedy behind `fix`, and
`--json` has them as `id`, `why` and `help` of each of its `errors`. `catamaran explain ID` shows one entry, also without a
network. An entry explains and never decides: the exit code comes from what the builder, the registry and the disk say in types.
An error that is not here is shown with everything that was said about it.
";

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn sentence(text: &str) -> String {
    capital(text) + "."
}
