//! An empty program: what the others contain besides alts-core.
#![no_std]
#![no_main]

use cortex_m::{check_clock, measure};

cortex_m::program!(run);

fn run() -> u8 {
    check_clock();
    measure("nothing\0", || ());
    0
}
