//! Numbers that look random and are the same for the same seed (SplitMix64).

use std::ops::Range;

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn within(&mut self, range: Range<usize>) -> usize {
        range.start + (self.number() % (range.end - range.start) as u64) as usize
    }

    /// One time in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.within(0..times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.within(0..choices.len())]
    }

    /// A length from 0 to `most`, of every order of magnitude.
    pub(crate) fn length(&mut self, most: usize) -> usize {
        let most = most >> self.within(0..12);
        self.within(0..most + 1)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// Calls `schedule` with each seed: those in `seeds`, or the one that `ALTS_FAULT_SEED` names. If a
/// schedule panics, the seed that repeats it is printed.
pub(crate) fn each_seed(seeds: Range<u64>, mut schedule: impl FnMut(u64)) {
    let seeds = match std::env::var("ALTS_FAULT_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).unwrap(),
        Err(_) => seeds,
    };
    for seed in seeds {
        let run = std::panic::AssertUnwindSafe(|| schedule(seed));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("this is the schedule of ALTS_FAULT_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// What an attacker on the network does to one direction of a connection, besides delaying,
/// splitting and merging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Nothing,
    /// Flips a bit.
    Corrupt,
    /// Takes a segment away.
    Drop,
    Duplicate,
    /// Swaps a segment and the next one.
    Reorder,
    /// Adds bytes of its own.
    Insert,
    /// Sends a segment to where it came from as well.
    Reflect,
    /// Ends the connection.
    Cut,
    /// Lets nothing through any more, not even the end.
    Stall,
}

impl Fault {
    pub(crate) const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Corrupt,
        Self::Drop,
        Self::Duplicate,
        Self::Reorder,
        Self::Insert,
        Self::Reflect,
        Self::Cut,
        Self::Stall,
    ];
}

/// A fault, and after how many bytes of its direction it comes.
#[derive(Debug)]
pub(crate) struct Meddler {
    pub(crate) fault: Fault,
    pub(crate) after: usize,
    passed: usize,
    /// A segment that was taken out of its place.
    held: Option<Vec<u8>>,
    /// Nothing comes through any more.
    pub(crate) silent: bool,
    pub(crate) ended: bool,
    /// Whether something was done.
    pub(crate) acted: bool,
}

impl Meddler {
    pub(crate) fn new(fault: Fault, after: usize) -> Self {
        Self { fault, after, passed: 0, held: None, silent: false, ended: false, acted: false }
    }

    /// What becomes of a segment: what goes on, and what goes back.
    pub(crate) fn pass(
        &mut self,
        mut segment: Vec<u8>,
        random: &mut Random,
    ) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
        if self.silent || self.ended || segment.is_empty() {
            return (Vec::new(), None);
        }
        self.passed += segment.len();
        if let Some(held) = self.held.take() {
            return (vec![segment, held], None);
        }
        if self.acted || self.fault == Fault::Nothing || self.passed <= self.after {
            return (vec![segment], None);
        }
        self.acted = true;
        match self.fault {
            Fault::Nothing => (vec![segment], None),
            Fault::Corrupt => {
                let index = random.within(0..segment.len());
                segment[index] ^= 1 << random.within(0..8);
                (vec![segment], None)
            }
            Fault::Drop => (Vec::new(), None),
            Fault::Duplicate => (vec![segment.clone(), segment], None),
            Fault::Reorder => {
                self.held = Some(segment);
                (Vec::new(), None)
            }
            Fault::Insert => {
                let len = random.within(1..64);
                (vec![random.bytes(len), segment], None)
            }
            Fault::Reflect => (vec![segment.clone()], Some(segment)),
            Fault::Cut => {
                self.ended = true;
                if !random.once_in(3) {
                    segment.truncate(random.within(0..segment.len()));
                }
                (vec![segment], None)
            }
            Fault::Stall => {
                self.silent = true;
                (Vec::new(), None)
            }
        }
    }

    /// What was really done: a fault may be due later than anything is sent.
    pub(crate) fn happened(&self) -> Fault {
        if self.acted { self.fault } else { Fault::Nothing }
    }

    /// The sender has ended: what was held comes after all.
    pub(crate) fn end(&mut self) -> Option<Vec<u8>> {
        self.ended = true;
        self.held.take()
    }
}
