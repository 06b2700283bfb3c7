//! Table of contents of the tests that need more than one crate.
