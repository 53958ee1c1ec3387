//! What an operating system's program gets from a C runtime, for x86-64 Linux: an entry, an exit,
//! and the memory routines that the compiler calls.
#![no_std]

#[cfg(feature = "handshake")]
mod no_heap;

use core::arch::{asm, naked_asm};

/// Makes `$run`, a `fn() -> u8`, the program: its result is the exit code.
#[macro_export]
macro_rules! program {
    ($run:path) => {
        // SAFETY: no other item of the program has this name.
        #[unsafe(no_mangle)]
        extern "C" fn program() -> u8 {
            $run()
        }

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            $crate::exit($crate::PANICKED)
        }
    };
}

/// The exit code of a program that has panicked.
pub const PANICKED: u8 = 101;

// SAFETY: `program!` defines it, with this signature.
unsafe extern "C" {
    safe fn program() -> u8;
}

/// Where the kernel starts the program.
// SAFETY: nothing else is called `_start`; it puts the stack in order and never returns.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!("xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym main)
}

extern "C" fn main() -> ! {
    exit(program())
}

/// Ends the program.
pub fn exit(code: u8) -> ! {
    // SAFETY: exit_group(2) takes one number and does not return.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") u64::from(code), options(noreturn, nostack)) }
}

/// # Safety
/// As C's memcpy.
// SAFETY: nothing else has this name, and it does what the name says.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller's promise; copies `len` bytes upwards.
    unsafe {
        asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
             options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As C's memmove.
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= len {
        // SAFETY: the caller's promise; `to` does not begin within the source.
        return unsafe { memcpy(to, from, len) };
    }
    let last = len.wrapping_sub(1);
    // SAFETY: the caller's promise; copies downwards, then puts the direction flag back.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") len => _,
             inout("rdi") to.wrapping_add(last) => _, inout("rsi") from.wrapping_add(last) => _,
             options(nostack));
    }
    to
}

/// # Safety
/// As C's memset.
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    // SAFETY: the caller's promise; of `byte`, the lowest 8 bits count.
    unsafe {
        asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("eax") byte,
             options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As C's memcmp.
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    for at in 0..len {
        // SAFETY: the caller's promise; volatile, so that this does not become a call of itself.
        let (left, right) =
            unsafe { (left.add(at).read_volatile(), right.add(at).read_volatile()) };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
    }
    0
}

/// # Safety
/// As BSD's bcmp.
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { memcmp(left, right, len) }
}
