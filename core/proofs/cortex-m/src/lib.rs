//! A bare Cortex-M4F: how it starts, says something, ends, and measures what it does.
#![no_std]

#[cfg(feature = "session")]
#[path = "../../linked/src/no_heap.rs"]
mod no_heap;

use core::arch::{asm, global_asm};
use core::hint::black_box;

/// Makes `$run`, a `fn() -> u8`, the program: its result is the exit code.
#[macro_export]
macro_rules! program {
    ($run:path) => {
        // SAFETY: no other item of the program has this name.
        #[unsafe(no_mangle)]
        extern "C" fn program() -> ! {
            $crate::exit($run())
        }

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            $crate::say("panicked\n\0");
            $crate::exit($crate::PANICKED)
        }
    };
}

/// The exit code of a program that has panicked.
pub const PANICKED: u8 = 101;

// The table that the processor starts by, and what it does first: switch the floating-point unit
// on, fill the data section, clear the rest. Every fault ends the program.
global_asm!(
    ".pushsection .vectors, \"a\", %progbits",
    ".word stack_top, reset, fault, fault, fault, fault, fault",
    ".popsection",
    ".pushsection .text.reset, \"ax\", %progbits",
    ".thumb",
    ".thumb_func",
    ".global reset",
    "reset:",
    "ldr r0, =0xe000ed88",
    "ldr r1, [r0]",
    "orr r1, r1, #0xf00000",
    "str r1, [r0]",
    "dsb",
    "isb",
    "ldr r0, =data_start",
    "ldr r1, =data_end",
    "ldr r2, =data_load",
    "1: cmp r0, r1",
    "bhs 2f",
    "ldr r3, [r2], #4",
    "str r3, [r0], #4",
    "b 1b",
    "2: ldr r0, =bss_start",
    "ldr r1, =bss_end",
    "movs r2, #0",
    "3: cmp r0, r1",
    "bhs 4f",
    "str r2, [r0], #4",
    "b 3b",
    "4: bl program",
    "udf #0",
    ".ltorg",
    ".popsection",
);

// SAFETY: nothing else has this name; the table above points to it.
#[unsafe(no_mangle)]
extern "C" fn fault() -> ! {
    say("fault\n\0");
    exit(102)
}

/// One call of the debugger that runs the program.
fn semihosting(operation: u32, argument: usize) {
    // SAFETY: the operations that are used here read their argument and write nothing; the result
    // in r0 is not looked at.
    unsafe { asm!("bkpt #0xab", inout("r0") operation => _, in("r1") argument) }
}

/// Prints `text`, which ends with a zero.
pub fn say(text: &str) {
    debug_assert!(text.ends_with('\0'), "a text without an end");
    semihosting(0x04, text.as_ptr().addr());
}

/// Prints a number, without the formatter, whose code would be measured with the rest.
fn say_number(number: u32) {
    let mut digits = [0; 11];
    let mut rest = number;
    let mut first = digits.len().saturating_sub(1);
    for (at, digit) in digits.iter_mut().enumerate().rev().skip(1) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        first = at;
        if rest == 0 {
            break;
        }
    }
    let digits = digits.get(first..).unwrap_or_default();
    semihosting(0x04, black_box(digits).as_ptr().addr());
}

/// Ends the program.
pub fn exit(code: u8) -> ! {
    // "The application has exited", with a code.
    let block = [0x2_0026, u32::from(code)];
    semihosting(0x20, black_box(&block).as_ptr().addr());
    loop {
        core::hint::spin_loop();
    }
}

/// Prints a figure as a line: `name: value unit`.
pub fn report(name: &str, value: usize, unit: &str) {
    say(name);
    say(": \0");
    say_number(u32::try_from(value).unwrap_or(u32::MAX));
    say(" \0");
    say(unit);
    say("\n\0");
}

/// Runs `work` and prints the instructions and the stack that it took.
pub fn measure<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let top = paint();
    let begin = Clock::start();
    let value = black_box(run(work));
    let instructions = begin.instructions();
    let stack = top.saturating_sub(lowest_used(top));
    say(name);
    say(": \0");
    match instructions {
        Some(instructions) => say_number(instructions),
        None => say("too many\0"),
    }
    say(" instructions, \0");
    say_number(u32::try_from(stack).unwrap_or(u32::MAX));
    say(" bytes of stack\n\0");
    value
}

#[inline(never)]
fn run<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Counts a loop whose instructions are known.
pub fn check_clock() {
    let begin = Clock::start();
    // SAFETY: counts a register down: 100,000 times two instructions.
    unsafe { asm!("1: subs {0}, #1", "bne 1b", inout(reg) 100_000_u32 => _) }
    let counted = begin.instructions().unwrap_or(0);
    report("clock, for a loop of 200000 instructions\0", counted as usize, "instructions\0");
}

/// The processor's timer. The emulator lets 32 ns pass with each instruction (`-icount shift=5`),
/// and the timer counts 25 MHz: 40 ns.
struct Clock;

impl Clock {
    const CONTROL: *mut u32 = core::ptr::without_provenance_mut(0xe000_e010);
    const RELOAD: *mut u32 = core::ptr::without_provenance_mut(0xe000_e014);
    const VALUE: *mut u32 = core::ptr::without_provenance_mut(0xe000_e018);
    const LARGEST: u32 = 0x00ff_ffff;

    fn start() -> Self {
        // SAFETY: the registers of SysTick, which nothing else uses: count down from the largest
        // value, by the processor's clock, without interrupts. A write to the value clears it.
        unsafe {
            Self::CONTROL.write_volatile(0);
            Self::RELOAD.write_volatile(Self::LARGEST);
            Self::VALUE.write_volatile(0);
            Self::CONTROL.write_volatile(0b101);
        }
        Self
    }

    /// The instructions since the start, if the timer has not run over.
    fn instructions(self) -> Option<u32> {
        // SAFETY: as above.
        let (value, control) =
            unsafe { (Self::VALUE.read_volatile(), Self::CONTROL.read_volatile()) };
        // 0 is read until the first tick.
        let ticks = if value == 0 { 0 } else { Self::LARGEST.saturating_sub(value) };
        (control & 0x1_0000 == 0).then_some(ticks.saturating_mul(5) / 4)
    }
}

/// What the free stack is painted with.
const PAINT: u32 = 0xa5c3_5a3c;

unsafe extern "C" {
    static stack_bottom: u32;
}

/// Paints the stack below this function, and returns where that begins.
#[inline(never)]
fn paint() -> usize {
    let bottom = &raw const stack_bottom;
    let top: usize;
    // SAFETY: stores words from the bottom of the stack up to its current end, which nobody uses.
    unsafe {
        asm!(
            "1: cmp {at}, sp",
            "bhs 2f",
            "str {paint}, [{at}], #4",
            "b 1b",
            "2: mov {top}, sp",
            at = inout(reg) bottom => _,
            paint = in(reg) PAINT,
            top = out(reg) top,
        );
    }
    top
}

/// The lowest address of the stack whose paint is gone.
fn lowest_used(top: usize) -> usize {
    let mut at = &raw const stack_bottom;
    // SAFETY: within the stack, whose words can be read whatever is in them.
    while at.addr() < top && unsafe { at.read_volatile() } == PAINT {
        at = at.wrapping_add(1);
    }
    at.addr()
}
