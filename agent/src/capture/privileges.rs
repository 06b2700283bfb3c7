//! Gives up what the agent may do beyond reading logs, once its sockets are open.
//!
//! Capabilities are a thread's: this must run before a second thread starts, and those that follow have what it has. What is
//! left is the right to read files (and, for an agent that root started by hand, to write its folder): logs are opened anew
//! with every rotation. Nothing that it gives up can be had back, through a program that is run neither.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};

/// What a tail needs for logs that only root may read, and a data folder of another user.
const KEPT: CapabilitySet = CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::DAC_OVERRIDE);

/// Gives up all capabilities but those to read and write files. Returns those that are left, as text.
pub(crate) fn give_up() -> io::Result<String> {
    set_no_new_privs(true)?;
    let had = capabilities(None)?;
    let kept = CapabilitySets {
        effective: had.effective & KEPT,
        permitted: had.permitted & KEPT,
        // Ambient ones go with these.
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, kept)?;
    let names = kept.permitted.iter_names().map(|(name, _)| format!("CAP_{name}"));
    Ok(names.collect::<Vec<_>>().join(" "))
}
