//! Memory that no stream uses now: each thread keeps a little of it for the next one.
//!
//! Streams have a buffer only while something waits in it. What one stream gives back, another
//! takes a moment later: it is still in the processor's cache, and need not be zeroed again.

use std::cell::RefCell;

/// The most that a thread keeps, in bytes: about two of the largest buffers.
const MOST: usize = 640 * 1024;
/// The most blocks that a thread keeps; all of them are looked at.
const MOST_BLOCKS: usize = 8;
/// Blocks are as many times this as they need, in bytes.
const STEP: usize = 4 * 1024;
/// The largest block that is worth a slot, in bytes.
const LARGEST: usize = MOST / 2;

#[derive(Default)]
struct Spares {
    /// All of each block is initialized: `len` is its size. The oldest one is the first.
    blocks: Vec<Vec<u8>>,
    bytes: usize,
}

thread_local! {
    static SPARES: RefCell<Spares> = const { RefCell::new(Spares { blocks: Vec::new(), bytes: 0 }) };
}

/// At least `len` bytes; what is in them does not matter. Not more than twice what was asked for,
/// if that is more than a page or two: a stream that waits long with little in its buffer must not keep
/// a large one from the others.
pub(super) fn take(len: usize) -> Vec<u8> {
    let needed = len.max(1).next_multiple_of(STEP);
    let spare = SPARES.try_with(|spares| {
        // No other code runs while it is borrowed.
        spares.try_borrow_mut().ok()?.take(needed)
    });
    // Zeroed by the allocator, which may know that it is already.
    spare.ok().flatten().unwrap_or_else(|| vec![0; needed])
}

/// Takes back what [`take`] has given.
pub(super) fn give_back(block: Vec<u8>) {
    // While a thread ends, the block is freed.
    _ = SPARES.try_with(|spares| {
        if let Ok(mut spares) = spares.try_borrow_mut() {
            spares.give_back(block);
        }
    });
}

impl Spares {
    fn take(&mut self, needed: usize) -> Option<Vec<u8>> {
        let fits = needed..=needed.saturating_mul(2);
        // The last one in is the first out: it is the warmest in the cache.
        let place = self.blocks.iter().rposition(|block| fits.contains(&block.len()))?;
        let block = self.blocks.remove(place);
        self.bytes = self.bytes.saturating_sub(block.len());
        Some(block)
    }

    fn give_back(&mut self, block: Vec<u8>) {
        if block.is_empty() || block.len() > LARGEST {
            return;
        }
        self.bytes = self.bytes.saturating_add(block.len());
        self.blocks.push(block);
        while self.bytes > MOST || self.blocks.len() > MOST_BLOCKS {
            let oldest = self.blocks.remove(0);
            self.bytes = self.bytes.saturating_sub(oldest.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(spares: &Spares) -> Vec<usize> {
        let kept: Vec<_> = spares.blocks.iter().map(Vec::len).collect();
        assert_eq!(spares.bytes, kept.iter().sum());
        kept
    }

    #[test]
    fn a_block_fits_when_it_is_large_enough_and_not_twice_too_large() {
        let mut spares = Spares::default();
        for size in [64, 16, 8, 32, 4] {
            spares.give_back(vec![0; size * 1024]);
        }
        assert_eq!(spares.take(65 * 1024), None);
        assert_eq!(spares.take(12 * 1024).map(|block| block.len()), Some(16 * 1024));
        assert_eq!(spares.take(12 * 1024), None);
        // The youngest one of those that fit.
        assert_eq!(spares.take(4 * 1024).map(|block| block.len()), Some(4 * 1024));
        assert_eq!(spares.take(4 * 1024).map(|block| block.len()), Some(8 * 1024));
        assert_eq!(kept(&spares), [64 * 1024, 32 * 1024]);
    }

    #[test]
    fn what_a_thread_keeps_is_bounded_and_the_oldest_goes() {
        let mut spares = Spares::default();
        for _ in 0..20 {
            spares.give_back(vec![0; 8 * 1024]);
        }
        assert_eq!(kept(&spares), [8 * 1024; MOST_BLOCKS]);
        for _ in 0..3 {
            spares.give_back(vec![0; 260 * 1024]);
            assert!(spares.bytes <= MOST);
        }
        assert_eq!(kept(&spares), [260 * 1024; 2]);
        spares.give_back(vec![0; LARGEST + 1]);
        spares.give_back(Vec::new());
        assert_eq!(kept(&spares), [260 * 1024; 2]);
    }

    #[test]
    fn a_thread_takes_what_it_has_given_back() {
        let mut block = take(5000);
        assert_eq!(block.len(), 8 * 1024);
        block.fill(7);
        give_back(block);
        assert_eq!(take(5000), [7; 8 * 1024]);
        // Each block has one owner.
        assert_eq!(take(5000), [0; 8 * 1024]);
        assert_eq!(std::thread::spawn(|| take(5000)).join().unwrap(), [0; 8 * 1024]);
    }
}
