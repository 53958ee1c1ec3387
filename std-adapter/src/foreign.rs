//! Other protocols than ALTS, as their first bytes give them away.

use std::fmt;

/// Bytes of text that are shown of what cannot be recognised.
const SHOWN: usize = 60;

/// How HTTP/2 begins on the client's side.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// What a request of HTTP/1 begins with.
const METHODS: [&str; 9] =
    ["GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH "];
/// What a response of HTTP/1 begins with. Some servers answer what they cannot read with only the page.
const RESPONSES: [&str; 3] = ["HTTP/", "<!DOCTYPE HTML", "<html"];

/// Another protocol than ALTS.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// A TLS alert, with its description's number.
    TlsAlert(u8),
    /// A TLS handshake message.
    Tls,
    /// An HTTP/1 request, with its first line.
    Http1Request(String),
    /// An HTTP/1 response, with its first line.
    Http1(String),
    /// HTTP/2 without encryption.
    Http2,
    /// Some other text protocol, with its first line.
    Text(String),
}

impl Foreign {
    /// What the first bytes of a peer are, if they are known.
    ///
    /// No frame of ALTS up to 64 KiB is taken for anything else, whatever its length is.
    #[must_use]
    pub fn recognise(first: &[u8]) -> Option<Self> {
        // The minor version of TLS keeps its records apart from frames of 789 and 790 bytes.
        match first {
            [0x15, 0x03, 1..=4, 0, 2, _, description, ..] => Some(Self::TlsAlert(*description)),
            [0x16, 0x03, 1..=4, ..] => Some(Self::Tls),
            _ if first.starts_with(PREFACE) => Some(Self::Http2),
            // An HTTP/2 connection begins with SETTINGS or, from who refuses it, GOAWAY; both are
            // on stream 0.
            [0, 0, _, 4 | 7, _, 0, 0, 0, 0, ..] => Some(Self::Http2),
            _ => {
                let line = first_line(first)?;
                let begins = |with: &[&str]| with.iter().any(|begin| line.starts_with(begin));
                Some(if begins(&RESPONSES) {
                    Self::Http1(line)
                } else if begins(&METHODS) {
                    Self::Http1Request(line)
                } else {
                    Self::Text(line)
                })
            }
        }
    }

    /// As [`recognise`](Self::recognise), without text that could be anything: handshaker services of
    /// tests speak in words.
    pub(crate) fn certain(first: &[u8]) -> Option<Self> {
        Self::recognise(first).filter(|foreign| !matches!(foreign, Self::Text(_)))
    }

    /// What the port is for, as a clause.
    #[must_use]
    pub const fn port(&self) -> &'static str {
        match self {
            Self::TlsAlert(_) | Self::Tls => "that port speaks TLS",
            Self::Http1(_) | Self::Http1Request(_) => "that port speaks HTTP/1 without encryption",
            Self::Http2 => "that port speaks HTTP/2 (gRPC?) without encryption",
            Self::Text(_) => "that port speaks another protocol",
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TlsAlert(description) => write!(f, "a TLS alert ({description})"),
            Self::Tls => f.write_str("a TLS handshake message"),
            Self::Http1Request(line) => write!(f, "an HTTP/1 request: {line:?}"),
            Self::Http1(line) => write!(f, "an HTTP/1 response: {line:?}"),
            Self::Http2 => f.write_str("HTTP/2 frames without encryption"),
            Self::Text(line) => write!(f, "text: {line:?}"),
        }
    }
}

/// The first line, if the bytes are text.
fn first_line(bytes: &[u8]) -> Option<String> {
    let line = bytes.split(|byte| *byte == b'\n').next()?.trim_ascii_end();
    let text = line.len() >= 4
        && line.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t'));
    text.then(|| line.iter().take(SHOWN).map(|byte| char::from(*byte)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_servers_answer_is_recognised() {
        let seen = |bytes: &[u8]| Foreign::recognise(bytes);
        assert_eq!(seen(b"\x15\x03\x01\x00\x02\x02\x0a"), Some(Foreign::TlsAlert(10)));
        assert_eq!(seen(b"\x16\x03\x03\x00\x7a\x02"), Some(Foreign::Tls));
        let line = "HTTP/1.1 400 Bad Request".to_owned();
        assert_eq!(seen(b"HTTP/1.1 400 Bad Request\r\nx: y\r\n"), Some(Foreign::Http1(line)));
        assert_eq!(seen(b"\0\0\x06\x04\0\0\0\0\0\0\x05"), Some(Foreign::Http2));
        let line = "SSH-2.0-OpenSSH_9".to_owned();
        assert_eq!(seen(b"SSH-2.0-OpenSSH_9\r\n"), Some(Foreign::Text(line)));
    }

    #[test]
    fn what_other_clients_say_is_recognised() {
        let seen = |bytes: &[u8]| Foreign::recognise(bytes);
        assert_eq!(seen(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"), Some(Foreign::Tls));
        assert_eq!(seen(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some(Foreign::Http2));
        let line = "GET / HTTP/1.1".to_owned();
        assert_eq!(seen(b"GET / HTTP/1.1\r\nhost: x\r\n"), Some(Foreign::Http1Request(line)));
    }

    #[test]
    fn a_frame_of_alts_is_nothing_else_whatever_its_length() {
        for length in 5..=64 * 1024_u32 {
            for kind in [0x0101_u32, 0x0102, 0x01ff, 0, 1, 2, 6] {
                let mut frame = [0x16; 64];
                frame[..4].copy_from_slice(&length.to_le_bytes());
                frame[4..8].copy_from_slice(&kind.to_le_bytes());
                assert_eq!(Foreign::recognise(&frame), None, "{length} {kind:#x}");
            }
        }
    }

    #[test]
    fn alts_is_not_taken_for_anything_else() {
        for bytes in [
            &b""[..],
            b"\x08\0\0\0\xff\x01\0\0\x05\0\0\0",
            b"\xfa\x07\0\0\x02\x01\0\0\x16\x03\x03",
            b"\x14\0\0\0\x06\0\0\0\xc8\xed\x3c\x72",
        ] {
            assert_eq!(Foreign::recognise(bytes), None, "{bytes:x?}");
        }
    }
}
