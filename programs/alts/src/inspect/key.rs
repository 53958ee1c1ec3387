//! The key of a captured connection: read, never shown.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::str::FromStr;

use alts_core::key::{RecordKey, RecordProtocol};
use zeroize::Zeroizing;

use crate::diagnosis::{Fault, Problem};

/// More than any service returns, in bytes, as hexadecimal digits.
const MAX_FILE: u64 = 4096;

/// What stands on the command line. It is read later: an error here would be shown with the text.
#[derive(Clone)]
pub struct KeyArgument(Zeroizing<String>);

impl FromStr for KeyArgument {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for KeyArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyArgument(_)")
    }
}

/// The key data of a connection, and the record protocol that it is for.
pub(super) struct Key {
    data: Zeroizing<Vec<u8>>,
    record: RecordKey,
}

impl Key {
    /// Reads the key.
    pub(super) fn read(argument: &KeyArgument, protocol: RecordProtocol) -> Result<Self, Problem> {
        let unusable = |got: String| {
            Problem::new(
                Fault::Local,
                "to read the key data",
                got,
                format!(
                    "give the {} bytes of key_data as hexadecimal digits, or @FILE with them",
                    protocol.key_len()
                ),
            )
        };
        let data = match argument.0.strip_prefix('@') {
            None => hexadecimal(argument.0.as_bytes())
                .ok_or_else(|| unusable("something that is not hexadecimal".to_owned()))?,
            Some(path) => {
                let failed = |error: std::io::Error| unusable(format!("{path}: {error}"));
                let mut bytes = Zeroizing::new(Vec::with_capacity(256));
                let file = File::open(path).map_err(failed)?;
                file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
                hexadecimal(bytes.trim_ascii()).unwrap_or(bytes)
            }
        };
        let record =
            RecordKey::new(protocol, &data).map_err(|error| unusable(error.to_string()))?;
        Ok(Self { data, record })
    }

    /// The key for the record protocol that was named.
    pub(super) const fn record(&self) -> &RecordKey {
        &self.record
    }

    /// The keys for the other record protocols, as far as the data is enough.
    pub(super) fn others(&self) -> impl Iterator<Item = RecordKey> {
        RecordProtocol::ALL
            .iter()
            .filter(|protocol| **protocol != self.record.protocol())
            .filter_map(|protocol| RecordKey::new(*protocol, &self.data).ok())
    }
}

/// The bytes of hexadecimal digits, if they are that.
fn hexadecimal(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if text.is_empty() {
        return None;
    }
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let mut bytes = Zeroizing::new(Vec::with_capacity(pairs.len()));
    for [high, low] in pairs {
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let value = digit(high)?.checked_mul(16)?.checked_add(digit(low)?)?;
        bytes.push(u8::try_from(value).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let argument: KeyArgument = "00112233zz".parse().unwrap();
        assert_eq!(format!("{argument:?}"), "KeyArgument(_)");
        let problem = Key::read(&argument, RecordProtocol::AesGcm128Rekey).err().unwrap();
        assert!(!format!("{problem:?} {problem}").contains("0011"), "{problem}");
        assert!(problem.remedy.contains("44 bytes"), "{problem}");
    }

    #[test]
    fn hexadecimal_digits_are_bytes() {
        assert_eq!(hexadecimal(b"00fFa1").unwrap().as_slice(), [0, 0xff, 0xa1]);
        assert!(hexadecimal(b"").is_none());
        assert!(hexadecimal(b"0").is_none());
        assert!(hexadecimal(b"0g").is_none());
        assert!(hexadecimal(b"+1").is_none());
    }

    #[test]
    fn short_keys_are_refused() {
        let argument: KeyArgument = "00112233".parse().unwrap();
        let problem = Key::read(&argument, RecordProtocol::AesGcm128Rekey).err().unwrap();
        assert_eq!(problem.got, "key_data has 4 bytes, 44 are needed");
    }
}
