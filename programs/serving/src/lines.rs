//! Log lines on their way out: writing one never waits for their reader.
//!
//! A thread of its own writes them, from a queue with bounds. What does not fit is dropped and
//! counted, and the log says so once it moves again: a pipe that nobody reads, a terminal that was
//! stopped or a disk that hangs costs lines and nothing else.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

/// How many lines may wait.
const LINES: usize = 8192;

/// How many bytes may wait.
const BYTES: usize = 4 * 1024 * 1024;

/// How long the end of the program waits for the last lines.
const PATIENCE: Duration = Duration::from_millis(500);

enum Message {
    Line(Vec<u8>),
    End,
}

/// Where a subscriber writes its lines.
#[derive(Clone, Debug)]
pub struct Lines {
    sender: SyncSender<Message>,
    waiting: Arc<AtomicUsize>,
    dropped: IntCounter,
}

/// Dropping it writes the lines that wait, if that is quick.
#[derive(Debug)]
pub struct LastLines {
    sender: SyncSender<Message>,
    ended: Receiver<()>,
}

impl Lines {
    /// Lines that go to `out`; `dropped` counts those that do not.
    pub fn to(out: impl Write + Send + 'static, dropped: IntCounter) -> (Self, LastLines) {
        let (sender, receiver) = sync_channel(LINES);
        let (end, ended) = sync_channel(1);
        let waiting = Arc::default();
        let lines = Self { sender: sender.clone(), waiting: Arc::clone(&waiting), dropped };
        let dropped = lines.dropped.clone();
        thread::spawn(move || {
            write_all(&receiver, out, &waiting, &dropped);
            // The one who waits for the end may have lost patience.
            let _ = end.send(());
        });
        (lines, LastLines { sender, ended })
    }
}

impl Write for Lines {
    /// One whole line each time: that is how `tracing_subscriber` writes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let before = self.waiting.fetch_add(line.len(), Ordering::Relaxed);
        let fits = before.saturating_add(line.len()) <= BYTES;
        if !fits || self.sender.try_send(Message::Line(line.to_vec())).is_err() {
            self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            self.dropped.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for LastLines {
    fn drop(&mut self) {
        // A full queue is one that nobody reads.
        if self.sender.try_send(Message::End).is_ok() {
            let _ = self.ended.recv_timeout(PATIENCE);
        }
    }
}

fn write_all(
    receiver: &Receiver<Message>,
    mut out: impl Write,
    waiting: &AtomicUsize,
    dropped: &IntCounter,
) {
    let mut said = 0;
    loop {
        let next = match receiver.try_recv() {
            Err(TryRecvError::Empty) => {
                // All are written: a good time to say how many were not. The line goes through the
                // queue like every other one.
                let lost = dropped.get();
                if lost > said {
                    tracing::warn!(
                        lines = lost - said,
                        "the log could not keep up: lines are lost"
                    );
                    said = lost;
                }
                let _ = out.flush();
                receiver.recv()
            }
            Err(TryRecvError::Disconnected) => return,
            Ok(next) => Ok(next),
        };
        let Ok(Message::Line(line)) = next else { return };
        waiting.fetch_sub(line.len(), Ordering::Relaxed);
        // There is nowhere to report a log that cannot be written.
        if out.write_all(&line).is_err() {
            dropped.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};
    use std::time::Instant;

    use super::*;

    /// Blocks until the other end is gone.
    struct Stuck(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_stops_nobody_and_its_losses_are_counted() {
        let (release, stuck) = mpsc::channel();
        let written = Arc::default();
        let dropped = IntCounter::new("dropped", "x").unwrap();
        let (mut lines, last) = Lines::to(Stuck(stuck, Arc::clone(&written)), dropped.clone());
        let begun = Instant::now();
        for _ in 0..3 * LINES {
            assert_eq!(lines.write(b"line\n").unwrap(), 5);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let losses = dropped.get();
        assert!(losses >= 2 * LINES as u64 - 2, "{losses}");
        drop(release);
        // What had a place in the queue arrives.
        let begun = Instant::now();
        let expected = 5 * (3 * LINES - usize::try_from(losses).unwrap());
        while written.lock().unwrap().len() < expected {
            assert!(begun.elapsed() < Duration::from_secs(10));
            thread::sleep(Duration::from_millis(5));
        }
        drop(last);
    }

    #[test]
    fn large_lines_are_bounded_too_and_the_end_is_not_waited_for_in_vain() {
        let (_release, stuck) = mpsc::channel();
        let dropped = IntCounter::new("dropped", "x").unwrap();
        let (mut lines, last) = Lines::to(Stuck(stuck, Arc::default()), dropped.clone());
        let large = vec![b'x'; BYTES / 4];
        for _ in 0..10 {
            lines.write_all(&large).unwrap();
        }
        assert!(dropped.get() >= 5, "{}", dropped.get());
        let begun = Instant::now();
        drop(last);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[test]
    fn the_last_lines_are_written() {
        let (release, stuck) = mpsc::channel();
        drop(release);
        let written = Arc::default();
        let dropped = IntCounter::new("dropped", "x").unwrap();
        let (mut lines, last) = Lines::to(Stuck(stuck, Arc::clone(&written)), dropped);
        lines.write_all(b"first\n").unwrap();
        lines.write_all(b"last\n").unwrap();
        drop(last);
        assert_eq!(*written.lock().unwrap(), b"first\nlast\n");
    }
}
