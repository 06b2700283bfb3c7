//! Table of contents of the tests that need more than one crate.

mod tidy; // documents, rules and dashboards are true to the code
