//! Every limit of the crate, each with its reason.

use event::Micros;

/// Longest rule file. SigmaHQ's longest has 40 KB; lists of indicators written as a rule have some hundreds of KB.
pub const RULE_FILE_BYTES_MAX: usize = 1024 * 1024;

/// Most documents in one rule file that uses `action:`. Each is parsed with all that stand before it, so the work is quadratic.
pub const ACTION_DOCUMENTS_MAX: usize = 100;

/// Most strings that one value may become (`|expand` with several values, `|windash` before an encoding): 5^4 dashes.
pub const VALUE_VARIANTS_MAX: usize = 625;

/// Largest compiled regular expression, in bytes: the default of the regex crate, written down.
pub const REGEX_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Deepest nesting of selections and conditions: the parser's own bound on conditions. The evaluator recurses that deep.
pub const DEPTH_MAX: usize = 64;

/// Most log sources whose rules are remembered by one [`Scratch`](crate::Scratch). They come from the configuration of agents: dozens.
pub const ROUTES_MAX: usize = 256;

/// Most indexes that one engine keeps: one for each set of rules that the log sources of events select. Public rules make dozens.
pub const INDEXES_MAX: usize = 512;

/// Most literals that the keywords of one index add to the tables of its fields, each to each: about 10 MB. Public rules come
/// to 3,400. Where it were more, keywords have a table of their own, and values are searched for them once more.
pub const KEYWORDS_MERGED_MAX: usize = 32 * 1024;

/// Longest matched value that [`Engine::evidence`](crate::Engine::evidence) repeats, in bytes: what a person reads in an alert. The event has it whole.
pub const MATCHED_VALUE_BYTES_MAX: usize = 1024;

/// Longest group-by or counted value that is kept, in bytes. A longer one is cut, so that a hostile user name of 64 KB costs
/// no more memory than a path.
pub const KEY_VALUE_BYTES_MAX: usize = 512;

/// Most events that one group of a correlation holds, and so the highest threshold that a rule may ask for.
pub const WINDOW_EVENTS_MAX: usize = 10_000;

/// Most times that one line may count for: as many as a window holds. A line is written by whoever can write to the log.
pub const REPEAT_MAX: u64 = 10_000;

/// Most groups (source addresses, users, ...) that all correlations hold together: a million. A group of one event has 80
/// bytes, and some 50 more in the index: 131 measured ([`STATE_BYTES_MAX`]).
pub const GROUPS_MAX: usize = 1 << 20;

/// Most events that all groups hold together, four for each. An event has 40 bytes, up to 80 with the room that its list keeps
/// free, and some 35 more where different values or numbers are counted in a group of more than eight.
pub const GROUP_EVENTS_MAX: usize = 4 << 20;

/// What the two limits above come to: 131 MiB at the limit of groups, 307 MiB at both, 498 MiB in the worst shape found (nine
/// values in each group), and a reserve for what an allocator cannot give back. Measured by
/// `cargo run --release -p detect --example correlate_bench`.
pub const STATE_BYTES_MAX: usize = 640 << 20;

/// Largest number that is measured: a sum of a window's worth of them stays exact.
pub const NUMBER_MAX: f64 = 1e18;

/// Most events that a [`CorrelationHit`](crate::CorrelationHit) names.
pub const EVENTS_REPORTED_MAX: usize = 100;

/// Longest window of a correlation: a month. Longer questions are hunts over the store.
pub const TIMESPAN_MAX: Micros = 31 * 24 * 3600 * 1_000_000;

/// Longest chain of correlations upon correlations.
pub const CHAIN_MAX: usize = 4;

/// Most indicators of one set: eight times the million that a site with several public feeds loads. 24 bytes each, and the value.
pub const INDICATORS_MAX: usize = 8 << 20;

/// Longest value of an indicator, in bytes: as long as URLs are that browsers and servers agree on.
pub const INDICATOR_BYTES_MAX: usize = 2048;

/// Most bytes of all values of one set together: 64 for each, in as many as there may be.
pub const INDICATOR_KEYS_BYTES_MAX: usize = 512 << 20;

/// Longest name, description or label that is kept of an indicator, in bytes: what a person reads in an alert.
pub const INDICATOR_WORD_BYTES_MAX: usize = 512;

/// Most indicators that one event is told to name. A DNS answer or a list of hashes has a handful of values.
pub const SIGHTINGS_MAX: usize = 32;
