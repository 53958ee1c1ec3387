//! How much one handshake may take.

/// The most handshake bytes that are taken from the peer, and the most that the service may send
/// it, in all: 128 KiB each. A mutual TLS 1.3 handshake with long chains stays far below.
pub const MAX_HANDSHAKE_BYTES: usize = 128 * 1024;
/// The most requests to the service in one handshake. A peer whose bytes arrive one at a time
/// needs as many as it has bytes; every other one needs three.
pub const MAX_ROUNDS: u32 = 16 * 1024;
