//! What every group of rows is given.

use crate::measure::{Effort, Row};

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
}

impl Run<'_> {
    /// Whether a row is asked for.
    pub(super) fn wants(&self, name: &str) -> bool {
        name.starts_with(self.only)
    }
}
