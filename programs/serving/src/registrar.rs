//! Registers the metrics of a program, and holds what both programs count alike.

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    Result,
};

/// A registry that is being filled.
#[derive(Debug, Default)]
pub struct Registrar {
    registry: Registry,
}

impl Registrar {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry, with all that was registered.
    #[must_use]
    pub fn finish(self) -> Registry {
        self.registry
    }

    fn register<T: Collector + Clone + 'static>(&self, metric: T) -> Result<T> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// Counters that differ in their labels.
    ///
    /// # Errors
    /// When the name is not one, or is taken; so for all of them.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// Whole numbers that go up and down, and differ in their labels.
    ///
    /// # Errors
    /// As [`counters`](Self::counters).
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A whole number that goes up and down.
    ///
    /// # Errors
    /// As [`counters`](Self::counters).
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    /// Points in time, in seconds since the UNIX epoch, that differ in their labels.
    ///
    /// # Errors
    /// As [`counters`](Self::counters).
    pub fn times(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.register(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Lengths of time in seconds, from a millisecond to `longest`.
    ///
    /// # Errors
    /// As [`counters`](Self::counters).
    pub fn durations(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        longest: f64,
    ) -> Result<HistogramVec> {
        let mut buckets =
            vec![0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        buckets.push(longest);
        self.register(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)?)
    }

    /// The version, as the label of a number that is always 1.
    ///
    /// # Errors
    /// As [`counters`](Self::counters).
    pub fn info(&self, name: &str, version: &str) -> Result<()> {
        self.gauges(name, "Always 1.", &["version"])?.with_label_values(&[version]).set(1);
        Ok(())
    }

    /// How often something was read again; both outcomes are there from the beginning.
    ///
    /// # Errors
    /// As [`counters`](Self::counters).
    pub fn reloads(&self, name: &str, help: &str) -> Result<Reloads> {
        let counters = self.counters(name, help, &["outcome"])?;
        for good in [true, false] {
            counters.with_label_values(&[outcome(good)]);
        }
        Ok(Reloads(counters))
    }
}

/// Counts how often something was read again, by outcome.
#[derive(Clone, Debug)]
pub struct Reloads(IntCounterVec);

impl Reloads {
    /// Once more; `good`: what was read is in use.
    pub fn count(&self, good: bool) {
        self.0.with_label_values(&[outcome(good)]).inc();
    }
}

const fn outcome(good: bool) -> &'static str {
    if good { "success" } else { "failure" }
}
