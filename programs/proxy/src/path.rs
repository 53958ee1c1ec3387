//! Paths of requests as they are judged: in one notation, so that no other one slips past a route.

use core::fmt;

use serde::Deserialize;

/// Why a path is refused before any route is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous(&'static str);

impl fmt::Display for Ambiguous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A path in one notation: unreserved characters as they are, all others as they came with their
/// hexadecimal digits in capitals, no empty segment, no `.` and no `..`.
///
/// # Errors
///
/// When servers do not agree what a path means: an encoded `/`, `\`, `%` or control character, a
/// backslash, or an escape that is none.
pub fn normalise(path: &str) -> Result<String, Ambiguous> {
    let mut plain = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
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
                    code if is_unreserved(code) => plain.push(code),
                    code => plain.extend_from_slice(format!("%{code:02X}").as_bytes()),
                }
            }
            b'\\' => return Err(Ambiguous("a backslash")),
            byte => plain.push(byte),
        }
    }
    let plain = String::from_utf8(plain).map_err(|_| Ambiguous("bytes that are no text"))?;
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

/// RFC 3986, section 2.3: encoded or not, they mean the same.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
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
                "{text:?} is no prefix of a path: it starts with / and has no ?, # or ;"
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

    /// Its length, in bytes: the longer one decides.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.text.len()
    }
}

#[cfg(test)]
mod tests {
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
}
