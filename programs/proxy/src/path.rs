//! Paths of requests as they are judged: in one notation, so that no other one slips past a route.

use std::fmt::{self, Write as _};

use serde::Deserialize;

/// Why a path is refused before any route is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous(&'static str);

impl fmt::Display for Ambiguous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A path in one notation: every character that a segment can hold as it is (RFC 3986's `pchar`) is
/// not encoded, every other one is, with capitals for hexadecimal digits; no empty segment, no `.`
/// and no `..`.
///
/// # Errors
/// When servers do not agree what a path means: an encoded `/`, `\`, `%` or control character, a
/// backslash, an escape that is none, or bytes that are not UTF-8 (an overlong `/` is none).
pub fn normalise(path: &str) -> Result<String, Ambiguous> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = (bytes.next().and_then(hex), bytes.next().and_then(hex));
                let (Some(high), Some(low)) = digits else {
                    return Err(Ambiguous("a % without two hexadecimal digits"));
                };
                match high * 16 + low {
                    b'/' | b'\\' | b'%' | 0..=0x1f | 0x7f => {
                        return Err(Ambiguous(
                            "an encoded slash, backslash, % or control character",
                        ));
                    }
                    code => code,
                }
            }
            b'\\' | 0..=0x1f | 0x7f => return Err(Ambiguous("a backslash or control character")),
            byte => byte,
        });
    }
    if std::str::from_utf8(&decoded).is_err() {
        return Err(Ambiguous("bytes that are not UTF-8"));
    }
    let mut plain = String::with_capacity(path.len());
    for byte in decoded {
        if byte == b'/' || is_pchar(byte) {
            plain.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(plain, "%{byte:02X}");
        }
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in plain.split('/') {
        // Some servers see `..;x` as `..`.
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            _ if matches!(without_parameters(segment), "" | "." | "..") => {
                return Err(Ambiguous("parameters behind an empty or dotted segment"));
            }
            _ => segments.push(segment),
        }
    }
    let mut path = String::with_capacity(plain.len());
    for segment in &segments {
        path.push('/');
        path.push_str(segment);
    }
    let last = plain.rsplit('/').next().unwrap_or_default();
    if path.is_empty() || matches!(last, "" | "." | "..") {
        path.push('/');
    }
    Ok(path)
}

/// A path in one notation without the parameters (`;…`) of its segments, as some servers see it.
#[must_use]
pub fn strip_parameters(path: &str) -> String {
    path.split('/').map(without_parameters).collect::<Vec<_>>().join("/")
}

fn without_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or_default()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// RFC 3986, section 3.3: what a segment can hold without an escape.
const fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b':'
                | b'@'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

/// What a path begins with: whole segments, so that `/admin` is not the beginning of
/// `/administrator`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix {
    /// In one notation, without the slash at the end.
    text: String,
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if !text.starts_with('/') || text.contains(['?', '#', ';']) {
            return Err(format!(
                "{text:?} is not a path prefix: one starts with / and has no ?, # or ;"
            ));
        }
        let path = normalise(&text).map_err(|why| format!("{text:?} has {why}"))?;
        Ok(Self { text: path.trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() { "/" } else { &self.text })
    }
}

impl Prefix {
    /// Whether a path in one notation begins with it.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        path.strip_prefix(&self.text).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path that it is itself.
    #[must_use]
    pub const fn as_path(&self) -> &str {
        if self.text.is_empty() { "/" } else { self.text.as_str() }
    }

    /// Its length, in bytes: the longer one decides.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_notation_for_each_path() {
        for (path, wanted) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("//a///b//", "/a/b/"),
            ("/./a/./b/.", "/a/b/"),
            ("/x/../a/y/z/../..", "/a/"),
            ("/../../a", "/a"),
            ("/%61%2e%2E/%7e", "/a../~"),
            ("/x/%2e%2e/a", "/a"),
            ("/%2E/a", "/a"),
            ("/a%3fb%c3%a4", "/a%3Fb%C3%A4"),
            ("/a;x=1/b", "/a;x=1/b"),
            ("/v1/users%3Adelete", "/v1/users:delete"),
            ("/%40admin", "/@admin"),
            ("/%21%24%26%27%28%29%2a%2B%2c%3b%3D", "/!$&'()*+,;="),
            ("/a%20b/\u{fc}", "/a%20b/%C3%BC"),
            ("/a b/%c3%bc", "/a%20b/%C3%BC"),
            ("/[x]\"<>^`{|}", "/%5Bx%5D%22%3C%3E%5E%60%7B%7C%7D"),
            ("/pkg.Service/Method", "/pkg.Service/Method"),
        ] {
            assert_eq!(normalise(path).as_deref(), Ok(wanted), "{path}");
            assert_eq!(normalise(wanted).as_deref(), Ok(wanted), "the notation stays");
        }
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        for path in [
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%7F",
            "/%252e%252e/a",
            "/a%",
            "/a%2",
            "/a%zz",
            "/x/..;/a",
            "/;x/a",
            "/.;/a",
            "/a%0ab",
            "/x/..%3b/a",
            "/%3bx/a",
            "/a\tb",
            "/%c0%afb",
            "/%c0%ae%c0%ae/a",
            "/%fc",
            "/%ed%a0%80",
        ] {
            assert!(normalise(path).is_err(), "{path}");
        }
    }

    #[test]
    fn prefixes_end_where_segments_end() {
        let prefix = |text: &str| Prefix::try_from(text.to_owned()).unwrap();
        for admin in ["/admin", "/admin/", "//%61dmin"] {
            let admin = prefix(admin);
            assert_eq!(admin.to_string(), "/admin");
            for (path, covered) in [
                ("/admin", true),
                ("/admin/x", true),
                ("/admin/", true),
                ("/administrator", false),
                ("/", false),
            ] {
                assert_eq!(admin.covers(path), covered, "{path}");
            }
        }
        assert!(prefix("/").covers("/") && prefix("/").covers("/a/b") && !prefix("/").covers("*"));
        for bad in ["", "admin", "/a?b", "/a%2fb"] {
            assert!(Prefix::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    /// One of the ways to write a path: which bytes are escaped, in which case, and what is put in
    /// between that means nothing.
    fn spelt(path: &str, choices: &[u8]) -> String {
        let mut choices = choices.iter().copied().cycle();
        let mut spelling = String::new();
        for byte in path.bytes() {
            let choice = choices.next().unwrap_or(0);
            match byte {
                b'/' => spelling.push_str(
                    ["/", "//", "/./", "/%2e/", "/x/../", "/y/%2E%2e/", "/.//"]
                        [usize::from(choice) % 7],
                ),
                byte if choice % 3 == 0 => _ = write!(spelling, "%{byte:02x}"),
                byte if choice % 3 == 1 || !byte.is_ascii() => _ = write!(spelling, "%{byte:02X}"),
                byte => spelling.push(char::from(byte)),
            }
        }
        spelling
    }

    proptest! {
        #[test]
        fn the_notation_is_its_own_notation(path in "(/|[a-c:@;.~%]|%[0-9a-fA-F]{2}|.){0,30}") {
            if let Ok(once) = normalise(&path) {
                prop_assert_eq!(normalise(&once), Ok(once.clone()), "{}", path);
                prop_assert!(once.starts_with('/') && !once.contains("//"), "{}", once);
                let in_dots = once.split('/').any(|segment| matches!(segment, "." | ".."));
                prop_assert!(!in_dots, "{}", once);
            }
        }

        #[test]
        fn no_spelling_of_a_path_slips_past_its_rule(
            segments in prop::collection::vec("[a-zA-Z0-9:@!$&'()*+,=~ \u{fc}\u{20ac}-]{1,6}", 1..4),
            below in prop::option::of("[a-z:@]{1,4}"),
            choices in prop::collection::vec(any::<u8>(), 1..40),
        ) {
            let protected = format!("/{}", segments.join("/"));
            let rule = Prefix::try_from(protected.clone()).unwrap();
            let path = below.map_or(protected.clone(), |below| format!("{protected}/{below}"));
            let spelling = spelt(&path, &choices);
            // A server may refuse it; what passes is judged, and forwarded, as what it is.
            let judged = normalise(&spelling).unwrap();
            prop_assert_eq!(&judged, &normalise(&path).unwrap(), "{}", spelling);
            prop_assert!(rule.covers(&judged), "{} is not below {}", judged, rule);
        }
    }
}
