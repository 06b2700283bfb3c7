//! What our meter reads of DNS, HTTP, TLS and SSH against the truth of others: arkime's documents of sessions, fact by fact.
//!
//! A fact is one value that both would show: a question with its type and status, an answer, a host, a fingerprint. Facts are
//! compared by Community ID, so that they must belong to the same conversation. `tests/data/messages.tsv` says for each capture and
//! protocol how many facts only one of the two has, and why.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde_json::Value as Json;

use crate::corpus::corpus;
use crate::differences::Differences;
use crate::flows::{ARKIME, captures, metered, sessions};

/// Facts by conversation and protocol.
type Facts = BTreeMap<(String, &'static str), BTreeSet<String>>;

fn text<'j>(json: &'j Json, name: &str) -> &'j str {
    json[name].as_str().unwrap_or_default()
}

/// The texts of a list.
fn texts<'j>(json: &'j Json, name: &str) -> impl Iterator<Item = &'j str> {
    json[name].as_array().into_iter().flatten().filter_map(Json::as_str)
}

/// What one of our lines says, by protocol.
fn ours(line: &Json) -> Vec<(&'static str, String)> {
    match text(line, "kind") {
        "dns" => our_dns(line),
        "http" => our_http(line),
        "tls" => our_tls(line),
        "ssh" => {
            let banners = ["client", "server"].map(|side| text(line, side).to_lowercase());
            banners.into_iter().filter(|banner| !banner.is_empty()).map(|banner| ("ssh", banner)).collect()
        }
        _ => Vec::new(),
    }
}

fn our_dns(line: &Json) -> Vec<(&'static str, String)> {
    let query = text(line, "query");
    let question = format!("{query} {} {}", text(line, "record_type"), text(line, "rcode"));
    // arkime names the types of these, and shows no data of theirs.
    let silent = ["PTR", "SOA", "DNSKEY"].contains(&text(line, "record_type"));
    let answers =
        texts(line, "answer").filter(|_| !silent).map(|answer| ("dns answer", format!("{query} {answer}")));
    std::iter::once(("dns", question)).chain(answers).collect()
}

fn our_http(line: &Json) -> Vec<(&'static str, String)> {
    let (host, stem) = (text(line, "cs-host"), text(line, "cs-uri-stem"));
    let query = line["cs-uri-query"].as_str().map_or(String::new(), |query| format!("?{query}"));
    // The target of CONNECT is a host, not a path.
    let before = if stem.starts_with('/') { host } else { "" };
    let mut facts = vec![
        ("host", without_port(host)),
        ("method", text(line, "cs-method").to_owned()),
        ("agent", text(line, "cs-user-agent").to_owned()),
        ("uri", format!("{before}{stem}{query}")),
        ("status", line["sc-status"].as_u64().map_or(String::new(), |status| status.to_string())),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    facts.into_iter().map(|(name, value)| ("http", format!("{name} {value}"))).collect()
}

fn our_tls(line: &Json) -> Vec<(&'static str, String)> {
    let of = |name: &str, value: &str| format!("{name} {value}");
    let names = ["ja3", "ja4", "version", "cipher"];
    let mut facts: Vec<_> = names.map(|name| ("tls", of(name, text(line, name)))).into();
    // arkime puts the name that the client asked for where it puts HTTP's hosts.
    facts.push(("http", of("host", text(line, "server_name"))));
    facts.push(("certificate", of("subject", &text(line, "subject_cn").to_lowercase())));
    facts.push(("certificate", of("issuer", &text(line, "issuer_cn").to_lowercase())));
    facts.retain(|(_, fact)| !fact.ends_with(' '));
    let expiry = line["not_after"].as_i64().map(|seconds| ("certificate", format!("expires {seconds}")));
    facts.into_iter().chain(expiry).collect()
}

/// What a session of arkime says, in our words.
fn theirs(session: &Json) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    for exchange in session["dns"].as_array().into_iter().flatten() {
        facts.extend(their_dns(exchange));
    }
    let http = &session["http"];
    facts.extend(
        texts(http, "host")
            .filter(|host| !host.is_empty())
            .map(|host| ("http", format!("host {}", without_port(host)))),
    );
    for (list, name) in [("method", "method"), ("useragent", "agent"), ("uri", "uri")] {
        facts.extend(
            texts(http, list)
                .filter(|value| !value.is_empty())
                .map(|value| ("http", format!("{name} {value}"))),
        );
    }
    let codes = http["statuscode"].as_array().into_iter().flatten();
    facts.extend(codes.map(|code| ("http", format!("status {code}"))));
    facts.extend(their_tls(session));
    facts.extend(texts(&session["ssh"], "version").map(|banner| ("ssh", banner.to_owned())));
    facts
}

fn their_dns(exchange: &Json) -> Vec<(&'static str, String)> {
    // Names beyond ASCII are decoded there, and kept as they were sent beside.
    let name = texts(exchange, "puny").next().unwrap_or_else(|| text(exchange, "queryHost"));
    let name = if name == "<root>" { "." } else { name };
    let status = if text(exchange, "status") == "NOTIMPL" { "NOTIMP" } else { text(exchange, "status") };
    let mut facts = vec![("dns", format!("{name} {} {status}", text(exchange, "qt")))];
    // All sections of a response are one list there: answers are what belongs to the name, or to a name that it stands for.
    let mut owners = BTreeSet::from([text(exchange, "queryHost")]);
    for answer in exchange["answers"].as_array().into_iter().flatten() {
        if !owners.contains(text(answer, "name")) {
            continue;
        }
        owners.insert(text(answer, "cname"));
        let mut data = ["ip", "cname", "nameserver"].map(|kind| text(answer, kind).to_owned()).to_vec();
        data.extend(
            ["https", "caa"]
                .map(|kind| text(answer, kind).split_once(' ').map_or("", |(_, data)| data).to_owned()),
        );
        data.extend(answer["mx"].as_str().map(|host| format!("{} {host}", answer["priority"])));
        data.extend(texts(answer, "txt").map(str::to_owned));
        data.retain(|data| !data.is_empty());
        facts.extend(data.into_iter().map(|data| ("dns answer", format!("{name} {data}"))));
    }
    facts
}

fn their_tls(session: &Json) -> Vec<(&'static str, String)> {
    let tls = &session["tls"];
    let mut facts: Vec<_> = ["ja3", "ja4"]
        .into_iter()
        .flat_map(|name| texts(tls, name).map(move |value| ("tls", format!("{name} {value}"))))
        .collect();
    facts.extend(texts(tls, "version").map(|version| {
        let version = version.strip_prefix("TLSv").map_or("ssl3".to_owned(), str::to_owned);
        ("tls", format!("version {}", if version == "1" { "1.0".to_owned() } else { version }))
    }));
    // Version, cipher and extensions of the server's hello, in decimal.
    let ciphers = texts(tls, "ja3sstring").filter_map(|hello| hello.split(',').nth(1)?.parse::<u16>().ok());
    facts.extend(ciphers.map(|cipher| ("tls", format!("cipher 0x{cipher:04x}"))));
    for certificate in session["cert"].as_array().into_iter().flatten() {
        facts.extend(texts(certificate, "subjectCN").map(|name| ("certificate", format!("subject {name}"))));
        facts.extend(texts(certificate, "issuerCN").map(|name| ("certificate", format!("issuer {name}"))));
        let expiry = certificate["notAfter"].as_i64().unwrap_or_default() / 1000;
        facts.push(("certificate", format!("expires {expiry}")));
    }
    facts
}

fn without_port(host: &str) -> String {
    let named = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    named.map_or(host, |(name, _)| name).to_lowercase()
}

fn add(facts: &mut Facts, id: &Json, found: Vec<(&'static str, String)>) {
    for (protocol, fact) in found {
        let id = id.as_str().unwrap_or_default().to_owned();
        facts.entry((id, protocol)).or_default().insert(fact);
    }
}

/// How many facts only one of the two has, by protocol.
fn compared(ours: &Facts, theirs: &Facts) -> BTreeMap<&'static str, (usize, usize)> {
    let mut counts = BTreeMap::<_, (usize, usize)>::new();
    let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).cloned().collect();
    for key in keys {
        let [our, mut their] = [ours, theirs].map(|facts| facts.get(&key).cloned().unwrap_or_default());
        if key.1 == "certificate" && !our.is_empty() {
            // We read the first of a chain only.
            their.retain(|fact| our.contains(fact));
        }
        for fact in our.symmetric_difference(&their) {
            let entry = counts.entry(key.1).or_default();
            let which = if our.contains(fact) { &mut entry.0 } else { &mut entry.1 };
            *which += 1;
        }
    }
    counts
}

#[test]
fn messages_say_what_arkime_reads_in_them_or_say_why_not() -> Result<()> {
    let Some(folder) = corpus(ARKIME) else { return Ok(()) };
    let mut differences = Differences::of("messages.tsv");
    let mut same = 0;
    for (name, capture) in captures(&folder) {
        let (mut our, mut their) = (Facts::new(), Facts::new());
        for line in metered(&capture)? {
            add(&mut our, &line["community_id"], ours(&line));
        }
        for session in sessions(&folder.join(&name).with_extension("test"))? {
            add(&mut their, &session["network"]["community_id"], theirs(&session));
        }
        let common = our.iter().filter_map(|(key, facts)| Some(facts.intersection(their.get(key)?).count()));
        same += common.sum::<usize>();
        for (protocol, (only_ours, only_theirs)) in compared(&our, &their) {
            differences.found(format!("{name}\t{protocol}\t{only_ours}\t{only_theirs}"));
        }
    }
    ensure!(same > 500, "only {same} facts in common");
    differences.end();
    Ok(())
}
