//! What the targets share. `tests/fuzzed.rs` compiles and runs it too, so that it is not found broken when it is needed.

#[cfg(feature = "exporters")]
pub mod exporter;
mod lines;
pub mod network;

pub use lines::read;
