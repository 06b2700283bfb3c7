//! `[capture]` and `[spool]`: which interfaces are watched, how, and what may pile up.

use serde::Deserialize;

use super::ConfigError;
use crate::limits::{
    ACTIVE_RANGE_S, FLOWS_RANGE, IDLE_RANGE_S, INTERFACE_NAME_BYTES_MAX, INTERFACES_MAX, RING_MIB_RANGE,
    SPOOL_RANGE,
};

/// Live capture; off while no interface is named.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    pub interfaces: Vec<String>,
    pub backend: Backend,
    /// Whether packets are wanted that are not for this host.
    pub promiscuous: bool,
    pub ring_mib: u64,
    pub flows_max: u64,
    pub idle_timeout_s: u64,
    pub active_timeout_s: u64,
    /// Whether the first bytes of payload are read.
    pub application: bool,
}

/// How packets come from the kernel.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    #[default]
    Ring,
    Pnet,
}

/// What cannot be read again waits here.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    pub bytes_max: u64,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            backend: Backend::Ring,
            promiscuous: false,
            ring_mib: 8,
            flows_max: 100_000,
            idle_timeout_s: 60,
            active_timeout_s: 300,
            application: true,
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self { bytes_max: 256 * 1024 * 1024 }
    }
}

impl Backend {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Pnet => "pnet",
        }
    }
}

impl Capture {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, range, value) in [
            ("ring_mib", RING_MIB_RANGE, self.ring_mib),
            ("flows_max", FLOWS_RANGE, self.flows_max),
            ("idle_timeout_s", IDLE_RANGE_S, self.idle_timeout_s),
            ("active_timeout_s", ACTIVE_RANGE_S, self.active_timeout_s),
        ] {
            let (least, most) = (range.start(), range.end());
            anyhow::ensure!(range.contains(&value), "capture.{key} = {value}: expected {least} to {most}");
        }
        anyhow::ensure!(
            self.interfaces.len() <= INTERFACES_MAX,
            "capture.interfaces: expected at most {INTERFACES_MAX}"
        );
        for (index, name) in self.interfaces.iter().enumerate() {
            let is_name = (1..=INTERFACE_NAME_BYTES_MAX).contains(&name.len())
                && !name.contains(|character: char| character == '/' || character.is_whitespace());
            anyhow::ensure!(
                is_name,
                "capture.interfaces: {name:?}: expected 1 to {INTERFACE_NAME_BYTES_MAX} bytes without slash or space"
            );
            let is_twice = self.interfaces.iter().take(index).any(|other| other == name);
            anyhow::ensure!(!is_twice, "capture.interfaces: {name:?}: expected each interface once");
        }
        Ok(())
    }
}

impl Spool {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (least, most, value) = (SPOOL_RANGE.start(), SPOOL_RANGE.end(), self.bytes_max);
        anyhow::ensure!(
            SPOOL_RANGE.contains(&value),
            "spool.bytes_max = {value}: expected {least} to {most}"
        );
        Ok(())
    }
}
