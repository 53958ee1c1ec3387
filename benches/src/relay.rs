//! A relay between two sockets, which keeps every byte for as long as a long wire would.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::tcp::pair;

/// What a sleep may be late by: the rest of the time is waited for awake.
const LATE: Duration = Duration::from_micros(200);

/// Both ends of a connection whose bytes take `delay` in each direction. Bytes that follow each other
/// closely arrive so: the delay is that of a wire, not of its width.
///
/// # Errors
/// Those of the sockets.
pub fn distant_pair(delay: Duration) -> Outcome<(TcpStream, TcpStream)> {
    let ((client, near), (far, server)) = (pair()?, pair()?);
    for socket in [&near, &far] {
        socket.set_nonblocking(false)?;
    }
    carry(near.try_clone()?, far.try_clone()?, delay);
    carry(far, near, delay);
    Ok((client, server))
}

/// One direction, in two threads: what has arrived is never delayed by what waits to be passed on.
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (arrived, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let piece = bytes.get(..count).unwrap_or_default().to_vec();
            if arrived.send((Instant::now() + delay, piece)).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        while let Ok((when, piece)) = due.recv() {
            wait_until(when);
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Write));
    });
}

fn wait_until(when: Instant) {
    let left = when.saturating_duration_since(Instant::now());
    if let Some(asleep) = left.checked_sub(LATE) {
        thread::sleep(asleep);
    }
    while Instant::now() < when {
        thread::yield_now();
    }
}
