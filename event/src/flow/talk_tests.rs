//! The application layer against hand-made bytes, against an independent reader of DNS, and against every way to cut.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr as _;

use hickory_proto::op::{Message as Oracle, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use proptest::prelude::*;
use serde_json::Value;

use super::signature::{self, App, Ports, Verdict};
use super::talk::{Context, Speaker, Talk};
use Speaker::{Dst, Src};

/// A side, and what it says.
type Said<'a> = (Speaker, &'a [u8]);

fn context(dst_port: u16, protocol: u8) -> Context<'static> {
    let [src_ip, dst_ip] = [1, 2].map(|host| IpAddr::from(Ipv4Addr::new(192, 0, 2, host)));
    Context { ts: 7, src_ip, dst_ip, src_port: 40_000, dst_port, protocol, community_id: &"1:x" }
}

fn lines(out: &[u8]) -> Vec<Value> {
    out.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// What is written of a stream that comes in these pieces, its end included.
fn stream(port: u16, said: &[Said<'_>]) -> (Talk, Vec<Value>) {
    let (mut talk, mut out) = (Talk::default(), Vec::new());
    for (speaker, bytes) in said {
        talk.stream(*speaker, bytes, false, &context(port, 6), &mut out);
    }
    talk.end(&context(port, 6), &mut out);
    (talk, lines(&out))
}

fn datagrams(port: u16, said: &[Said<'_>]) -> (Talk, Vec<Value>) {
    let (mut talk, mut out) = (Talk::default(), Vec::new());
    for (speaker, bytes) in said {
        talk.datagram(*speaker, bytes, &context(port, 17), &mut out);
    }
    talk.end(&context(port, 17), &mut out);
    (talk, lines(&out))
}

/// The same stream in pieces of so many bytes.
fn cut(port: u16, said: &[Said<'_>], size: usize) -> Vec<Value> {
    let pieces = said.iter().flat_map(|(speaker, bytes)| bytes.chunks(size).map(|piece| (*speaker, piece)));
    stream(port, &pieces.collect::<Vec<_>>()).1
}

#[test]
fn is_small_while_nothing_is_known() {
    assert_eq!(size_of::<Talk>(), 16);
}

// DNS.

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap()
}

fn question(id: u16, asked: &str, kind: RecordType) -> Oracle {
    let mut message = Oracle::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name(asked), kind));
    message
}

fn answered(query: &Oracle, answers: Vec<RData>) -> Oracle {
    let mut message = query.clone().into_response();
    let owner = query.queries[0].name().clone();
    message.add_answers(answers.into_iter().map(|data| Record::from_rdata(owner.clone(), 60, data)));
    message
}

#[test]
fn pairs_a_response_of_dns_with_its_query() {
    let query = question(7, "WWW.Thanhhoa.gov.vn.", RecordType::A);
    let answers = vec![
        RData::CNAME(CNAME(name("cdn.example.com."))),
        RData::A(A::new(192, 0, 2, 7)),
        RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        RData::MX(MX::new(10, name("mail.example.com."))),
        RData::TXT(TXT::new(vec!["v=spf1 \"a\"".into(), "\u{1}b".into()])),
        RData::SRV(SRV::new(1, 2, 88, name("dc.example.com."))),
    ];
    let [query, response] = [query.to_vec(), answered(&query, answers).to_vec()].map(Result::unwrap);
    let (talk, lines) = datagrams(53, &[(Src, &query), (Dst, &response)]);
    assert_eq!((talk.app(), talk.server_name()), ("dns", "www.thanhhoa.gov.vn"));
    let line = &lines[0];
    assert_eq!(lines.len(), 1);
    assert_eq!(line["query"], "www.thanhhoa.gov.vn");
    assert_eq!(line["domain"], "thanhhoa.gov.vn");
    assert_eq!((&line["record_type"], &line["rcode"]), (&"A".into(), &"NOERROR".into()));
    assert_eq!(
        (&line["labels"], &line["longest_label"], &line["query_length"]),
        (&4.into(), &8.into(), &19.into())
    );
    assert_eq!(line["query_entropy"], 0);
    assert_eq!(line["request_bytes"], query.len());
    assert_eq!(line["response_bytes"], response.len());
    let answers = [
        "cdn.example.com",
        "192.0.2.7",
        "2001:db8::1",
        "10 mail.example.com",
        "v=spf1 \\\"a\\\"\\001b",
        "1 2 88 dc.example.com",
    ];
    assert_eq!(line["answer"], Value::from(&answers[..]));
    assert_eq!(
        (&line["community_id"], &line["proto"], &line["ts"]),
        (&"1:x".into(), &"udp".into(), &7.into())
    );
}

#[test]
fn writes_queries_without_an_answer_when_the_flow_ends_or_many_wait() {
    let queries: Vec<_> =
        (0..10).map(|id| question(id, &format!("h{id}.x.com."), RecordType::TXT).to_vec().unwrap()).collect();
    let said: Vec<_> = queries.iter().map(|query| (Src, &query[..])).collect();
    let (_, lines) = datagrams(53, &said);
    let ids: Vec<_> = lines.iter().map(|line| line["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (0..10).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line.get("rcode").is_none() && line["record_type"] == "TXT"));
}

#[test]
fn takes_a_response_to_another_question_for_its_own() {
    let [query, other] = ["a.com.", "b.com."].map(|asked| question(1, asked, RecordType::A));
    let response = answered(&other, Vec::new()).to_vec().unwrap();
    let (_, lines) = datagrams(53, &[(Src, &query.to_vec().unwrap()), (Dst, &response)]);
    let names: Vec<_> =
        lines.iter().map(|line| (line["query"].as_str().unwrap(), line.get("rcode").is_some())).collect();
    assert_eq!(names, [("b.com", true), ("a.com", false)]);
}

#[test]
fn measures_names_as_tunnels_make_them() {
    let (_, lines) = datagrams(
        53,
        &[(Src, &question(1, "abcdefgh.abcdefgh.t.example.com.", RecordType::NULL).to_vec().unwrap())],
    );
    // Sixteen letters, each of eight twice, and a t: log2(17) - 16/17.
    assert_eq!(lines[0]["query_entropy"], 315);
    assert_eq!(lines[0]["domain"], "example.com");
}

#[test]
fn ends_a_loop_of_compression_pointers() {
    let mut message =
        b"\x00\x01\x80\x00\x00\x01\x00\x01\x00\x00\x00\x00\x01a\xc0\x0c\x00\x01\x00\x01".to_vec();
    message.extend_from_slice(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x00\x00\x02\xc0\x20");
    let (_, lines) = datagrams(53, &[(Dst, &message)]);
    assert_eq!((&lines[0]["query"], &lines[0]["answer"][0]), (&"a".into(), &".".into()));
}

#[test]
fn writes_each_question_of_mdns_at_once() {
    let mut query = question(0, "_ipp._tcp.local.", RecordType::PTR);
    query.add_query(Query::query(name("_ssh._tcp.local."), RecordType::PTR));
    let (mut talk, mut out) = (Talk::default(), Vec::new());
    talk.datagram(Src, &query.to_vec().unwrap(), &context(5353, 17), &mut out);
    let lines = lines(&out);
    assert_eq!(
        lines.iter().map(|line| &line["query"]).collect::<Vec<_>>(),
        ["_ipp._tcp.local", "_ssh._tcp.local"]
    );
    assert_eq!(talk.app(), "mdns");
}

fn dns_over_tcp() -> [Vec<u8>; 2] {
    let query = question(7, "example.org.", RecordType::TXT);
    let response = answered(&query, vec![RData::TXT(TXT::new(vec!["x".repeat(200); 90]))]);
    [query, response].map(|message| {
        let message = message.to_vec().unwrap();
        [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat().repeat(2)
    })
}

#[test]
fn reads_dns_over_tcp() {
    let [queries, responses] = dns_over_tcp();
    let (talk, lines) = stream(53, &[(Src, &queries), (Dst, &responses)]);
    assert_eq!((talk.app(), lines.len()), ("dns", 2));
    assert_eq!((&lines[1]["proto"], &lines[1]["rcode"]), (&"tcp".into(), &"NOERROR".into()));
}

// TLS.

fn vector(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn numbers(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &u32::try_from(body.len()).unwrap().to_be_bytes()[1..], body].concat()
}

/// Records of at most so many bytes.
fn records(handshake: &[u8], bytes_max: usize) -> Vec<u8> {
    handshake.chunks(bytes_max).flat_map(|part| [&[22, 3, 1][..], &vector(part)].concat()).collect()
}

/// The example of JA4's specification, with GREASE where browsers put it.
fn client_hello(alpn: &[u8]) -> Vec<u8> {
    let ciphers = [
        0x1a1a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
        0x009c, 0x009d, 0x002f, 0x0035,
    ];
    let algorithms = numbers(&[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]);
    let kinds = [
        0x2a2a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012,
        0x002b, 0xff01, 0x000b, 0x000a, 0x0015,
    ];
    let extensions: Vec<u8> = kinds
        .into_iter()
        .flat_map(|kind: u16| {
            let data = match kind {
                0x0000 => vector(&[&[0][..], &vector(b"Example.ORG")].concat()),
                0x000a => vector(&numbers(&[0x3a3a, 29, 23, 24])),
                0x000b => vec![1, 0],
                0x000d => vector(&algorithms),
                0x0010 => vector(&[&[u8::try_from(alpn.len()).unwrap()], alpn].concat()),
                0x002b => [&[6][..], &numbers(&[0x4a4a, 0x0304, 0x0303])].concat(),
                // A post-quantum key does not fit a segment.
                0x0033 => vec![9; 1500],
                _ => Vec::new(),
            };
            [kind.to_be_bytes().to_vec(), vector(&data)].concat()
        })
        .collect();
    let body =
        [&[3, 3][..], &[1; 32], &[0], &vector(&numbers(&ciphers)), &[1, 0], &vector(&extensions)].concat();
    handshake(1, &body)
}

fn server_hello(versions: &[u8]) -> Vec<u8> {
    let extensions = [&[0, 16, 0, 5, 0, 3, 2, b'h', b'2'][..], versions].concat();
    handshake(2, &[&[3, 3][..], &[2; 32], &[0], &[0xc0, 0x2f, 0], &vector(&extensions)].concat())
}

#[test]
fn reads_both_hellos_of_tls() {
    let client = records(&client_hello(b"h2"), 16_000);
    let server = records(&server_hello(&[0, 43, 0, 2, 3, 4]), 16_000);
    let (talk, lines) = stream(8443, &[(Src, &client), (Dst, &server)]);
    assert_eq!((talk.app(), talk.server_name()), ("tls", "example.org"));
    assert_eq!(talk.ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    assert!(!talk.wants(Src) && !talk.wants(Dst));
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!((&line["server_name"], &line["ja4"]), (&"example.org".into(), &talk.ja4().into()));
    assert_eq!((&line["version"], &line["cipher"]), (&"1.3".into(), &"0xc02f".into()));
    assert_eq!((&line["alpn"][0], &line["alpn_chosen"]), (&"h2".into(), &"h2".into()));
    assert_eq!(line["ja3"].as_str().unwrap().len(), 32);
}

#[test]
fn shows_the_ends_of_a_protocol_as_ja4_specifies() {
    let cases: [(&[u8], &str); 9] = [
        (b"http/1.1", "h1"),
        (b"h", "hh"),
        (b"\xab", "ab"),
        (b"\xab\xcd", "ad"),
        (b"0\xab", "3b"),
        (b"01\xab\xcd", "3d"),
        (b"0\xab\xcd1", "01"),
        (b"-a", "21"),
        (b"", "00"),
    ];
    for (alpn, ends) in cases {
        let (talk, _) = stream(443, &[(Src, &records(&client_hello(alpn), 16_000))]);
        assert_eq!(talk.ja4().get(8..10), Some(ends), "{alpn:?}");
    }
}

#[test]
fn reads_the_first_certificate_of_a_server() {
    let der = certificate();
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes()[1..].to_vec();
    let list = [length(der.len() + 3), length(der.len()), der].concat();
    let server = [server_hello(&[]), handshake(11, &list), handshake(14, &[])].concat();
    for size in [100, 16_000] {
        let said: [Said<'_>; 2] =
            [(Src, &records(&client_hello(b"h2"), size)), (Dst, &records(&server, size))];
        let (_, lines) = stream(443, &said);
        assert_eq!(lines.len(), 1);
        assert_eq!((&lines[0]["version"], &lines[0]["subject_cn"]), (&"1.2".into(), &"a.test".into()));
        assert_eq!((&lines[0]["issuer_cn"], &lines[0]["self_signed"]), (&"a.test".into(), &true.into()));
        assert_eq!(
            (&lines[0]["not_before"], &lines[0]["not_after"]),
            (&1_577_836_800.into(), &1_893_456_000.into())
        );
    }
}

#[test]
fn keeps_a_hello_whose_certificate_never_comes() {
    let server = records(&[server_hello(&[]), handshake(11, &[0; 9])[..5].to_vec()].concat(), 16_000);
    let (talk, lines) = stream(443, &[(Dst, &server)]);
    assert_eq!(
        (lines.len(), &lines[0]["version"], &lines[0]["cipher"]),
        (1, &"1.2".into(), &"0xc02f".into())
    );
    assert!(!talk.wants(Dst));

    let (mut talk, mut out) = (Talk::default(), Vec::new());
    let context = context(443, 6);
    talk.stream(Src, &records(&client_hello(b"h2"), 16_000), false, &context, &mut out);
    talk.stream(Dst, &server, false, &context, &mut out);
    talk.stream(Dst, b"after a gap", true, &context, &mut out);
    assert_eq!(versions(&out), ["1.2"]);
}

fn versions(out: &[u8]) -> Vec<Value> {
    lines(out).iter().map(|line| line["version"].clone()).collect()
}

#[test]
fn reads_the_shorter_hello_of_a_draft() {
    let body = [&[0x7f, 18][..], &[2; 32], &[0x13, 0x01], &vector(&[0, 51, 0, 1, 9])].concat();
    let (_, lines) = stream(443, &[(Dst, &records(&handshake(2, &body), 16_000))]);
    assert_eq!((&lines[0]["version"], &lines[0]["cipher"]), (&"1.3-draft-18".into(), &"0x1301".into()));
}

/// A self-signed certificate of `a.test` with a key and a signature of nonsense, from 2020 to 2030.
fn certificate() -> Vec<u8> {
    let tlv = |tag: u8, data: &[u8]| {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], data].concat()
    };
    let algorithm = tlv(0x30, &[6, 3, 0x2b, 0x65, 0x70]);
    let name = tlv(0x30, &tlv(0x31, &tlv(0x30, b"\x06\x03\x55\x04\x03\x0c\x06a.test")));
    let validity = tlv(0x30, b"\x17\x0d200101000000Z\x17\x0d300101000000Z");
    let key = tlv(0x30, &[algorithm.clone(), tlv(3, &[0; 33])].concat());
    let parts = [b"\xa0\x03\x02\x01\x02\x02\x01\x01", &algorithm[..], &name, &validity, &name, &key];
    tlv(0x30, &[tlv(0x30, &parts.concat()), algorithm, tlv(3, &[0; 65])].concat())
}

// SMB and DCE/RPC.

/// A message of SMB 1 in its frame.
fn smb(command: u8, status: u32, flags: u8, multiplex: u16) -> Vec<u8> {
    let middle = [&status.to_le_bytes()[..], &[flags], &[0; 20]].concat();
    let message = [b"\xffSMB", &[command][..], &middle, &multiplex.to_le_bytes(), &[0; 3]].concat();
    [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

#[test]
fn writes_each_kind_of_failure_of_smb_1_once() {
    let client = [smb(0x72, 0, 0, 64), smb(0x32, 0, 0, 65)].concat();
    let refused = smb(0x32, 0xc000_0002, 0x98, 81);
    let server = [&b"\x82\0\0\0"[..], &smb(0x72, 0, 0x98, 64), &refused, &refused].concat();
    let whole = [(Src, &client[..]), (Dst, &server)];
    let (talk, lines) = stream(445, &whole);
    assert_eq!((talk.app(), lines.len()), ("smb1", 1));
    assert_eq!((&lines[0]["kind"], &lines[0]["command"]), (&"smb".into(), &"0x32".into()));
    assert_eq!((&lines[0]["nt_status"], &lines[0]["multiplex_id"]), (&"0xc0000002".into(), &81.into()));
    for size in [1, 3, 7, 36, 50] {
        assert_eq!(cut(445, &whole, size), lines, "{size}");
    }
    let many: Vec<u8> = (0..100).flat_map(|multiplex| smb(0x25, 1, 0x80, multiplex)).collect();
    assert_eq!(stream(445, &[(Dst, &many)]).1.len(), 16);
}

#[test]
fn leaves_smb_2_alone_whose_client_began_with_version_1() {
    let server = [&[0, 0, 0, 64][..], b"\xfeSMB", &[0; 60]].concat();
    let (talk, lines) = stream(445, &[(Src, &smb(0x72, 0, 0, 0)), (Dst, &server)]);
    assert_eq!((talk.app(), lines.len()), ("smb", 0));
    assert!(!talk.wants(Src) && !talk.wants(Dst));
}

/// A message of DCE/RPC from a little-endian client.
fn rpc(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(16 + body.len()).unwrap().to_le_bytes();
    [&[5, 0, kind, 3, 0x10, 0, 0, 0], &length[..], &[0; 6], body].concat()
}

#[test]
fn writes_each_operation_that_is_called() {
    let interface = b"\x78\x56\x34\x12\x34\x12\xcd\xab\xef\x00\x01\x23\x45\x67\xcf\xfb";
    let bind = rpc(11, &[&[0; 12][..], &[7, 0, 1, 0], interface, &[0; 24]].concat());
    let call = |operation: u8| rpc(0, &[&[0; 4][..], &[7, 0, operation, 0], &[9; 30]].concat());
    let client = [bind, call(4), call(26), call(26)].concat();
    let whole = [(Src, &client[..])];
    let (talk, lines) = stream(49668, &whole);
    assert_eq!((talk.app(), lines.len()), ("dce_rpc", 2));
    assert_eq!(lines[1]["interface"], "12345678-1234-abcd-ef00-01234567cffb");
    assert_eq!((&lines[0]["operation"], &lines[1]["operation"]), (&4.into(), &26.into()));
    for size in [1, 5, 16, 47] {
        assert_eq!(cut(49668, &whole, size), lines, "{size}");
    }
    let many: Vec<u8> = [client].into_iter().chain((0..100).map(call)).flatten().collect();
    assert_eq!(stream(49668, &[(Src, &many)]).1.len(), 32);
}

// HTTP.

const REQUESTS: &[u8] =
    b"GET /a/b?x=${jndi:ldap://e}&y=a b HTTP/1.1\r\nHost: Shop.example:8080\r\nUser-Agent : curl/8\r\n\
    Authorization: Basic c2VjcmV0\r\nX-Forwarded-For: 10.0.0.9\r\n\r\n\
    POST /c HTTP/1.1\r\nHost: other\r\nContent-Length: 12\r\nAuthorization: c2VjcmV0\r\n\r\nGET / HTTP/1\
    \r\nHEAD http://u:p@h.example?q HTTP/1.1\r\n\r\n";

const RESPONSES: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\n\r\n\
    5;x=y\r\nHTTP/\r\nA\r\n1.1 200 OK\r\n0\r\nTrailer: x\r\n\r\n\
    HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nHTTP/1.1\
    HTTP/1.1 301 Moved\r\nContent-Length: 9999\r\n\r\n";

#[test]
fn pairs_requests_of_http_with_their_responses() {
    let (talk, lines) = stream(8080, &[(Src, REQUESTS), (Dst, RESPONSES)]);
    assert_eq!((talk.app(), talk.server_name()), ("http", "shop.example"));
    assert_eq!(lines.len(), 3);
    let first = &lines[0];
    assert_eq!((&first["cs-method"], &first["cs-uri-stem"]), (&"GET".into(), &"/a/b".into()));
    assert_eq!(first["cs-uri-query"], "x=${jndi:ldap://e}&y=a b");
    assert_eq!((&first["cs-user-agent"], &first["authorization"]), (&"curl/8".into(), &"Basic".into()));
    assert_eq!((&first["xff"], &first["cs-version"]), (&"10.0.0.9".into(), &"HTTP/1.1".into()));
    assert_eq!((&first["sc-status"], &first["content_type"]), (&200.into(), &"text/html".into()));
    assert_eq!((&lines[1]["sc-status"], &lines[1]["sc-bytes"]), (&404.into(), &8.into()));
    assert_eq!(lines[1]["authorization"], "other");
    assert_eq!((&lines[2]["cs-host"], &lines[2]["cs-uri-query"]), (&"h.example".into(), &"q".into()));
    assert_eq!(lines[2]["sc-status"], 301);
    assert!(!lines.iter().any(|line| line.to_string().contains("c2Vj")));
}

#[test]
fn writes_requests_of_http_without_a_response_when_the_flow_ends() {
    let half = b"GET /half HTTP/1.1\r\nHost: h\r\nUser-A";
    let (_, lines) = stream(80, &[(Src, &[REQUESTS, half].concat())]);
    let stems: Vec<_> = lines.iter().map(|line| line["cs-uri-stem"].as_str().unwrap()).collect();
    assert_eq!(stems, ["/a/b", "/c", "/", "/half"]);
    let many = b"GET / HTTP/1.1\r\n\r\n".repeat(20);
    assert_eq!(stream(80, &[(Src, &many)]).1.len(), 20);
    let long = [b"GET /long HTTP/1.1\r\nX: ", &[b'x'; 20_000][..]].concat();
    assert_eq!(stream(80, &[(Src, &long)]).1[0]["cs-uri-stem"], "/long");
}

#[test]
fn finds_the_next_head_after_a_gap() {
    let (mut talk, mut out) = (Talk::default(), Vec::new());
    let mut say = |speaker, bytes: &[u8], gap| talk.stream(speaker, bytes, gap, &context(80, 6), &mut out);
    say(Src, b"POST /1 HTTP/1.1\r\nContent-Length: 99999\r\n\r\nx", false);
    say(Dst, b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nx", false);
    say(Src, b"rest of a body", true);
    say(Dst, b"HTTP/2 is no head", true);
    say(Src, b"GET /2 HTTP/1.1\r\n\r\n", false);
    say(Dst, b"HTTP/1.1 204 No Content\r\n\r\n", false);
    let lines = lines(&out);
    let said: Vec<_> = lines
        .iter()
        .map(|line| (line["cs-uri-stem"].as_str().unwrap(), line["sc-status"].as_u64()))
        .collect();
    assert_eq!(said, [("/1", Some(200)), ("/2", Some(204))]);
}

#[test]
fn reads_what_a_proxy_tunnels() {
    let client = records(&client_hello(b"h2"), 16_000);
    let said: [Said<'_>; 3] = [
        (Src, b"CONNECT example.org:443 HTTP/1.1\r\nProxy-Authorization: Basic x\r\n\r\n"),
        (Dst, b"HTTP/1.1 200 Connection established\r\n\r\n"),
        (Src, &client),
    ];
    let (talk, lines) = stream(3128, &said);
    assert_eq!((talk.app(), lines.len()), ("http", 2));
    assert_eq!(
        (&lines[0]["cs-method"], &lines[0]["cs-host"]),
        (&"CONNECT".into(), &"example.org:443".into())
    );
    assert_eq!((&lines[1]["kind"], &lines[1]["server_name"]), (&"tls".into(), &"example.org".into()));
}

// SSH and the rest.

#[test]
fn reads_the_banners_of_ssh() {
    let server = b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n\x00\x00\x04";
    let (talk, lines) = stream(2222, &[(Dst, server), (Src, b"SSH-2.0-libssh_0.9\n")]);
    assert_eq!((talk.app(), lines.len(), talk.wants(Src)), ("ssh", 1, false));
    assert_eq!(
        (&lines[0]["client"], &lines[0]["server"]),
        (&"SSH-2.0-libssh_0.9".into(), &"SSH-2.0-OpenSSH_9.2p1 Debian".into())
    );
}

const STREAMS: [(u16, &[u8], &str); 24] = [
    (445, b"\x00\x00\x00\x45\xffSMBr", "smb"),
    (445, b"\x00\x00\x00\xf4\xfeSMB@", "smb"),
    (139, b"\x81\x00\x00\x44 ", "smb"),
    (3389, b"\x03\x00\x00\x13\x0e\xe0\x00\x00", "rdp"),
    (102, b"\x03\x00\x00\x16\x11\xe0\x00\x00", "iso_tsap"),
    (88, b"\x00\x00\x00\xc0\x6a\x81\xbd\x30\x81\xba\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a", "kerberos"),
    (389, b"\x30\x84\x00\x00\x00\x10\x02\x01\x01\x60\x84", "ldap"),
    (389, b"\x30\x0c\x02\x01\x01\x60\x07\x02", "ldap"),
    (21, b"220 ready\r\n", "ftp"),
    (2121, b"220 (vsFTPd 3.0.5)\r\n", "ftp"),
    (25, b"220 mail ESMTP Postfix\r\n", "smtp"),
    (25, b"EHLO x\r\n", "smtp"),
    (110, b"+OK ready\r\n", "pop3"),
    (23, b"\xff\xfd\x18\xff", "telnet"),
    (3306, b"\x4a\x00\x00\x00\x0a8.0.30", "mysql"),
    (5432, b"\x00\x00\x00\x08\x04\xd2\x16\x2f", "postgresql"),
    (5432, b"\x00\x00\x00\x29\x00\x03\x00\x00user", "postgresql"),
    (1433, b"\x12\x01\x00\x2f\x00\x00\x01\x00", "mssql"),
    (135, b"\x05\x00\x0b\x03\x10\x00\x00\x00\x48", "dce_rpc"),
    (6379, b"*1\r\n$4\r\nPING\r\n", "redis"),
    (5900, b"RFB 003.008\n", "vnc"),
    (1883, b"\x10\x0c\x00\x04MQTT", "mqtt"),
    (502, b"\x00\x01\x00\x00\x00\x06\x01\x03\x00", "modbus"),
    (4444, b"\x9f\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f", ""),
];

#[test]
fn recognises_streams_by_their_first_bytes() {
    for (port, said, app) in STREAMS {
        assert_eq!(stream(port, &[(Src, said)]).0.app(), app, "{said:?}");
        let pieces: Vec<_> = said.chunks(1).map(|piece| (Dst, piece)).collect();
        assert_eq!(stream(port, &pieces).0.app(), app, "{said:?} in pieces");
    }
}

#[test]
fn recognises_datagrams() {
    let ntp = [&[0x23][..], &[0; 47]].concat();
    let cases: [(u16, &[u8], &str); 7] = [
        (123, &ntp, "ntp"),
        (161, b"\x30\x26\x02\x01\x01\x04\x06public", "snmp"),
        (88, b"\x6a\x81\xbd\x30\x81\xba\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a", "kerberos"),
        (389, b"\x30\x25\x02\x01\x01\x63\x20", "ldap"),
        (443, b"\xc3\x00\x00\x00\x01\x08", "quic"),
        (1900, b"M-SEARCH * HTTP/1.1\r\n", "ssdp"),
        (53, b"\x01\x02\x03", ""),
    ];
    for (port, said, app) in cases {
        assert_eq!(datagrams(port, &[(Src, said)]).0.app(), app, "{said:?}");
    }
}

#[test]
fn gives_up_on_what_it_does_not_know() {
    let mut talk = Talk::default();
    let mut out = Vec::new();
    talk.stream(Src, &[0x9f; 100], false, &context(4444, 6), &mut out);
    assert!(!talk.wants(Src) && talk.wants(Dst));
    talk.stream(Dst, &[0x9f; 100], false, &context(4444, 6), &mut out);
    assert!(!talk.wants(Dst) && out.is_empty());
}

/// Something to say, with much that a signature or a reader begins to take.
fn speech() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(STREAMS.iter().map(|(_, said, _)| said.to_vec()).collect::<Vec<_>>());
    let [queries, responses] = dns_over_tcp();
    let server = records(&[server_hello(&[]), handshake(11, &[0, 1, 0])].concat(), 16_000);
    let built = [
        REQUESTS.to_vec(),
        RESPONSES.to_vec(),
        records(&client_hello(b"h2"), 500),
        server,
        queries,
        responses,
        b"SSH-2.0-x\r\nmore".to_vec(),
    ];
    let base =
        prop_oneof![known, prop::sample::select(built.to_vec()), prop::collection::vec(any::<u8>(), 0..40)];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (base, changes).prop_map(|(mut bytes, changes)| {
        for (at, byte) in changes.into_iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

fn port() -> impl Strategy<Value = u16> {
    prop::sample::select(&[53, 80, 443, 445, 88, 21, 25, 102, 139, 502, 1080, 1521, 20_000, 27_017, 4444][..])
}

#[test]
fn reads_the_same_however_a_stream_is_cut() {
    let [queries, responses] = dns_over_tcp();
    let client = records(&client_hello(b"h2"), 700);
    let server = records(&[server_hello(&[]), handshake(14, &[])].concat(), 30);
    let conversations: [(u16, [Said<'_>; 2]); 4] = [
        (53, [(Src, &queries), (Dst, &responses)]),
        (443, [(Src, &client), (Dst, &server)]),
        (80, [(Src, REQUESTS), (Dst, RESPONSES)]),
        (22, [(Dst, b"SSH-2.0-a\r\n..."), (Src, b"SSH-2.0-b\r\n...")]),
    ];
    for (port, said) in conversations {
        let whole = stream(port, &said).1;
        assert!(!whole.is_empty());
        for size in [1, 2, 3, 7, 100, 1460] {
            assert_eq!(cut(port, &said, size), whole, "port {port}, pieces of {size}");
        }
    }
}

proptest! {
    #[test]
    fn stands_by_a_verdict(said in speech(), port in port(), more in prop::collection::vec(any::<u8>(), 0..20)) {
        let whole = [said, more].concat();
        let ports = Ports { src: 40_000, dst: port };
        let mut before = Verdict::Short;
        for end in 0..=whole.len().min(300) {
            let verdict = signature::stream(&whole[..end], ports);
            prop_assert!(before == Verdict::Short || before == verdict, "{before:?} then {verdict:?} at {end}");
            before = verdict;
        }
        prop_assert!(before != Verdict::Is(App::Unknown));
    }

    #[test]
    fn never_panics_and_writes_lines(
        said in prop::collection::vec((any::<bool>(), any::<bool>(), speech(), 1_usize..50), 0..6),
        port in port(),
        udp in any::<bool>(),
    ) {
        let (mut talk, mut out) = (Talk::default(), Vec::new());
        for (from_src, gap, bytes, size) in said {
            let speaker = if from_src { Src } else { Dst };
            for piece in bytes.chunks(bytes.len() / size + 1) {
                match udp {
                    true => talk.datagram(speaker, piece, &context(port, 17), &mut out),
                    false => talk.stream(speaker, piece, gap, &context(port, 6), &mut out),
                }
            }
        }
        talk.end(&context(port, 6), &mut out);
        prop_assert_eq!(lines(&out).iter().filter(|line| line["kind"].is_null()).count(), 0);
    }

    #[test]
    fn reads_dns_as_the_oracle_does(
        labels in prop::collection::vec("[a-zA-Z0-9_]{1,20}", 1..6),
        addresses in prop::collection::vec(any::<[u8; 4]>(), 0..40),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let query = question(9, &format!("{}.", labels.join(".")), RecordType::A);
        let mut response = answered(&query, addresses.iter().map(|a| RData::A(A(Ipv4Addr::from(*a)))).collect());
        response.metadata.response_code = ResponseCode::NXDomain;
        let mut bytes = response.to_vec().unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (_, lines) = datagrams(53, &[(Dst, &bytes)]);
        // What the oracle refuses may still be written in part.
        let Ok(read) = Oracle::from_vec(&bytes) else { return Ok(()) };
        let [asked] = &read.queries[..] else { return Ok(()) };
        if read.metadata.message_type != MessageType::Response || read.metadata.op_code != OpCode::Query {
            return Ok(());
        }
        prop_assert_eq!(lines.len(), 1);
        let printable = asked.name().iter().flatten().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte));
        if printable && !asked.name().is_root() {
            let name = asked.name().to_ascii().to_ascii_lowercase();
            prop_assert_eq!(lines[0]["query"].as_str(), Some(name.trim_end_matches('.')));
        }
        let answers = lines[0]["answer"].as_array().cloned().unwrap_or_default();
        prop_assert_eq!(answers.len(), read.answers.len().min(32));
        for (own, theirs) in answers.iter().zip(&read.answers) {
            if let RData::A(address) = &theirs.data {
                prop_assert_eq!(own.as_str(), Some(&*address.to_string()));
            }
        }
    }
}
