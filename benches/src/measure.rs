//! Rounds, ratios and the line that a row prints.

use std::fmt;
use std::hint::black_box;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::Outcome;

/// How long a run takes.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds of a row: each gives one ratio.
    pub rounds: usize,
    /// CPU time of each side within one round.
    pub slice: Duration,
    /// Idle connections, and handshakes of one round.
    pub connections: usize,
    /// Bytes that one round sends through a socket.
    pub bytes: usize,
}

impl Effort {
    /// For figures that are quoted.
    pub const FULL: Self =
        Self { rounds: 15, slice: Duration::from_millis(60), connections: 4_000, bytes: 256 << 20 };
    /// To see that everything works.
    pub const QUICK: Self =
        Self { rounds: 5, slice: Duration::from_millis(15), connections: 500, bytes: 32 << 20 };
}

/// What a ratio should be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Not less than this.
    AtLeast(f64),
    /// Not more than this.
    AtMost(f64),
}

impl Goal {
    fn met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(goal) => ratio >= goal,
            Self::AtMost(goal) => ratio <= goal,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(goal) => write!(f, ">= {goal:.2}"),
            Self::AtMost(goal) => write!(f, "<= {goal:.2}"),
        }
    }
}

/// One line of the comparison.
#[derive(Clone, Debug)]
pub struct Row {
    name: String,
    ratios: Vec<f64>,
    goal: Goal,
}

impl Row {
    /// A row of the rounds' ratios.
    #[must_use]
    pub fn new(name: impl Into<String>, goal: Goal, mut ratios: Vec<f64>) -> Self {
        ratios.sort_by(f64::total_cmp);
        Self { name: name.into(), ratios, goal }
    }

    /// The median of the rounds' ratios.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(&self.ratios)
    }
}

impl fmt::Display for Row {
    /// `name, median ratio, lowest, highest, goal, met|short`, with tabs between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lowest, highest) = (self.ratios.first(), self.ratios.last());
        let (lowest, highest) = (lowest.unwrap_or(&f64::NAN), highest.unwrap_or(&f64::NAN));
        let (median, goal) = (self.median(), self.goal);
        let verdict = if goal.met(median) { "met" } else { "short" };
        write!(f, "{}\t{median:.3}\t{lowest:.3}\t{highest:.3}\t{goal}\t{verdict}", self.name)
    }
}

/// The middle one of sorted values.
#[must_use]
pub fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// CPU time of this thread, in seconds.
///
/// # Errors
/// When the system has no such clock.
pub fn thread_time() -> Outcome<f64> {
    seconds(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads of this process, the kernel's work for them included, in seconds.
///
/// # Errors
/// When the system has no such clock.
pub fn process_time() -> Outcome<f64> {
    seconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn seconds(clock: ClockId) -> Outcome<f64> {
    Ok(Duration::from(clock_gettime(clock)?).as_secs_f64())
}

/// The time that `work` takes on this thread, in seconds.
///
/// # Errors
/// Those of `work`.
pub fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<f64> {
    let start = thread_time()?;
    black_box(work()?);
    Ok(thread_time()? - start)
}

/// Two costs side by side, in rounds of many short slices, one after the other: `ours` and
/// `theirs` do a little work and return the seconds that it took. Both do the same amount.
///
/// Returns the ratios of the rounds, ours to theirs.
///
/// # Errors
/// Those of the work.
pub fn interleaved(
    effort: Effort,
    mut ours: impl FnMut() -> Outcome<f64>,
    mut theirs: impl FnMut() -> Outcome<f64>,
) -> Outcome<Vec<f64>> {
    ours()?;
    theirs()?;
    let mut ratios = Vec::with_capacity(effort.rounds);
    for round in 0..effort.rounds {
        let (mut our_sum, mut their_sum) = (0.0f64, 0.0f64);
        // The cost of a small call depends on where the stack is: each round has it elsewhere.
        deeper(round, &mut || {
            while our_sum.min(their_sum) < effort.slice.as_secs_f64() {
                our_sum += ours()?;
                their_sum += theirs()?;
            }
            Ok(())
        })?;
        ratios.push(our_sum / their_sum);
    }
    Ok(ratios)
}

/// Does `work` this many steps deeper in the stack. A step is some 272 bytes: all places within a line
/// of the cache have their turn, and many within a page.
#[inline(never)]
fn deeper(steps: usize, work: &mut dyn FnMut() -> Outcome<()>) -> Outcome<()> {
    let space = black_box([0u8; 240]);
    let done = if steps == 0 { work() } else { deeper(steps.saturating_sub(1), work) };
    black_box(&space);
    done
}

/// The reciprocals: throughputs of costs.
#[must_use]
pub fn inverted(ratios: Vec<f64>) -> Vec<f64> {
    ratios.into_iter().map(f64::recip).collect()
}
