//! Protobuf on borrowed bytes: a reader, prost's primitives to write, and what may fail.
//!
//! Messages are views: text and bytes borrow from the buffer that they were decoded from, lists and
//! maps have a fixed capacity, and neither reading nor writing touches a heap. That is why the
//! reader is not prost's: every error of prost's decoder is an allocation. This one accepts and
//! refuses exactly what prost does, with one addition: what does not fit is refused.

mod error;
pub(crate) mod field;
mod key;
mod list;
pub(crate) mod message;
pub(crate) mod reader;
mod secret;
pub(crate) mod writer;

pub use error::{DecodeError, EncodeError, Refusal};
pub(crate) use field::{message, one_of, open_enum};
pub use list::{Full, List, Map};
pub use message::Message;
pub use secret::{Secret, SecretText};
