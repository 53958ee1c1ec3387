//! An allocator that counts, for tests that say that nothing is allocated.
//!
//! It is the test program's global allocator, so a test file that includes this module measures all
//! that its own threads do; the counts of tests that run side by side do not mix.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local!(static ALLOCATIONS: Cell<usize> = const { Cell::new(0) });

struct Counting;

// SAFETY: every call is the system allocator's; `realloc` and `alloc_zeroed` come here by default.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those that the system allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

/// What `work` returns, and how often it called for memory.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATIONS.with(Cell::get);
    let value = work();
    (value, ALLOCATIONS.with(Cell::get) - before)
}

/// What `work` returns, having allocated nothing.
#[track_caller]
pub(crate) fn without_heap<T>(work: impl FnOnce() -> T) -> T {
    let (value, allocations) = counted(work);
    assert_eq!(allocations, 0, "allocations");
    value
}
