//! Work for counting instructions: `instructions WHAT COUNT` does it that many times.
#![forbid(unsafe_code)]

use alts_benches::Outcome;
use alts_benches::pipe::pipe;
use alts_benches::runtime::runtime;
use alts_benches::security::{Alts, Security};
use alts_core::Side;
use alts_core::aead::{Aead, RustCrypto};
use alts_core::frame::{FrameSize, OVERHEAD};
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::record::{Opener, Sealer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_alts::StreamOptions;
use tokio_alts::aead::AwsLc;

const USAGE: &str = "usage: instructions WHAT COUNT";

fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [what, count] = &*arguments else { return Err(USAGE.into()) };
    let count = count.parse()?;
    match &**what {
        "seal-100-aws-lc-rs" => records::<AwsLc>(100, count, 0),
        "seal-and-open-100-aws-lc-rs" => records::<AwsLc>(100, count, count),
        "seal-100-rustcrypto" => records::<RustCrypto>(100, count, 0),
        "seal-and-open-100-rustcrypto" => records::<RustCrypto>(100, count, count),
        "seal-16384-aws-lc-rs" => records::<AwsLc>(16 << 10, count, 0),
        "stream-100" => stream(count),
        "handshake" => handshakes(count),
        _ => Err(USAGE.into()),
    }
}

/// Seals a hundred times as many frames, and opens as many hundreds of them as `open` says.
fn records<A: Aead>(size: usize, count: usize, open: usize) -> Outcome<()> {
    let key = RecordKey::new(RecordProtocol::AesGcm128Rekey, &[7; 44])?;
    let mut sealer = Sealer::<A>::new(Side::Client, &key, FrameSize::MAX)?;
    let mut opener = Opener::<A>::new(Side::Server, &key)?;
    let (plaintext, mut frame, mut out) = (vec![5; size], vec![0; size + OVERHEAD], vec![0; size]);
    for number in 0..100 * count {
        _ = sealer.seal(&plaintext, &mut frame)?;
        if number < 100 * open {
            _ = opener.open(&frame, &mut out)?;
        }
    }
    Ok(())
}

/// A hundred times as many messages over a stream in memory.
fn stream(count: usize) -> Outcome<()> {
    let alts = Security::Alts(Box::new(Alts::in_process(StreamOptions::new())?));
    runtime()?.block_on(async {
        let (mut writer, mut reader) = alts.both(pipe()).await?;
        let mut message = [5; 100];
        for _ in 0..100 * count {
            writer.write_all(&message).await?;
            reader.read_exact(&mut message).await?;
        }
        Ok(())
    })
}

fn handshakes(count: usize) -> Outcome<()> {
    let alts = Security::Alts(Box::new(Alts::in_process(StreamOptions::new())?));
    runtime()?.block_on(async {
        for _ in 0..count {
            drop(alts.both(pipe()).await?);
        }
        Ok(())
    })
}
