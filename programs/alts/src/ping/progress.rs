//! A bar on the terminal, and nothing anywhere else.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Characters of the bar.
const WIDTH: u32 = 30;
/// How often it is drawn at most.
const EVERY: Duration = Duration::from_millis(100);

/// How far something is.
#[derive(Debug)]
pub(super) struct Progress {
    total: u32,
    drawn: Option<Instant>,
    terminal: bool,
}

impl Progress {
    pub(super) fn new(total: u32) -> Self {
        Self { total, drawn: None, terminal: io::stderr().is_terminal() }
    }

    pub(super) fn show(&mut self, done: u32) {
        if self.terminal && self.drawn.is_none_or(|drawn| drawn.elapsed() >= EVERY) {
            self.drawn = Some(Instant::now());
            // Nobody misses a bar that cannot be drawn.
            let _ = write!(io::stderr(), "\r{}", bar(done, self.total));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn bar(done: u32, total: u32) -> String {
    let full = u64::from(done.min(total)) * u64::from(WIDTH) / u64::from(total.max(1));
    let full = usize::try_from(full).unwrap_or_default();
    let empty = (WIDTH as usize).saturating_sub(full);
    format!("[{}{}] {done}/{total}", "#".repeat(full), " ".repeat(empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows() {
        assert_eq!(bar(0, 10), format!("[{}] 0/10", " ".repeat(30)));
        assert_eq!(bar(5, 10), format!("[{}{}] 5/10", "#".repeat(15), " ".repeat(15)));
        assert_eq!(bar(10, 10), format!("[{}] 10/10", "#".repeat(30)));
        assert!(bar(3, 0).ends_with("3/0"));
    }
}
