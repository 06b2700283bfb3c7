//! The life of an alert as people are told of it: a line that an exception expects, one under a silence, one that is told by
//! webhook, mail and a chat service; a receiver that fails and one that takes nothing; a restart; a flood; a priority that
//! rises; what is due of it.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::receivers::{HttpReceiver, MailReceiver, Request};
use crate::site::{self, Site, present, until};

const SYSTEMS: &str = r#"
[[organisation]]
id = "province"
name = "UBND tỉnh"

[[system]]
id = "portal"
name = "Cổng dịch vụ công"
owner = "province"
operator = "province"
hosts = ["web01"]

[system.level]
approved = 3
decision = "QĐ 100/QĐ-UBND"
date = "2024-05-02"
authority = "UBND tỉnh"
basis = "NĐ 85/2016/NĐ-CP, điều 9.2.a"
"#;

/// The rule that the lines of this test match.
const RULE: &str = "91d3a3cf-b9eb-45f5-988e-cfef19438f19";
const HOOK_SECRET: &str = "hook-s3cr3t";
const CHAT_SECRET: &str = "123:chat-s3cr3t";
/// Told, expected, silenced, and one for each step behind.
const TOLD: &str = "192.0.2.40";
const EXPECTED: &str = "192.0.2.50";
const SILENCED: &str = "192.0.2.60";
const AFTER_RESTART: &str = "192.0.2.70";

const WAIVERS: &str = r#"
[[exception]]
id = "scanner"
owner = "Lan"
reason = "quét định kỳ"
expires = "2099-01-01"
rules = ["91d3a3cf-b9eb-45f5-988e-cfef19438f19"]
addresses = ["192.0.2.50"]

[[exception]]
id = "old"
owner = "Lan"
reason = "was true once"
expires = "2020-01-01"
rules = ["gone", "91d3a3cf-b9eb-45f5-988e-cfef19438f19"]

[[silence]]
id = "maintenance"
owner = "Lan"
reason = "bảo trì"
expires = "2099-01-01"
addresses = ["192.0.2.60"]
"#;

/// The receivers of all targets.
struct Receivers {
    hook: HttpReceiver,
    chat: HttpReceiver,
    dead: HttpReceiver,
    mail: MailReceiver,
}

impl Receivers {
    fn start() -> Result<Self> {
        let (hook, chat, dead) = (HttpReceiver::start(2)?, HttpReceiver::start(0)?, HttpReceiver::start(0)?);
        dead.answer(500);
        Ok(Self { hook, chat, dead, mail: MailReceiver::start()? })
    }

    fn configuration(&self) -> String {
        format!(
            r#"
[notifications]
attempts_max = 3
retry_first_ms = 20
retry_max_ms = 40

[[notifications.targets]]
name = "hook"
interval_s = 0
webhook = {{ url = "http://127.0.0.1:{}/in", secret_file = "hook.secret" }}

[[notifications.targets]]
name = "dead"
priority = "P3"
organisations = ["UBND tỉnh"]
interval_s = 0
lang = "en"
webhook = {{ url = "http://127.0.0.1:{}/" }}

[[notifications.targets]]
name = "mail"
priority = "P3"
systems = ["portal"]
interval_s = 0
mail = {{ server = "127.0.0.1", port = {}, tls = "none", from = "Vọng Gác <soc@example.vn>", to = ["lan@example.vn", "ca.truc@example.vn"] }}

[[notifications.targets]]
name = "chat"
drills = true
interval_s = 0
[notifications.targets.http]
url = "http://127.0.0.1:{}/bot{{secret}}/sendMessage"
secret_file = "chat.secret"
body = '{{"chat_id": "1", "parse_mode": "HTML", "text": "{{text}}"}}'
text = "html"
"#,
            self.hook.port, self.dead.port, self.mail.port, self.chat.port
        )
    }
}

/// A site whose collector tells them.
fn site_with(receivers: &Receivers) -> Result<Site> {
    let mut site = Site::start(SYSTEMS)?;
    fs::write(site.path("hook.secret"), format!("{HOOK_SECRET}\n"))?;
    fs::write(site.path("chat.secret"), format!("{CHAT_SECRET}\n"))?;
    fs::create_dir(site.path("exceptions"))?;
    // As far ahead as is allowed.
    let last_day = jiff::Zoned::now().date().checked_add(jiff::Span::new().days(300))?;
    fs::write(site.path("exceptions/a.toml"), WAIVERS.replace("2099-01-01", &last_day.to_string()))?;
    let path = site.path("vonggac.toml");
    let configuration = fs::read_to_string(&path)?;
    fs::write(&path, format!("exceptions = \"exceptions\"\n{configuration}{}", receivers.configuration()))?;
    site.end_collector()?;
    site.start_collector()?;
    Ok(site)
}

/// A line that the rule matches, of a user whose name tries everything that fits into one.
fn attack(address: &str) -> String {
    let now = jiff::Timestamp::now().strftime("%d/%b/%Y:%H:%M:%S +0000");
    format!("{address} - <b>x</b>\"&'{{secret}} [{now}] \"GET /a?q=1;id HTTP/1.1\" 200 12 \"-\" \"x\"\n")
}

fn append(site: &Site, lines: &[String]) -> Result<()> {
    let mut file = fs::File::options().create(true).append(true).open(site.path("access.log"))?;
    Ok(file.write_all(lines.concat().as_bytes())?)
}

/// The addresses of a webhook's message.
fn entities(request: &Request) -> Result<Vec<String>> {
    let json = request.json()?;
    let alerts = json["alerts"].as_array().context("alerts")?;
    Ok(alerts.iter().filter_map(|alert| Some(alert["entity"].as_str()?.to_owned())).collect())
}

/// What a script prints that reads `input`.
fn python(script: &str, input: &str) -> Result<String> {
    let mut child = Command::new("python3")
        .args(["-c", script])
        .env("PYTHONUTF8", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{script}: {output:?}");
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// How the messages to a target ended, in the order of their attempts.
fn outcomes(site: &Site, target: &str) -> Result<String> {
    site.query(&format!(
        "SELECT arrayStringConcat(groupArray(outcome), ' ') FROM \
            (SELECT outcome FROM notifications WHERE target = '{target}' AND outcome != 'begun' ORDER BY at)"
    ))
}

fn until_outcomes(site: &Site, target: &str, expected: &str) -> Result<()> {
    until(&format!("{target}: {expected}"), || Ok((outcomes(site, target)? == expected).then_some(())))
}

fn until_told(site: &Site, target: &str, alerts: u64) -> Result<()> {
    let sql = format!(
        "SELECT uniqExact(arrayJoin(alerts)) FROM notifications WHERE target = '{target}' AND outcome = 'sent'"
    );
    until(&format!("{target}: {alerts} told"), || Ok((site.number(&sql)? == alerts).then_some(())))
}

fn listed(site: &Site, arguments: &[&str]) -> Result<Vec<Value>> {
    let text = site.run(&[arguments, &["--format", "json"]].concat())?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn an_alert_is_expected_silenced_told_or_given_up() -> Result<()> {
    if !site::engine_present("notifications") || !present("python3", "python3", "notifications") {
        return Ok(());
    }
    let receivers = Receivers::start()?;
    let mut site = site_with(&receivers)?;
    let source = format!(
        "[[source]]\npaths = [\"{}\"]\nformat = \"web\"\nstart = \"beginning\"\n",
        site.path("access.log")
    );
    append(&site, &[EXPECTED, SILENCED, TOLD].map(attack))?;
    let _agent = site.agent("web01", &source)?;

    comes_signed_behind_two_failures(&site, &receivers.hook)?;
    is_mailed_in_vietnamese(&receivers)?;
    is_escaped_for_a_chat(&receivers.chat)?;
    is_given_up_and_sent_again(&site, &receivers.dead)?;
    is_expected(&site)?;
    is_silenced_until_the_silence_is_over(&site, &receivers)?;
    is_told_after_a_restart(&mut site, &receivers)?;
    a_flood_is_one_message_by_the_filters_of_each(&site, &receivers)?;
    a_priority_that_rises_is_told(&site, &receivers)?;
    has_its_clocks(&site)?;
    a_person_tries_a_way(&site, &receivers)?;
    no_secret_is_anywhere(&mut site)
}

/// Three requests with one message; who has the secret can tell that each is ours.
fn comes_signed_behind_two_failures(site: &Site, hook: &HttpReceiver) -> Result<()> {
    let requests = [hook.next()?, hook.next()?, hook.next()?];
    let first = &requests[0];
    for request in &requests {
        assert_eq!(request.path, "/in");
        assert_eq!(request.header("content-type")?, "application/json");
        assert_eq!(request.header("x-vonggac-message")?, first.header("x-vonggac-message")?);
        assert_eq!(entities(request)?, [TOLD]);
        let signed = format!("{}.{}", request.header("x-vonggac-timestamp")?, request.body);
        let script = format!(
            "import hmac,sys; print(hmac.new(b'{HOOK_SECRET}', sys.stdin.buffer.read(), 'sha256').hexdigest())"
        );
        assert_eq!(request.header("x-vonggac-signature")?, format!("sha256={}", python(&script, &signed)?));
    }
    let json = first.json()?;
    let alert = &json["alerts"][0];
    assert_eq!((&json["count"], &json["not_listed"], &json["test"]), (&json!(1), &json!(0), &json!(false)));
    assert_eq!((&alert["system_name"], &alert["sys_level"]), (&json!("Cổng dịch vụ công"), &json!(3)));
    until_outcomes(site, "hook", "failed failed sent")?;
    let told = &listed(site, &["notifications", "--target", "hook"])?[0];
    assert_eq!((&told["status"], &told["attempts"]), (&json!("sent"), &json!(3)));
    Ok(())
}

/// As another program reads the mail. No header is there that is not ours.
fn is_mailed_in_vietnamese(receivers: &Receivers) -> Result<()> {
    let mail = receivers.mail.next()?;
    assert_eq!(
        mail.envelope.iter().map(|line| line.split(' ').next().unwrap_or_default()).collect::<Vec<_>>(),
        ["MAIL", "RCPT", "RCPT"]
    );
    assert!(
        mail.text.lines().take_while(|line| !line.is_empty()).all(|line| line.is_ascii()),
        "{}",
        mail.text
    );
    let script = "import email,email.policy,json,sys; \
        m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default); \
        print(json.dumps({'names': sorted(m.keys()), 'subject': m['subject'], 'from': m['from'], 'body': m.get_content()}))";
    let read: Value = serde_json::from_str(&python(script, &mail.text)?)?;
    assert_eq!(
        read["names"],
        json!([
            "Content-Transfer-Encoding",
            "Content-Type",
            "Date",
            "From",
            "MIME-Version",
            "Message-ID",
            "Subject",
            "To"
        ])
    );
    assert_eq!(read["from"], "Vọng Gác <soc@example.vn>");
    assert_eq!(read["subject"], "[P2] Command injection in a web request: Cổng dịch vụ công");
    let body = read["body"].as_str().context("a body")?;
    for part in
        ["hệ thống: Cổng dịch vụ công (cấp độ 3)", "tài khoản: <b>x</b>\"&'{secret}", "địa chỉ: 192.0.2.40"]
    {
        assert!(body.contains(part), "{part:?} in\n{body}");
    }
    Ok(())
}

fn is_escaped_for_a_chat(chat: &HttpReceiver) -> Result<()> {
    let request = chat.next()?;
    assert_eq!(request.path, format!("/bot{CHAT_SECRET}/sendMessage"));
    let json = request.json()?;
    assert_eq!(json.as_object().context("an object")?.len(), 3);
    let text = json["text"].as_str().context("a text")?;
    assert!(text.contains("tài khoản: &lt;b&gt;x&lt;/b&gt;&quot;&amp;&#39;{secret}\n"), "{text}");
    assert!(!text.contains('<'), "{text}");
    Ok(())
}

fn is_given_up_and_sent_again(site: &Site, dead: &HttpReceiver) -> Result<()> {
    until_outcomes(site, "dead", "failed failed gave_up")?;
    let metrics = site.metrics()?;
    let counted = "vonggac_notification_messages_total{outcome=\"gave_up\",target=\"dead\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    let given_up = listed(site, &["notifications", "--status", "gave_up"])?;
    assert_eq!(given_up.len(), 1);
    assert_eq!(
        (&given_up[0]["target"], &given_up[0]["detail"]),
        (&json!("dead"), &json!("500 Internal Server Error said"))
    );
    let tried = [dead.next()?, dead.next()?, dead.next()?];
    assert!(dead.rest().is_empty(), "nobody tries again unasked");
    dead.answer(204);
    let said = site.run(&["notifications", "retry", &tried[0].header("x-vonggac-message")?[..8]])?;
    assert!(said.starts_with("is tried again: "), "{said}");
    let again = dead.next()?;
    assert_eq!(again.header("x-vonggac-message")?, tried[0].header("x-vonggac-message")?);
    assert_eq!(entities(&again)?, [TOLD]);
    until_outcomes(site, "dead", "failed failed gave_up retry sent")?;
    assert_eq!(site.vonggac(&["notifications", "retry", "ffffffff"])?.status.code(), Some(1));
    Ok(())
}

/// No alert, and yet nothing has vanished.
fn is_expected(site: &Site) -> Result<()> {
    let alerts = listed(site, &["alerts"])?;
    let mut whose: Vec<&str> = alerts.iter().filter_map(|alert| alert["entity"].as_str()).collect();
    whose.sort_unstable();
    assert_eq!(whose, [TOLD, SILENCED]);
    // A drill that is expected as well is counted, and makes no exception look used.
    site.query(
        "INSERT INTO excepted_hits SELECT * REPLACE ('d' AS drill_id, 'range' AS agent) FROM excepted_hits",
    )?;
    let waivers = listed(site, &["exceptions", "list"])?;
    let of = |id: &str| waivers.iter().find(|waiver| waiver["id"] == id).context("it is listed");
    assert_eq!((&of("scanner")?["swallowed"], &of("scanner")?["status"]), (&json!(1), &json!("in force")));
    assert_eq!((&of("maintenance")?["swallowed"], &of("old")?["status"]), (&json!(1), &json!("expired")));
    assert_eq!(
        site.number("SELECT count() FROM events WHERE has(rules, '91d3a3cf-b9eb-45f5-988e-cfef19438f19')")?,
        3
    );
    assert!(site.metrics()?.contains("vonggac_exception_hits_total{exception=\"scanner\"} 1"));
    let check = site.vonggac(&["exceptions", "check"])?;
    let said = String::from_utf8(check.stdout)?;
    assert_eq!(check.status.code(), Some(1), "{said}");
    for part in [
        "a.toml:15:10: exception \"old\": rules: expected the id of a rule that is loaded, found \"gone\"",
        "exception \"old\": has expired and has no effect",
        "2 exceptions and 1 silence loaded, 2 findings",
    ] {
        assert!(said.contains(part), "{part:?} in\n{said}");
    }
    assert!(!said.contains(RULE), "a rule that is there: {said}");
    Ok(())
}

/// Once it is gone, the next hit is told with all that the alert has.
fn is_silenced_until_the_silence_is_over(site: &Site, receivers: &Receivers) -> Result<()> {
    let silenced = |alerts: &[Value]| alerts.iter().filter(|alert| alert["silence"] == "maintenance").count();
    assert_eq!(silenced(&listed(site, &["alerts"])?), 1);
    assert!(receivers.hook.rest().is_empty(), "nobody was notified");
    let path = site.path("exceptions/a.toml");
    let waivers = fs::read_to_string(&path)?;
    let without = waivers.split("[[silence]]").next().context("the exceptions")?;
    fs::write(&path, without)?;
    site.hang_up()?;
    until("the silence is gone", || {
        Ok(site.metrics()?.contains("vonggac_exception_loaded_count{kind=\"silence\"} 0").then_some(()))
    })?;
    append(site, &[attack(SILENCED)])?;
    let told = receivers.hook.next()?;
    assert_eq!(entities(&told)?, [SILENCED]);
    assert_eq!(told.json()?["alerts"][0]["hits"], 2);
    assert_eq!(silenced(&listed(site, &["alerts"])?), 0);
    until_outcomes(site, "hook", "failed failed sent sent")
}

/// An alert of which nobody could be told before the collector was killed.
fn is_told_after_a_restart(site: &mut Site, receivers: &Receivers) -> Result<()> {
    receivers.hook.answer(503);
    append(site, &[attack(AFTER_RESTART)])?;
    assert_eq!(entities(&receivers.hook.next()?)?, [AFTER_RESTART]);
    site.kill_collector()?;
    // What had come before the kill.
    receivers.hook.rest();
    receivers.hook.answer(200);
    site.start_collector()?;
    let given_up = outcomes(site, "hook")?.ends_with("gave_up");
    if given_up {
        // All three attempts were made before the kill.
        site.run(&["notifications", "retry", "--all"])?;
    }
    assert_eq!(entities(&receivers.hook.next()?)?, [AFTER_RESTART]);
    until_told(site, "hook", 3)
}

/// 300 alerts at once, of which some are a drill's and some are not urgent.
fn a_flood_is_one_message_by_the_filters_of_each(site: &Site, receivers: &Receivers) -> Result<()> {
    // All that went before is told.
    for target in ["dead", "chat", "mail"] {
        until_told(site, target, 3)?;
    }
    receivers.dead.rest();
    receivers.chat.rest();
    site.query(
        "INSERT INTO alerts (id, version, rule_title, severity, priority, system_id, system_name, organisation, host, entity, hits, \
            first_seen, last_seen, created_at, drill_id) \
        SELECT hex(number), toUnixTimestamp64Micro(now64(6)), 'flood', 'high', if(number < 200, 'P1', 'P4'), 'portal', \
            'Cổng dịch vụ công', 'UBND tỉnh', 'web01', 'x', 1, now64(6), now64(6), now64(6), if(number < 50, 'd', '') \
        FROM numbers(300)",
    )?;
    // The collector's own writing rings; this hit joins an alert that was told.
    append(site, &[attack(TOLD)])?;
    let of = |request: Request| -> Result<(u64, u64, u64)> {
        let json = request.json()?;
        let number = |value: &Value| value.as_u64().context("a number");
        let listed = json["alerts"].as_array().context("alerts")?.len();
        Ok((number(&json["count"])?, number(&json["not_listed"])?, u64::try_from(listed)?))
    };
    assert_eq!(of(receivers.hook.next()?)?, (250, 230, 20), "all but the drill's");
    assert_eq!(of(receivers.dead.next()?)?, (150, 130, 20), "P1 to P3");
    let chat = receivers.chat.next()?.json()?;
    let text = chat["text"].as_str().context("a text")?;
    assert!(text.starts_with("[P1] [diễn tập] 300 cảnh báo: 200 P1, 100 P4\n"), "{text}");
    assert!(text.contains("cảnh báo nữa"), "{text}");
    Ok(())
}

/// An alert that was told of is told of again, and once.
fn a_priority_that_rises_is_told(site: &Site, receivers: &Receivers) -> Result<()> {
    site.query(
        "INSERT INTO alerts SELECT * REPLACE ('P2' AS priority, version + 1 AS version) FROM alerts FINAL WHERE id = hex(250)",
    )?;
    append(site, &[attack(TOLD)])?;
    let told = receivers.hook.next()?.json()?;
    assert_eq!((&told["count"], &told["alerts"][0]["priority"]), (&json!(1), &json!("P2")));
    assert_eq!(told["alerts"][0]["id"], "FA");
    Ok(())
}

/// What is due of the alert that was told, before and after somebody looked at it.
fn has_its_clocks(site: &Site) -> Result<()> {
    let told = || -> Result<Value> {
        let alerts = listed(site, &["alerts", "--rule", RULE])?;
        alerts.into_iter().find(|alert| alert["entity"] == TOLD).context("it is listed")
    };
    let before = told()?;
    assert_eq!(before["next_step"], "acknowledge");
    assert!(before["next_due"].as_str() > before["created_at"].as_str(), "{before}");
    let id = before["id"].as_str().context("an id")?;
    assert_eq!(site.vonggac(&["alert", "ack", id])?.status.code(), Some(0));
    assert_eq!(told()?["next_step"], "contain");
    Ok(())
}

fn a_person_tries_a_way(site: &Site, receivers: &Receivers) -> Result<()> {
    assert_eq!(site.run(&["notifications", "test", "hook"])?, "taken: 200 OK said\n");
    assert_eq!(receivers.hook.next()?.json()?["test"], true);
    receivers.chat.answer(400);
    let refused = site.vonggac(&["notifications", "test", "chat"])?;
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(String::from_utf8(refused.stdout)?, "NOT taken: 400 Bad Request said\n");
    let unknown = site.vonggac(&["notifications", "test", "nobody"])?;
    assert!(String::from_utf8(unknown.stderr)?.contains("there are: hook, dead, mail, chat"));
    Ok(())
}

fn no_secret_is_anywhere(site: &mut Site) -> Result<()> {
    let stored = site.query("SELECT groupArray(detail) FROM notifications")?;
    site.end_collector()?;
    let log = fs::read_to_string(site.path("collector.log"))?;
    assert!(log.contains("not notified"), "{log}");
    for secret in [HOOK_SECRET, CHAT_SECRET] {
        assert!(!log.contains(secret) && !stored.contains(secret), "{secret}");
    }
    Ok(())
}
