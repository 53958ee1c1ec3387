//! The record layer in a program that has no allocator at all: exit code 0 says that it worked.
#![no_std]
#![no_main]

use core::hint::black_box;

use alts_core::aead::RustCrypto;
use alts_core::key::RecordProtocol;
use scenario::Failure;

linked::program!(run);

fn run() -> u8 {
    Failure::code(records())
}

fn records() -> Result<(), Failure> {
    #[cfg(feature = "panic")]
    #[expect(clippy::indexing_slicing, reason = "which is what the audit has to find")]
    black_box([1, 2, 3][black_box(2)]);

    for &protocol in RecordProtocol::ALL {
        let (mut client, mut server) =
            scenario::parties::<RustCrypto>(protocol, black_box(&[7; 44]))?;
        let (requests, responses) = (&mut client.sealer, &mut client.opener);
        scenario::converse(requests, &mut server.opener, b"good morning")?;
        scenario::converse(&mut server.sealer, responses, &[0x5a; 256])?;
        scenario::empty_record(requests, &mut server.opener)?;
        // `converse` sends two records.
        scenario::cross_epoch(requests, &mut server.opener, 3)?;
        scenario::corrupt(requests, &mut server.opener)?;
        scenario::converse(&mut server.sealer, responses, b"the other direction goes on")?;
    }
    Ok(())
}
