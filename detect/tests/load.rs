//! What loading does with files: documents, lines of problems, ids, log sources, filters, references of correlations.

use std::borrow::Cow;

use detect::limits::CHAIN_MAX;
use detect::{Engine, Kind, Problem, Reason, Scratch, Severity, compile};
use event::{Event, LogSource, ParseStatus, TsQuality, Value};

fn event<'a>(source: LogSource<'a>, fields: &[(&'a str, &'a str)]) -> Event<'a> {
    Event {
        ts: 0,
        ts_quality: TsQuality::Event,
        record: 0,
        records: 1,
        log_source: source,
        status: ParseStatus::Parsed,
        message: Cow::Borrowed(""),
        fields_hold_text: false,
        fields: fields
            .iter()
            .map(|(name, value)| (Cow::Borrowed(*name), Value::Text(Cow::Borrowed(value))))
            .collect(),
    }
}

fn linux(service: &str) -> LogSource<'_> {
    LogSource { category: "", product: "linux", service }
}

fn rule(id: &str, service: &str, extra: &str) -> String {
    format!(
        "title: Rule {id}\nid: {id}\nlogsource:\n  product: linux\n  service: {service}\ndetection:\n  s:\n    f: x\n  condition: s\n{extra}"
    )
}

fn ids(engine: &Engine, event: &Event<'_>) -> Vec<String> {
    engine.evaluate(event, &mut Scratch::default()).iter().map(|found| found.rule.id.clone()).collect()
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn reads_metadata() {
    let text = rule(
        "r",
        "sshd",
        "level: high\ndescription: |\n  Two\n  lines\ntags: [attack.initial_access, attack.t1110.001, attack.g0007, cve.2024.1]\nreferences: [https://example.org]\nfalsepositives: [none]\n",
    );
    let (engine, problems) = compile(&[("a.yml", text)]);
    assert_eq!(shown(&problems), [""; 0]);
    let rule = engine.rule("r").unwrap();
    assert_eq!((rule.severity, rule.kind, rule.alerts), (Severity::High, Kind::Detection, true));
    assert_eq!(rule.tactics, ["initial-access"]);
    assert_eq!(rule.techniques, ["T1110.001"]);
    assert_eq!((rule.description.as_str(), rule.path.as_str(), rule.line), ("Two\nlines", "a.yml", 1));
}

#[test]
fn routes_by_log_source_and_knows_the_children_of_auth() {
    let files = [
        ("a.yml", rule("ssh", "sshd", "")),
        ("b.yml", rule("auth", "auth", "")),
        ("c.yml", rule("cron", "cron", "")),
    ];
    let (engine, _) = compile(&files);
    let found = |service| ids(&engine, &event(linux(service), &[("f", "x")]));
    assert_eq!(found("sshd"), ["ssh", "auth"]);
    assert_eq!(found("sudo"), ["auth"]);
    assert_eq!(found("auth"), ["auth"]);
    assert_eq!(found("cron"), ["cron"]);
    assert_eq!(found(""), [""; 0], "what the event does not say is not guessed");
    let execve = LogSource { category: "process_creation", product: "linux", service: "sshd" };
    assert_eq!(ids(&engine, &event(execve, &[("f", "x")])), ["ssh", "auth"]);
}

#[test]
fn reads_documents_one_by_one_with_their_lines() {
    let text = format!(
        "# comment\n---\n{}---\ntitle: bad\nid: bad\nlogsource: {{product: linux}}\ndetection:\n  s:\n    f|nonsense: 1\n  condition: s\n---\n{}",
        rule("one", "sshd", ""),
        rule("two", "sshd", "")
    );
    let (engine, problems) = compile(&[("a.yml", text)]);
    assert_eq!(engine.rules().len(), 2);
    assert_eq!(shown(&problems), ["a.yml:18: bad: Unknown modifier 'nonsense'"]);
    assert_eq!(engine.rule("two").unwrap().line, 20);
}

#[test]
fn follows_global_and_repeat() {
    let text = "action: global\ntitle: G\nlogsource: {product: linux, service: sshd}\ndetection:\n  condition: s\n---\nid: one\ndetection:\n  s: {f: x}\n---\naction: repeat\nid: two\ndetection:\n  s: {f: y}\n---\naction: reset\n---\nid: three\n";
    let (engine, problems) = compile(&[("a.yml", text)]);
    assert_eq!(ids(&engine, &event(linux("sshd"), &[("f", "x")])), ["one"]);
    assert_eq!(ids(&engine, &event(linux("sshd"), &[("f", "y")])), ["two"]);
    assert_eq!(shown(&problems), ["a.yml:17: three: Missing required field 'title'"]);
}

#[test]
fn tells_the_line_of_broken_yaml() {
    let (_, problems) = compile(&[("a.yml", "title: a\nid: x\nlogsource: [\n")]);
    assert_eq!((problems.len(), problems[0].loaded), (1, false));
    assert!(problems[0].line.is_some_and(|line| line >= 3), "{:?}", problems[0]);
    let (_, problems) = compile(&[("a.yml", rule("x", "sshd", "level: urgent\n"))]);
    assert_eq!(problems.iter().map(|problem| problem.loaded).collect::<Vec<_>>(), [true], "{problems:?}");
}

#[test]
fn refuses_the_second_of_an_id_or_a_name() {
    let files = [
        ("a.yml", rule("one", "sshd", "name: n\n")),
        ("b.yml", rule("one", "sshd", "")),
        ("c.yml", rule("two", "sshd", "name: n\n")),
    ];
    let (engine, problems) = compile(&files);
    assert_eq!(engine.rules().len(), 1);
    assert_eq!(
        shown(&problems),
        [
            "b.yml:2: one: the id `one` stands already in a.yml:1",
            "c.yml:10: two: the name `n` stands already in a.yml:1"
        ]
    );
}

#[test]
fn refuses_rules_without_a_log_source_and_of_a_newer_sigma() {
    let text = "title: t\nid: t\ndetection:\n  s: {f: x}\n  condition: s\n";
    assert_eq!(compile(&[("a.yml", text)]).1[0].reason, Reason::NoLogSource);
    let (_, problems) = compile(&[("a.yml", rule("t", "sshd", "sigma-version: 3\n"))]);
    assert_eq!(problems[0].reason, Reason::Version { major: 3 });
}

#[test]
fn puts_filters_on_the_rules_they_name() {
    let filter = |rules: &str, service: &str| {
        format!(
            "title: F\nlogsource:\n  product: linux\n  service: {service}\nfilter:\n  rules: {rules}\n  s:\n    user: admin\n  condition: not s\n"
        )
    };
    let run = |filter: String| {
        let files = [
            ("a.yml", rule("one", "sshd", "name: first\n")),
            ("b.yml", rule("two", "sshd", "")),
            ("f.yml", filter),
        ];
        let (engine, problems) = compile(&files);
        (ids(&engine, &event(linux("sshd"), &[("f", "x"), ("user", "admin")])), shown(&problems))
    };
    assert_eq!(run(filter("[one]", "sshd")), (vec!["two".to_owned()], vec![]));
    assert_eq!(run(filter("[first]", "sshd")), (vec!["two".to_owned()], vec![]));
    assert_eq!(run(filter("any", "sshd")), (vec![], vec![]));
    let (found, problems) = run(filter("[one]", "cron"));
    assert_eq!((found.len(), problems.len()), (2, 1), "{problems:?}");
    let (_, problems) = run(filter("[gone]", "sshd"));
    assert_eq!(problems, ["f.yml:6: F: the rule `gone` that it refers to is not loaded"]);
}

fn correlation(id: &str, rules: &str, rest: &str) -> String {
    format!(
        "title: C {id}\nid: {id}\ncorrelation:\n  type: event_count\n  rules: {rules}\n  group-by: [user]\n  timespan: 5m\n  condition: {{gte: 2}}\n{rest}"
    )
}

#[test]
fn material_of_a_correlation_does_not_alert_unless_it_says_so() {
    let run = |rest: &str| {
        let (engine, problems) =
            compile(&[("a.yml", rule("base", "sshd", "")), ("c.yml", correlation("c", "[base]", rest))]);
        assert_eq!(shown(&problems), [""; 0]);
        engine.rules().iter().map(|rule| rule.alerts).collect::<Vec<_>>()
    };
    assert_eq!(run(""), [false, true]);
    assert_eq!(run("generate: true\n"), [true, true]);
}

#[test]
fn resolves_chains_in_any_order_and_names_what_is_missing() {
    let base = ("z.yml", rule("base", "sshd", ""));
    let files = [
        ("a.yml", correlation("top", "[middle]", "")),
        ("b.yml", correlation("middle", "[base]", "")),
        base.clone(),
    ];
    let (engine, problems) = compile(&files);
    assert_eq!((engine.count(Kind::Correlation), problems.len()), (2, 0), "{problems:?}");
    let files =
        [("a.yml", correlation("top", "[middle]", "")), ("b.yml", correlation("middle", "[top]", "")), base];
    let (engine, problems) = compile(&files);
    assert_eq!(engine.count(Kind::Correlation), 0);
    assert_eq!(engine.rules().len(), 1);
    let circle = |reference: &str| format!("correlation: `{reference}` stands, through others, on itself");
    assert_eq!(
        problems.iter().map(|problem| problem.reason.to_string()).collect::<Vec<_>>(),
        [circle("middle"), circle("top")]
    );
}

#[test]
fn tells_a_chain_that_is_too_long_from_what_is_missing() {
    let link = |number: usize| {
        let below = if number == 1 { "base".to_owned() } else { format!("c{}", number - 1) };
        (format!("{number}.yml"), correlation(&format!("c{number}"), &format!("[{below}]"), ""))
    };
    let chain = |base: &str| {
        let base = ("0.yml".to_owned(), rule(base, "sshd", ""));
        let (engine, problems) = compile(&std::iter::once(base).chain((1..=7).map(link)).collect::<Vec<_>>());
        (engine.count(Kind::Correlation), shown(&problems))
    };
    let (loaded, problems) = chain("base");
    assert_eq!(loaded, CHAIN_MAX + 1);
    let expected = [
        "6.yml:5: c6: correlation: it stands on a chain of more than 4 correlations",
        "7.yml:5: c7: the rule `c6` that it refers to is not loaded",
    ];
    assert_eq!(problems, expected);
    let (loaded, problems) = chain("other");
    assert_eq!((loaded, problems.len()), (0, 7));
    assert_eq!(problems[6], "7.yml:5: c7: the rule `c6` that it refers to is not loaded");
}

/// What is said of a document that is refused, and changes nothing of a rule beside it.
fn refused(text: &str) -> String {
    let (engine, problems) = compile(&[("a.yml", rule("base", "sshd", "")), ("c.yml", text.to_owned())]);
    let matched = ids(&engine, &event(linux("sshd"), &[("f", "x"), ("user", "admin")]));
    assert_eq!((engine.rules().len(), matched.as_slice()), (1, &["base".to_owned()][..]), "{text}");
    shown(&problems).join("\n")
}

/// The parser puts all of these on every rule.
#[test]
fn refuses_filters_that_name_no_rule() {
    for (rules, line, found) in [
        ("", 3, "nothing"),
        ("  rule: [base]\n", 3, "nothing"),
        ("  rules: []\n", 4, "an empty list"),
        ("  rules: [1234]\n", 4, "a list"),
        ("  rules: [base, 1234]\n", 4, "a list"),
        ("  rules: 1234\n", 4, "1234"),
    ] {
        let told = refused(&format!(
            "title: F\nlogsource: {{product: linux}}\nfilter:\n{rules}  s: {{user: admin}}\n  condition: not s\n"
        ));
        let expected = "`filter.rules`: expected a list of ids or names of rules, or `any`, found";
        assert_eq!(told, format!("c.yml:{line}: F: {expected} {found}"), "{rules}");
    }
    let newer = "title: F\nsigma-version: 3\nlogsource: {product: linux}\nfilter: {rules: any, s: {user: admin}, condition: not s}\n";
    assert_eq!(refused(newer), "c.yml:2: F: the rule targets Sigma 3, this engine knows up to 2");
}

/// The parser compares with the text of a map, and takes a name that is no text for none.
#[test]
fn refuses_maps_for_values_and_names_that_are_no_text() {
    let value =
        "expected text (in quotes if it has `: ` in it), a number, true, false, null or a list of these";
    let field = "expected the name of a field in quotes";
    for (written, line, key, expected, found) in [
        ("    f: {endswith: x}\n", 5, "s.f", value, "a map"),
        ("    f|re:\n    - net user: x\n    - y\n", 5, "s.f|re", value, "a map or a list in the list"),
        ("    f: [[a, b]]\n", 5, "s.f", value, "a map or a list in the list"),
        ("  - g: y\n  - f: !x y\n", 6, "s.f", value, "a tag"),
        ("    4624: x\n", 5, "s.4624", field, "4624"),
        ("    f: x\n  5: {g: x}\n", 6, "5", "expected a name in quotes", "5"),
    ] {
        let told = refused(&format!(
            "title: R\nlogsource: {{product: linux}}\ndetection:\n  s:\n{written}  condition: s\n"
        ));
        assert_eq!(told, format!("c.yml:{line}: R: `detection.{key}`: {expected}, found {found}"));
    }
    let source =
        "title: R\nlogsource: {product: linux, service: [sshd]}\ndetection: {s: {f: x}, condition: s}\n";
    assert_eq!(refused(source), "c.yml:2: R: `logsource.service`: expected text, found a list");
    let generate =
        "title: R\ngenerate: 7\nlogsource: {product: linux}\ndetection: {s: {f: x}, condition: s}\n";
    assert_eq!(refused(generate), "c.yml:2: R: `generate`: expected true or false, found 7");
    let keyword = "title: R\nlogsource: {product: linux}\ndetection:\n  s: !x y\n  condition: s\n";
    assert!(refused(keyword).contains("found a tag"), "{}", refused(keyword));
}

/// It goes by its title then, and nobody finds it by the number.
#[test]
fn tells_an_id_that_is_no_text() {
    let named = rule("n", "sshd", "name: 7\n");
    let (_, problems) = compile(&[("a.yml", named)]);
    assert_eq!(shown(&problems), ["a.yml:10: n: `name`: expected text in quotes, found 7"]);
    let numbered = rule("r", "sshd", "").replace("id: r", "id: 4711");
    let (engine, problems) = compile(&[("a.yml", numbered)]);
    assert_eq!(
        (shown(&problems), problems[0].loaded),
        (vec!["a.yml:2: 4711: `id`: expected text in quotes, found 4711".to_owned()], true)
    );
    assert_eq!(ids(&engine, &event(linux("sshd"), &[("f", "x")])), ["Rule r"]);
    let (_, problems) = compile(&[("a.yml", rule("r", "sshd", "").replace("id: r", "id:"))]);
    assert_eq!(shown(&problems), [""; 0]);
}

/// The parser leaves all of these out.
#[test]
fn refuses_keys_of_correlations_that_would_be_left_out() {
    for (written, expected) in [
        (
            "  group_by: [user]\n",
            "5: C: `correlation.group_by` is unknown: expected one of type, rules, group-by,",
        ),
        ("  group-by: [1]\n", "5: C: `correlation.group-by`: expected text or a list of texts, found a list"),
        (
            "  aliases: {who: user}\n",
            "5: C: `correlation.aliases.who`: expected a map of rules to the names of",
        ),
        ("generate: 'yes'\n", "5: C: `generate`: expected true or false, found yes"),
    ] {
        let told = refused(&format!(
            "title: C\ncorrelation:\n  type: event_count\n  rules: [base]\n{written}{}",
            if written.starts_with(' ') { "  timespan: 5m\n  condition: {gte: 2}\n" } else { "" }
        ));
        assert!(told.starts_with(&format!("c.yml:{expected}")), "{told}");
    }
    let temporal = |condition: &str| {
        let (_, problems) = compile(&[
            ("a.yml", rule("base", "sshd", "")),
            (
                "c.yml",
                format!(
                    "title: C\ncorrelation:\n  type: temporal\n  rules: [base]\n  timespan: 5m\n{condition}"
                ),
            ),
        ]);
        shown(&problems).join("\n")
    };
    let told = temporal("  condition: {gte: 1}\n");
    assert!(told.starts_with("c.yml:6: C: `correlation.condition.gte`: expected 2 or more:"), "{told}");
    for condition in ["", "  condition: {gte: 1, lte: 1}\n", "  condition: base\n"] {
        assert_eq!(temporal(condition), "", "{condition}");
    }
    for (timespan, condition, expected) in [
        (
            "300",
            "gte: 2",
            "`correlation.timespan`: expected a number and its unit such as 90s, 5m, 1h or 1d, found 300",
        ),
        ("5m", "gte: 2, filed: user", "`correlation.condition.filed` is unknown: expected one of gt, gte,"),
        ("5m", "gte: 1.5", "`correlation.condition.gte`: expected a whole number, found 1.5"),
    ] {
        let told = refused(&format!(
            "title: C\ncorrelation:\n  type: event_count\n  rules: [base]\n  timespan: {timespan}\n  condition: {{{condition}}}\n"
        ));
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn refuses_correlations_it_would_misread() {
    let run = |text: &str| {
        let (engine, problems) = compile(&[
            ("a.yml", rule("base", "sshd", "")),
            ("c.yml", format!("title: C\nid: c\ncorrelation:\n{text}")),
        ]);
        assert_eq!(engine.count(Kind::Correlation), 0, "{text}");
        problems[0].to_string()
    };
    let common = "  rules: [base]\n  group-by: [user]\n";
    for (kind, condition, reason) in [
        ("value_sum", "gte: 2", "needs one `field`"),
        ("value_avg", "gte: 2, field: [x, y]", "needs one `field`"),
        ("value_avg", "gte: 1.5, field: x", "1.5"),
        ("value_median", "gte: 2, field: x, percentile: 50", "only value_percentile has a `percentile`"),
        ("value_percentile", "gte: 2, field: x", "needs a `percentile`"),
        ("value_percentile", "gte: 2, field: x, percentile: 101", "needs a `percentile`"),
        ("value_percentile", "gte: 2, field: x, percentile: 99.9", "needs a `percentile`"),
        ("event_count", "gte: 2, field: x", "for types that count or measure values"),
        ("event_count", "gte: -1", "the threshold -1 is not from 0 to below 10000"),
        ("event_count", "lt: 1", "no count meets its condition"),
        ("event_count", "gte: 5, lte: 3", "no count meets its condition"),
    ] {
        let problem = run(&format!("{common}  type: {kind}\n  timespan: 5m\n  condition: {{{condition}}}\n"));
        assert!(problem.contains(reason), "{kind}, {condition}: {problem}");
    }
    assert!(
        run(&format!("{common}  type: value_count\n  timespan: 5m\n  condition: {{gte: 2}}\n"))
            .contains("needs a `field`")
    );
    assert!(
        run(&format!("{common}  type: event_count\n  timespan: 5m\n  condition: {{gte: 20000}}\n"))
            .contains("the threshold 20000")
    );
    assert!(
        run(&format!("{common}  type: event_count\n  timespan: 2M\n  condition: {{gte: 2}}\n"))
            .contains("timespan 2M")
    );
    assert!(
        run("  rules: [base, base]\n  type: temporal\n  group-by: [user]\n  timespan: 5m\n")
            .contains("twice")
    );
    let alias = "  rules: [base]\n  type: event_count\n  group-by: [who]\n  aliases:\n    who:\n      other: user\n  timespan: 5m\n  condition: {gte: 2}\n";
    assert!(run(alias).contains("alias `who`"));
}
