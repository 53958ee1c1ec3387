//! JSON that a terminal can show: what others have said is in it.

use std::fmt::Write as _;

use serde::Serialize;
use tokio_alts::error::Printable;

/// A value as JSON. What is invisible or makes text run the other way is escaped as JSON allows, so
/// whoever reads the JSON has the value as it was.
pub(crate) fn text(value: &impl Serialize, pretty: bool) -> serde_json::Result<String> {
    let plain =
        if pretty { serde_json::to_string_pretty(value)? } else { serde_json::to_string(value)? };
    let mut text = String::with_capacity(plain.len());
    for character in plain.chars() {
        // Control characters of ASCII are escaped already, but for DEL; the others are the JSON's own.
        let is_other = character > '~';
        if is_other && Printable(character.encode_utf8(&mut [0; 4])).to_string().starts_with('\\') {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(character);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_and_the_value_stays() {
        let said = "no\u{1b}[2J\u{7f}\u{9b}\u{202e}ten\u{200b}\u{feff}\nb\u{fc}cher";
        for pretty in [false, true] {
            let told = text(&[said], pretty).unwrap();
            assert!(told.contains("\\u202eten\\u200b\\ufeff\\nb\u{fc}cher"), "{told}");
            assert!(told.chars().all(|one| one == '\n' || !one.is_control()), "{told:?}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&told).unwrap(), [said]);
        }
    }
}
