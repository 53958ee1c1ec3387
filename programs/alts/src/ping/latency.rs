//! How long something took, many times: percentiles.

use std::time::Duration;

use serde::Serialize;

/// Measurements of one thing.
#[derive(Debug)]
pub(super) struct Latencies {
    what: &'static str,
    all: Vec<Duration>,
}

/// A summary of the measurements of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) what: &'static str,
    pub(super) count: usize,
    pub(super) min_ms: f64,
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Latencies {
    /// With the first.
    pub(super) fn new(what: &'static str, took: Duration) -> Self {
        Self { what, all: vec![took] }
    }

    pub(super) const fn what(&self) -> &'static str {
        self.what
    }

    pub(super) fn add(&mut self, took: Duration) {
        self.all.push(took);
    }

    /// Their summary. There is always at least one, so there is always a summary.
    pub(super) fn summary(&self) -> Option<Summary> {
        let mut sorted = self.all.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            // The smallest value that `percent` of the values do not exceed.
            let rank = sorted.len().saturating_mul(percent).div_ceil(100).max(1);
            sorted.get(rank.saturating_sub(1)).map(|took| milliseconds(*took))
        };
        Some(Summary {
            what: self.what,
            count: sorted.len(),
            min_ms: sorted.first().map(|took| milliseconds(*took))?,
            p50_ms: at(50)?,
            p90_ms: at(90)?,
            p99_ms: at(99)?,
            max_ms: at(100)?,
        })
    }
}

pub(super) fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let one = Latencies::new("x", Duration::from_millis(7)).summary().unwrap();
        assert_eq!((one.count, one.min_ms, one.p50_ms), (1, 7.0, 7.0));
        assert_eq!((one.p99_ms, one.max_ms), (7.0, 7.0));

        let mut latencies = Latencies::new("x", Duration::from_millis(200));
        for number in (1..200).rev() {
            latencies.add(Duration::from_millis(number));
        }
        let many = latencies.summary().unwrap();
        assert_eq!((many.min_ms, many.p50_ms, many.p90_ms), (1.0, 100.0, 180.0));
        assert_eq!((many.p99_ms, many.max_ms), (198.0, 200.0));
    }
}
