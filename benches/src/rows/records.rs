//! One frame, sealed and opened, beside the bare AEAD.

use alts_core::aead::{Aead, RustCrypto};
use tokio_alts::aead::AwsLc;

use super::run::Run;
use crate::Outcome;
use crate::aead::{Batch, Raw, Records};
use crate::measure::{Goal, Row, interleaved, inverted, timed};

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    for (size, goal) in [(64, 0.85), (1024, 0.93), (16 << 10, 0.97), (128 << 10, 0.97)] {
        frames::<AwsLc>(run, "aws-lc-rs", size, goal, || Ok(Box::new(Raw::aws_lc(size)?)))?;
    }
    let size = 16 << 10;
    frames::<RustCrypto>(run, "rustcrypto", size, 0.97, || Ok(Box::new(Raw::rustcrypto(size))))
}

fn frames<A: Aead>(
    run: &Run<'_>,
    provider: &str,
    size: usize,
    goal: f64,
    make: impl Fn() -> Outcome<Box<dyn Batch>>,
) -> Outcome<()> {
    let mut ours: Box<dyn Batch> = Box::new(Records::<A>::new(size)?);
    let mut raw = make()?;
    let name = format!("record-seal-{size}-{provider}");
    if run.wants(&name) {
        let costs = interleaved(run.effort, || timed(|| ours.seal()), || timed(|| raw.seal()))?;
        (run.report)(&Row::new(name, Goal::AtLeast(goal), inverted(costs)));
    }
    let name = format!("record-open-{size}-{provider}");
    if run.wants(&name) {
        // What the sealers have sealed so far has not been opened.
        let (mut ours, mut raw) = (Records::<A>::new(size)?, make()?);
        let open = |batch: &mut dyn Batch| {
            batch.seal()?;
            timed(|| batch.open())
        };
        let costs = interleaved(run.effort, || open(&mut ours), || open(&mut *raw))?;
        (run.report)(&Row::new(name, Goal::AtLeast(goal), inverted(costs)));
    }
    Ok(())
}
