//! The record layer under any operations, with a real AEAD.
#![no_main]

use alts_core::aead::RustCrypto;
use alts_fuzz::records::{Scenario, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|scenario: Scenario| run::<RustCrypto>(&scenario, true));
