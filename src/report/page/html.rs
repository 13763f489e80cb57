use std::fmt::Write as _;

use crate::base::Printable;

/// Text from anywhere as text of HTML, also inside of quoted attributes: no markup, no control characters.
pub(super) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in Printable(text).to_string().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // What turns the direction of text can make one name look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// A part of a whole in percent, for a width.
pub(super) fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole * 100.0).clamp(0.0, 100.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_text() {
        assert_eq!(
            text("<b onclick='x'>\"&\u{1b}[2J\u{202e}"),
            "&lt;b onclick=&#39;x&#39;&gt;&quot;&amp;\\u{1b}[2J\\u{202e}"
        );
    }
}
