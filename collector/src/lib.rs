//! The collector: the path of an event from the intake to the store, and the tools that people use on what is stored.
#![deny(unsafe_code)] // the one exception is the module that binds libchdb

mod cli;

pub use cli::{Cli, run};
