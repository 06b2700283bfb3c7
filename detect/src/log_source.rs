//! Which rules look at which events.
//!
//! A rule fits an event when every part of `logsource` that the rule gives is the event's, compared without case. What the
//! event does not say is not guessed: a rule for `service: sshd` does not see an event without a service.
//!
//! One service is a parent: the world's rules for `service: auth` mean what Debian writes to auth.log and Red Hat to secure,
//! which our parsers tell apart more finely. So is one category: Sysmon's registry events (12, 13, 14) are `registry_event`,
//! and each has a finer category of its own, `registry_set` and the like.

use event::LogSource;

use crate::RuleSource;

/// Services whose events rules for `auth` see as well.
const AUTH: [&str; 22] = [
    "chage",
    "chfn",
    "chpasswd",
    "chsh",
    "doas",
    "gdm",
    "gpasswd",
    "groupadd",
    "groupdel",
    "groupmod",
    "login",
    "newgrp",
    "pam",
    "passwd",
    "polkitd",
    "sshd",
    "su",
    "sudo",
    "systemd-logind",
    "useradd",
    "userdel",
    "usermod",
];

/// Whether a rule of this log source looks at events of that one.
pub(crate) fn fits(rule: &RuleSource, event: &LogSource<'_>) -> bool {
    (part_fits(&rule.category, event.category) || is_finer(&rule.category, event.category))
        && part_fits(&rule.product, event.product)
        && (part_fits(&rule.service, event.service) || is_child(&rule.service, event.service))
}

/// Whether a filter of this log source applies to rules of that one: what the filter gives, the rule must give as well.
pub(crate) fn contains(filter: &RuleSource, rule: &RuleSource) -> bool {
    fits(filter, &LogSource { category: &rule.category, product: &rule.product, service: &rule.service })
}

fn part_fits(rule: &str, event: &str) -> bool {
    rule.is_empty() || rule.eq_ignore_ascii_case(event)
}

fn is_child(parent: &str, service: &str) -> bool {
    parent.eq_ignore_ascii_case("auth") && AUTH.iter().any(|child| child.eq_ignore_ascii_case(service))
}

fn is_finer(parent: &str, category: &str) -> bool {
    let begin = category.get(.."registry_".len()).unwrap_or_default();
    parent.eq_ignore_ascii_case("registry_event") && begin.eq_ignore_ascii_case("registry_")
}
