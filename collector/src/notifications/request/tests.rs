//! Filling of templates, escaping, signing.

use super::*;
use crate::notifications::message::Alert;

/// An alert whose texts try everything.
fn hostile() -> Message {
    let alert = Alert {
        id: "ab".repeat(16),
        priority: "P1".to_owned(),
        rule_title: "Đăng nhập <b>lạ</b>".to_owned(),
        host: "web01".to_owned(),
        user: "{secret}\"}\r\nBcc: x@y <script>&'".to_owned(),
        hits: 3,
        ..Alert::default()
    };
    Message::new("t", vec![alert], 1_787_150_000_000_000)
}

fn web(form: Form) -> Web {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "s3cr3t\n").unwrap();
    Web {
        client: client(None).unwrap(),
        target: "t".to_owned(),
        uri: "http://127.0.0.1/".parse().unwrap(),
        headers: Vec::new(),
        secret: Some(Secret::read(&path).unwrap()),
        lang: Lang::Vi,
        form,
    }
}

#[test]
fn fills_a_template_once_and_leaves_other_braces_alone() {
    let values = [("a", "{b}".to_owned()), ("b", "2".to_owned())];
    assert_eq!(filled("{a}{b} {c} {", &values), "{b}2 {c} {");
    assert_eq!(filled(r#"{"x": "{a}"}"#, &values), r#"{"x": "{b}"}"#);
}

#[test]
fn hostile_text_stays_text_in_html_in_json() {
    let body = r#"{"chat_id": "1", "parse_mode": "HTML", "text": "{text}"}"#.to_owned();
    let web = web(Form::Template { body, content: Content::Json, text: TextForm::Html });
    let json: serde_json::Value = serde_json::from_str(&web.body(&hostile())).unwrap();
    assert_eq!(json.as_object().unwrap().len(), 3);
    let text = json["text"].as_str().unwrap();
    assert!(text.contains("[P1] Đăng nhập &lt;b&gt;lạ&lt;/b&gt;: web01"), "{text}");
    assert!(text.contains(r"{secret}&quot;}\r\nBcc: x@y &lt;script&gt;&amp;&#39;"), "{text}");
    assert!(!text.contains('<') && !text.contains("s3cr3t"), "{text}");
}

#[test]
fn json_of_ours_gives_hostile_text_back_and_counts_what_it_does_not_list() {
    let alert = hostile().alerts[0].clone();
    let message = Message::new("t", vec![alert; 50], 0);
    let json: serde_json::Value = serde_json::from_str(&web(Form::Webhook).body(&message)).unwrap();
    assert_eq!(json["alerts"][0]["user"], "{secret}\"}\r\nBcc: x@y <script>&'");
    assert_eq!(json["alerts"].as_array().unwrap().len() + json["not_listed"].as_u64().unwrap() as usize, 50);
    assert_eq!((&json["count"], &json["by_priority"][0]["count"]), (&50.into(), &50.into()));
}

#[test]
fn a_long_text_ends_with_the_number_of_the_others() {
    let alert = hostile().alerts[0].clone();
    let text = Message::new("t", vec![alert; 500], 0).text(Lang::En, &Clock::new(true), 1_000);
    assert!(text.chars().count() <= 1_000, "{text}");
    let listed = text.matches("\n[P1] ").count();
    assert!(listed > 1, "{text}");
    assert!(text.contains(&format!("\nand {} more: ", 500 - listed)), "{text}");
}

#[test]
fn signs_by_hmac_sha256_and_hides_the_secret() {
    // printf '1.body' | openssl dgst -sha256 -hmac s3cr3t
    let web = web(Form::Webhook);
    let secret = web.secret.clone().unwrap();
    assert_eq!(
        signature(&secret, "1", "body"),
        "eca3343926a8efe475efc46aebc06268c3d84f82284911a9ce935865a8127aaa"
    );
    assert_eq!(web.hidden("GET /bots3cr3t/x"), "GET /bot***/x");
    assert_eq!(format!("{secret:?}"), "***");
}
