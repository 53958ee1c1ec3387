//! What every group of rows is given.

use std::cell::OnceCell;

use crate::Outcome;
use crate::measure::{Effort, Goal, Row, median};
use crate::peer::serve_handshaker;

/// One run of the comparison.
pub struct Run<'a> {
    /// How long it takes.
    pub effort: Effort,
    /// Rows whose names do not begin with this are left out.
    pub only: &'a str,
    /// What becomes of each row.
    pub report: &'a dyn Fn(&Row),
    /// What becomes of the absolute figures behind the rows.
    pub note: &'a dyn Fn(&str),
    /// Whether the peers' handshaker service serves, once something has needed it.
    pub peers_service: OnceCell<Result<(), String>>,
}

impl Run<'_> {
    /// Whether a row is asked for.
    pub(super) fn wants(&self, name: &str) -> bool {
        name.starts_with(self.only)
    }

    /// Serves the handshaker service of the peers from now on: it has one address for all groups.
    pub(super) fn serve_peers(&self) -> Outcome<()> {
        let serving =
            self.peers_service.get_or_init(|| serve_handshaker().map_err(|e| e.to_string()));
        Ok(serving.clone()?)
    }

    /// The row of what ALTS adds to a plain connection, beside what TLS adds. `cost` gives the cost
    /// of a few calls of one of the three: plain, ALTS and TLS, in this order.
    pub(super) fn addition<T>(
        &self,
        name: &str,
        goal: Goal,
        subjects: &mut [T; 3],
        mut cost: impl FnMut(&mut T) -> Outcome<f64>,
    ) -> Outcome<()> {
        let (mut ratios, mut absolute) = (Vec::new(), [const { Vec::new() }; 3]);
        for _ in 0..self.effort.rounds {
            let mut costs = [0.0; 3];
            while costs.iter().sum::<f64>() < 10.0 * self.effort.slice.as_secs_f64() {
                for (sum, subject) in costs.iter_mut().zip(&mut *subjects) {
                    *sum += cost(subject)?;
                }
            }
            let [plain, alts, tls] = costs;
            ratios.push((alts - plain) / (tls - plain));
            for (absolute, cost) in absolute.iter_mut().zip(costs) {
                absolute.push(cost / plain);
            }
        }
        let [_, alts, tls] = absolute.map(|mut costs| {
            costs.sort_by(f64::total_cmp);
            median(&costs)
        });
        (self.note)(&format!("{name}: ALTS {alts:.3} x plain, TLS {tls:.3} x plain"));
        (self.report)(&Row::new(name, goal, ratios));
        Ok(())
    }
}
