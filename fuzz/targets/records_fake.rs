//! The record layer under any operations, with an AEAD whose tags can be forged.
#![no_main]

use alts_fuzz::fake::Fake;
use alts_fuzz::records::{Scenario, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|scenario: Scenario| run::<Fake>(&scenario, false));
