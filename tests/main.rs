//! Table of contents of the tests that need more than one crate.

mod administration; // what an administrator is told: certificates, reloads, checks, a store that is late
mod agent; // nothing is lost or doubled by rotation, kills and bad networks
mod alert_life; // what people do with alerts, and that a change afterwards shows
mod allocations; // none for an event that no rule matches
mod attacks; // what vonggac scan finds in captures of attacks
mod bruteforce; // the rule against a count of our own, on real logs
mod capture; // packets of real interfaces, counted, spooled and shipped
mod conversations; // our flows against tshark, packet for packet
mod corpus; // where the public data lies
mod coverage; // the inventory in SQL, sources that fall silent, canaries
mod dashboards; // every query of every panel, Grafana's schema, Prometheus and its alerts
mod differences; // tables of what is known to differ, and why
mod drills; // the recorded drills, all of them
mod duties; // vonggac duties: when they fall due, and the record of what was done
mod engine; // the embedded store, as its clients see it
mod engines; // our two evaluators and another one, on the whole corpus
mod evidence; // vonggac scan: what is read, and what is said of the rest
mod evtx; // Windows event logs: the reader, and vonggac scan
mod evtx_file; // files that the others read
mod exporters; // flow records of devices, against the truth, nfdump and the store
mod flows; // our flows against those of another meter
mod fuzzed; // what the fuzz targets share
mod hunts; // SQL on a schedule, over weeks of flows
mod incidents;
mod indicators; // feeds of indicators: what names them raises alerts
mod intake; // OTLP from a sender that is not ours; a collector that ends in order
mod levels; // vonggac systems: the levels of a province, and a file of planted faults
mod links; // vonggac links: how full the lines of sites are
mod messages; // what flows say, against arkime's reading of it
mod notifications; // who is told of alerts, by what way, and what exceptions and silences do
mod parsers; // golden pairs of the parsers
mod people; // what people type: answers, exit codes, hostile text, a small drill
mod pipeline; // a log line becomes a row exactly once, whatever is killed
mod public_logs; // the parsers against public logs and the truth that comes with them
mod public_rules; // SigmaHQ's rules and the lanes, for two engines
mod python; // environments for clients that exist in Python only
mod receivers; // of notifications: HTTP and SMTP
mod reports; // vonggac report: numbers held against SQL, every kind, language and format
mod rules; // our rules and public ones; our evaluator against another one
mod sink; // a collector that only remembers
mod site; // the real processes that the others use
mod store; // batches in, rows and alerts out, exactly once
mod tidy; // documents, rules and dashboards are true to the code
