use std::fmt::{self, Write as _};

/// Shows a text that came from outside with its control characters made visible.
///
/// A registry's message, a label or a build log may hold terminal escapes or right-to-left overrides; shown raw they can
/// rewrite what the reader sees. C0, C1, DEL, bidi controls and line separators become `\u{..}`; tab and newline stay.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl Printable<'_> {
    const fn is_hidden(c: char) -> bool {
        matches!(c,
            '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if Self::is_hidden(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_escapes_visible_and_keeps_text() {
        assert_eq!(Printable("a\u{1b}]0;x\u{7}b").to_string(), "a\\u{1b}]0;x\\u{7}b");
        assert_eq!(Printable("\u{202e}gpj\u{9b}").to_string(), "\\u{202e}gpj\\u{9b}");
        assert_eq!(Printable("naïve\n\ttext ✓").to_string(), "naïve\n\ttext ✓");
    }
}
