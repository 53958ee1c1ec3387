//! Finds secrets in text: in whatever form a log could show them.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of this")]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

use std::collections::BTreeSet;

/// Bytes of a secret that are looked for at a time: a multiple of three, so that base64 of them is a
/// part of base64 of something longer.
const WINDOW: usize = 9;
/// From one window to the next: 12 bytes of a secret in a row are found, wherever they begin, and
/// with each remainder by three there is a window.
const STEP: usize = 4;

/// Secrets that must not be in a text.
#[derive(Default)]
pub struct Secrets(BTreeSet<(String, Vec<u8>)>);

impl Secrets {
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= WINDOW, "{name} is too short to be told from chance");
        self.0.insert((name.to_owned(), secret.to_vec()));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// `key_data` of a handshake, all of it that is used, and the first AES key that follows from it.
    pub fn add_key_data(&mut self, key_data: &[u8]) {
        self.add("key_data", key_data);
        self.add("the first AES key", &first_aes_key(key_data));
    }

    /// The secrets that are in `text`, and in which form.
    pub fn found_in(&self, text: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (name, secret) in &self.0 {
            for window in secret.windows(WINDOW).step_by(STEP) {
                for (form, shown) in forms(window) {
                    if text.contains(&shown) {
                        found.insert(format!("{name} as {form}"));
                    }
                }
            }
        }
        found
    }

    /// Fails if one of them is in `text`, which is named `what`.
    pub fn assert_not_in(&self, text: &str, what: &str) {
        assert!(!self.0.is_empty() && !text.is_empty(), "nothing was searched in {what}");
        // The control: it would not be overlooked in any of these forms.
        for (name, secret) in &self.0 {
            for (form, shown) in forms(secret) {
                let found = self.found_in(&format!("[{shown}]"));
                assert!(
                    found.contains(&format!("{name} as {form}")),
                    "{name} as {form} is not found"
                );
            }
        }
        let found = self.found_in(text);
        assert!(found.is_empty(), "in {what}: {found:?}");
    }
}

/// How `bytes` may look in a log. Only the inner part of a list is compared: not its brackets.
fn forms(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let each = |separator: &str, show: fn(u8) -> String| {
        bytes.iter().map(|&byte| show(byte)).collect::<Vec<_>>().join(separator)
    };
    let mut forms = vec![
        ("hex", each("", |byte| format!("{byte:02x}"))),
        ("hex in capitals", each("", |byte| format!("{byte:02X}"))),
        ("hex with spaces", each(" ", |byte| format!("{byte:02x}"))),
        ("hex with colons", each(":", |byte| format!("{byte:02x}"))),
        ("a list", each(", ", |byte| byte.to_string())),
        ("a list without spaces", each(",", |byte| byte.to_string())),
        ("a list in hex", each(", ", |byte| format!("{byte:x}"))),
        ("a list in padded hex", each(", ", |byte| format!("{byte:02x}"))),
        ("a list in prefixed hex", each(", ", |byte| format!("{byte:#x}"))),
        ("a byte string", bytes.escape_ascii().to_string()),
        // `bytes::Bytes` writes NUL in its own way.
        ("Bytes", bytes.escape_ascii().to_string().replace("\\x00", "\\0")),
        ("base64", base64(bytes, *b"+/")),
        ("base64 for addresses", base64(bytes, *b"-_")),
    ];
    forms.extend(str::from_utf8(bytes).ok().map(|text| ("text", text.to_owned())));
    forms
}

fn base64(bytes: &[u8], last: [u8; 2]) -> String {
    let alphabet: Vec<u8> =
        (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(last).collect();
    let mut text = String::new();
    for group in bytes.chunks_exact(3) {
        let bits = group.iter().fold(0, |bits, &byte| bits << 8 | usize::from(byte));
        text.extend([18, 12, 6, 0].map(|shift| char::from(alphabet[bits >> shift & 0x3f])));
    }
    text
}

/// The AES key of the first 2^16 frames (`docs/PROTOCOL.md` § "Record protocols"): the first half of
/// HMAC-SHA-256 over six bytes of the counter, which are 0, and the byte 1.
fn first_aes_key(key_data: &[u8]) -> [u8; 16] {
    use sha2::{Digest as _, Sha256};
    let pad = |with: u8| {
        let mut block = [with; 64];
        for (byte, key) in block.iter_mut().zip(&key_data[..32]) {
            *byte ^= key;
        }
        block
    };
    let inner =
        Sha256::new().chain_update(pad(0x36)).chain_update([0, 0, 0, 0, 0, 0, 1]).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    outer[..16].try_into().unwrap()
}
