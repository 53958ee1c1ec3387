//! The record layer on a microcontroller.
#![no_std]
#![no_main]

use core::hint::black_box;

use alts_core::aead::RustCrypto;
use alts_core::frame::OVERHEAD;
use alts_core::key::RecordProtocol;
use alts_core::record::{Opener, Sealer};
use cortex_m::{check_clock, measure, report};
use scenario::Failure;

cortex_m::program!(run);

fn run() -> u8 {
    Failure::code(records())
}

fn records() -> Result<(), Failure> {
    check_clock();
    report("a sealer, or an opener\0", size_of::<Sealer<RustCrypto>>(), "bytes\0");
    let key_data = black_box([7; 44]);
    let parties = || scenario::parties::<RustCrypto>(RecordProtocol::AesGcm128Rekey, &key_data);
    let (mut client, mut server) = measure("keys of both sides, four in all\0", parties)?;

    let (mut payload, mut wire) = (black_box([7; 1024]), [0; 1024 + OVERHEAD]);
    measure("1024 bytes sealed\0", || seal(&mut client.sealer, &payload, &mut wire))?;
    measure("1024 bytes opened\0", || open(&mut server.opener, &wire, &mut payload))?;
    measure("an empty record\0", || {
        scenario::empty_record(&mut client.sealer, &mut server.opener)
    })?;
    client.sealer.set_position(Some(0xffff));
    server.opener.set_position(Some(0xffff));
    let wire = wire.get_mut(..1 + OVERHEAD).ok_or(Failure::Room)?;
    measure("1 byte sealed, the last with its key\0", || seal(&mut client.sealer, &[7], wire))?;
    open(&mut server.opener, wire, &mut payload)?;
    measure("1 byte sealed, the first with the next key\0", || {
        seal(&mut client.sealer, &[8], wire)
    })?;
    open(&mut server.opener, wire, &mut payload)?;
    scenario::converse(&mut server.sealer, &mut client.opener, b"and to you")?;
    measure("a corrupted record refused\0", || {
        scenario::corrupt(&mut client.sealer, &mut server.opener)
    })
}

fn seal(sealer: &mut Sealer<RustCrypto>, payload: &[u8], wire: &mut [u8]) -> Result<(), Failure> {
    let sealed = sealer.seal(black_box(payload), black_box(wire)).map_err(|_| Failure::Seal)?;
    if sealed.consumed == payload.len() { Ok(()) } else { Err(Failure::Differs) }
}

fn open(opener: &mut Opener<RustCrypto>, wire: &[u8], payload: &mut [u8]) -> Result<(), Failure> {
    let opened = opener.open(black_box(wire), black_box(payload)).map_err(|_| Failure::Open)?;
    if opened.consumed == wire.len() { Ok(()) } else { Err(Failure::Differs) }
}
