//! Text from elsewhere, made fit for a terminal and for one line of a log.

use std::fmt::{self, Write as _};

/// Text from elsewhere. What a terminal would obey, what is invisible, and what makes text run the
/// other way is printed as `\u{1b}`.
///
/// ```
/// use tokio_alts::error::Printable;
///
/// assert_eq!(Printable("no\u{1b}[2K\u{202e}").to_string(), "no\\u{1b}[2K\\u{202e}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printable<'t>(pub &'t str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| {
            if is_harmless(character) {
                f.write_char(character)
            } else {
                write!(f, "{}", character.escape_unicode())
            }
        })
    }
}

/// Control characters, separators of lines, marks of direction, and what has no width.
fn is_harmless(character: char) -> bool {
    !(character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_to_be_read_is_left_alone_and_nothing_else() {
        let text = "policy: größer als „erlaubt“ (7) — 拒否 🚫";
        assert_eq!(Printable(text).to_string(), text);
        for character in
            ["\0", "\n", "\r", "\t", "\u{7f}", "\u{9b}", "\u{202e}", "\u{2066}", "\u{200b}"]
        {
            let text = Printable(character).to_string();
            assert!(text.starts_with("\\u{") && text.is_ascii(), "{text}");
        }
    }
}
