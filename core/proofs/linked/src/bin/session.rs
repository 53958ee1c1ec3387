//! Handshakes and the session that they yield, in a program whose heap cannot be linked.
//!
//! (See `linked::no_heap`.)
#![no_std]
#![no_main]

#[cfg(feature = "heap")]
extern crate alloc;

use core::hint::black_box;

use alts_core::aead::RustCrypto;
use scenario::Failure;

linked::program!(run);

fn run() -> u8 {
    Failure::code(session())
}

fn session() -> Result<(), Failure> {
    #[cfg(feature = "heap")]
    black_box(alloc::boxed::Box::new(black_box(7)));

    let (mut client, mut server) = scenario::sessions::<RustCrypto>(black_box(&[7; 44]))?;
    scenario::converse(&mut client.sealer, &mut server.opener, b"good morning")?;
    scenario::converse(&mut server.sealer, &mut client.opener, &[0x5a; 256])?;
    scenario::empty_record(&mut server.sealer, &mut client.opener)?;
    // `converse` sends two records.
    scenario::cross_epoch(&mut server.sealer, &mut client.opener, 3)?;
    scenario::corrupt(&mut client.sealer, &mut server.opener)
}
