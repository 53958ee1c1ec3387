//! What listens somewhere, by what it says to the first words of other protocols.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_alts::error::Foreign;

use super::{Destination, EXPLAINING, Resolved};

/// A `ClientHello` of TLS 1.2 that offers what servers have long supported: they answer with a
/// handshake message or an alert.
const TLS: &[u8] = b"\x16\x03\x01\x00\x47\x01\x00\x00\x43\x03\x03\
    alts looks for a server of TLS..\
    \x00\x00\x06\xc0\x2f\xc0\x2b\x00\x2f\x01\x00\x00\x14\
    \x00\x0a\x00\x04\x00\x02\x00\x17\x00\x0d\x00\x08\x00\x06\x04\x01\x04\x03\x08\x04";
/// The beginning of HTTP/2: its preface and empty SETTINGS.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// A request that every HTTP/1 server answers somehow.
const HTTP1: &[u8] = b"HEAD / HTTP/1.0\r\n\r\n";

impl Destination {
    /// What listens there, if it answers to the first words of TLS or HTTP.
    pub async fn probe(&self, resolved: &Resolved, deadline: Duration) -> Option<Foreign> {
        let deadline = deadline.min(EXPLAINING / 3);
        for words in [TLS, HTTP2, HTTP1] {
            let (mut io, _) = self.connect(resolved, deadline).await.ok()?;
            let mut read = [0; 64];
            let talk = async {
                io.write_all(words).await?;
                io.read(&mut read).await
            };
            // Whatever has come, and whether or not it has ended well.
            let _ = timeout(deadline, talk).await;
            if let Some(foreign) = Foreign::recognise(io.first()) {
                return Some(foreign);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_in_the_hello_are_right() {
        let record = usize::from(u16::from_be_bytes([TLS[3], TLS[4]]));
        let message = usize::from(u16::from_be_bytes([TLS[7], TLS[8]]));
        assert_eq!((record, message), (TLS.len() - 5, TLS.len() - 9));
        // Version, random, session, suites, compression; then the extensions to the end.
        let extensions = 9 + 2 + 32 + 1 + 2 + 6 + 2;
        let length = usize::from(u16::from_be_bytes([TLS[extensions], TLS[extensions + 1]]));
        assert_eq!(length, TLS.len() - extensions - 2);
    }
}
