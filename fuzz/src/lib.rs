//! What the fuzz targets share: a fake AEAD, a second record layer to compare with, the scenarios.
#![forbid(unsafe_code)]

pub mod fake;
pub mod model;
pub mod records;
