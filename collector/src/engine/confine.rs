//! What the process of the store may reach: its data, and what any program reads.
//!
//! The engine is built for people who query files of their own. Grants keep statements from most files and addresses, but the
//! function `file` and the formats' templates ask for no grant: whoever may read one table could read whatever this process
//! may, the writer's password and the collector's key among it. So the process gives up the rest of the file system, and every
//! connection and port that it does not have yet, before the engine is loaded (Landlock, from Linux 5.19 on).
//!
//! A kernel that cannot do so confines nothing; that is told, by `serve --check` as well. Settings and words that are known to
//! read files are refused besides (`config.rs`, `execute.rs`): they are no wall, this is.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

/// Files are moved from folder to folder when a table is dropped: before this version that cannot be allowed.
const OLDEST: ABI = ABI::V2;
/// What of this version a kernel does not know is left out.
const NEWEST: ABI = ABI::V6;

/// Libraries, time zones, how names are resolved, what the kernel tells of itself. Passwords and keys are kept in none of these.
const READ_BY_ALL: [&str; 13] = [
    "/dev",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/lib",
    "/lib64",
    "/proc",
    "/sys",
    "/usr",
];
const WRITTEN_BY_ALL: &str = "/dev/null";

/// What a kernel that cannot means.
pub(crate) const UNCONFINED: &str = "this kernel does not confine the store (Landlock, Linux 5.19 or later, is missing, \
    switched off or filtered): a new way to read files by SQL would reach the passwords and keys of this user";

/// Whether this kernel can.
pub(crate) fn supported() -> bool {
    nothing().is_ok()
}

/// Confines this thread and those that it starts: `read` may be read, `data` may be changed. Paths that are not there are left out.
pub(super) fn confine(read: &[&Path], data: &Path) -> Result<(), RulesetError> {
    let reading = AccessFs::from_read(NEWEST);
    nothing()?
        .add_rules(path_beneath_rules(READ_BY_ALL, reading))?
        .add_rules(path_beneath_rules(read, reading))?
        .add_rules(path_beneath_rules([WRITTEN_BY_ALL], AccessFs::WriteFile))?
        .add_rules(path_beneath_rules([data], AccessFs::from_all(NEWEST)))?
        .restrict_self()?;
    Ok(())
}

/// What allows nothing yet.
fn nothing() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(OLDEST))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()
}
