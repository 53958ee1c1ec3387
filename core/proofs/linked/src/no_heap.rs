//! A heap that cannot be linked.
//!
//! prost knows `alloc`, so a program with messages has to name an allocator. This one calls
//! functions that do not exist: a program links only if nothing calls the allocator.

use core::alloc::{GlobalAlloc, Layout};

struct NoHeap;

#[global_allocator]
static NO_HEAP: NoHeap = NoHeap;

unsafe extern "C" {
    fn nobody_allocates() -> *mut u8;
    fn nobody_frees();
}

// SAFETY: neither is ever run: a program that calls one of them does not link.
unsafe impl GlobalAlloc for NoHeap {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        // SAFETY: never run.
        unsafe { nobody_allocates() }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {
        // SAFETY: never run.
        unsafe { nobody_frees() }
    }
}
