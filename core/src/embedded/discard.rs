//! Buffers that are used up from the front.

/// Drops `count` bytes from the front of the `filled` bytes of a buffer.
pub(super) fn discard(buffer: &mut [u8], filled: &mut usize, count: usize) {
    if count <= *filled && *filled <= buffer.len() {
        buffer.copy_within(count..*filled, 0);
        *filled = filled.saturating_sub(count);
    }
}
