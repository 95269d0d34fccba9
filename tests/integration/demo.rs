//! The demo: its scenario on free ports, its answers for programs and people, messages of the user's own.
//!
//! What the demo says of itself is held against what it leaves behind, read here anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dimed::base::time::SystemClock;
use dimed::cli::{Exit, demo};
use dimed::config::{self, Config};
use dimed::dime::dmime2::destination::Arrival;
use dimed::dime::dmime2::inspect::{self, Readable};
use dimed::dime::dmime2::{Candidate, Limits, Outline};
use dimed::signet_service::Published;
use dimed::store::MasterKey;
use dimed::store::sqlite::SqliteStore;
use futures_util::StreamExt as _;
use mail_parser::{MessageParser, MimeHeaders};
use serde_json::Value;
use tempfile::TempDir;

/// One run with `--json`.
struct Run {
    exit: Exit,
    result: Value,
}

async fn run(eml: Option<&[u8]>, keep: Option<PathBuf>) -> Run {
    let file = tempfile::NamedTempFile::new().unwrap();
    let arguments = demo::Arguments {
        eml: eml.map(|octets| {
            fs::write(file.path(), octets).unwrap();
            file.path().to_owned()
        }),
        keep,
        json: true,
    };
    let mut out = Vec::new();
    let exit = demo::run(arguments, &mut out).await.unwrap();
    Run {
        exit,
        result: serde_json::from_slice(&out).unwrap(),
    }
}

/// A run that was kept.
async fn kept() -> (TempDir, Run) {
    let home = tempfile::tempdir().unwrap();
    let run = run(None, Some(home.path().join("demo"))).await;
    assert_eq!(run.exit, Exit::Done, "{:#}", run.result);
    (home, run)
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn routes(message: &Value) -> Vec<(&str, &str, &str)> {
    let routes = message["routes"].as_array().unwrap();
    routes
        .iter()
        .map(|route| {
            let part = |name: &str| route[name].as_str().unwrap();
            (part("host"), part("route"), part("code"))
        })
        .collect()
}

fn delivered(message: &Value) -> Vec<u8> {
    fs::read(message["file"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_messages_go_their_ways_and_are_what_was_sent() {
    let (_home, run) = kept().await;
    let messages = run.result["messages"].as_array().unwrap();
    let (dmtp, smtp, lost) = (
        ("dmtp", "dime_signet_valid"),
        ("smtp", "record_proven_absent"),
        ("smtp", "dime_no_such_signet"),
    );
    let (hermail, hismail, plain) = ("mx.hermail.test", "mx.hismail.test", "mx.plain.test");
    let expected = [
        ("alice@hermail.test", "bob@hismail.test", vec![(hermail, dmtp)]),
        ("bob@hismail.test", "alice@hermail.test", vec![(hismail, dmtp)]),
        ("alice@hermail.test", "carol@plain.test", vec![(hermail, smtp)]),
        (
            "carol@plain.test",
            "bob@hismail.test",
            vec![(plain, ("smtp", "dime_no_author"))],
        ),
        (
            "alice@hermail.test",
            "nobody@hismail.test",
            vec![(hermail, lost), (hermail, ("local", "local_domain"))],
        ),
    ];
    assert_eq!(messages.len(), expected.len());
    for (message, (from, to, ways)) in messages.iter().zip(expected) {
        assert_eq!((&message["from"], &message["to"]), (&from.into(), &to.into()));
        assert_eq!(message["arrived"], true);
        assert_eq!(message["problems"], serde_json::json!([]));
        let ways: Vec<_> = ways
            .into_iter()
            .map(|(host, (route, code))| (host, route, code))
            .collect();
        assert_eq!(routes(message), ways);
    }
    the_first_arrived_whole(&messages[0]);
    the_last_came_back(&messages[4]);
    for by_smtp in [&messages[2], &messages[3]] {
        let text = String::from_utf8(delivered(by_smtp)).unwrap();
        assert!(!text.contains("DIME-"), "{text}");
        assert!(text.contains("with ESMTPS"), "{text}");
    }
}

fn the_first_arrived_whole(message: &Value) {
    let octets = delivered(message);
    let text = String::from_utf8(octets.clone()).unwrap();
    let marker = "DIME-Verification: mx.hismail.test; result=pass; format=2; suite=xwing;\r\n\
                  \tauthor=alice@hermail.test; origin=hermail.test;\r\n\trecipient=bob@hismail.test;\r\n\
                  \tfrom=match;\r\n\tcreated=";
    assert!(text.contains(marker), "{text}");
    let parsed = MessageParser::default().parse(&octets).unwrap();
    assert_eq!(parsed.subject(), Some("Grüße aus Köln — 你好, Bob ✉"));
    assert!(parsed.body_text(0).unwrap().contains("À bientôt"));
    assert!(parsed.body_html(0).unwrap().contains("<b>you</b>"));
    let attachment = parsed.attachment(0).unwrap();
    assert_eq!(attachment.attachment_name(), Some("photographs.bin"));
    let every_octet: Vec<u8> = (0..=255).cycle().take(4096).collect();
    assert_eq!(attachment.contents(), every_octet);
}

fn the_last_came_back(message: &Value) {
    let octets = delivered(message);
    assert!(
        message["file"]
            .as_str()
            .unwrap()
            .contains("/hermail.test/alice/new/")
    );
    let text = String::from_utf8(octets).unwrap();
    for line in [
        "Return-Path: <>",
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Final-Recipient: rfc822; nobody@hismail.test",
        "Action: failed",
        "Status: 5.1.1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_says_what_the_keys_in_the_stores_open() {
    let (home, run) = kept().await;
    let home = home.path().join("demo");
    let octets = fs::read(home.join("message.dmime")).unwrap();
    let object = &run.result["object"];
    assert_eq!(object["size_bytes"], octets.len());
    let outline = Outline::read(&octets[..], &Limits::default()).unwrap();
    assert_eq!(object["format"], 2);
    assert_eq!(object["suite"], outline.suite().name());
    let hermail = published(&home, "hermail.test").await;
    let hismail = published(&home, "hismail.test").await;
    let keys = async |store: &Published, name: &str| -> Vec<Candidate> {
        let stored = store.candidates(name).await.unwrap();
        stored.into_iter().map(Candidate::from).collect()
    };
    let origin = keys(&hermail, "hermail.test").await;
    let destination = keys(&hismail, "hismail.test").await;
    let alice = keys(&hermail, "alice@hermail.test").await;
    let bob = keys(&hismail, "bob@hismail.test").await;
    // It is the very object that was transferred: signed by the origin, readable by the destination.
    assert!(!outline.is_blank());
    assert!(Arrival::open(&outline, &destination, outline.created()).is_ok());

    let open = |keys: &[Candidate]| columns(&inspect::readable(&octets, keys).unwrap());
    let origin = open(&origin);
    let destination = open(&destination);
    assert_eq!(origin, [true, false, true, true, false, false]);
    assert_eq!(destination, [false, true, true, true, false, false]);
    let expected = BTreeMap::from([
        ("the network", [false; 6]),
        ("hermail.test as origin", origin),
        ("hismail.test as destination", destination),
        ("Bob", open(&bob)),
        ("hermail.test, keeping Alice's keys", open(&alice)),
        ("hismail.test, keeping Bob's keys", open(&bob)),
    ]);
    assert_eq!(open(&bob), [true; 6]);
    let rows = object["rows"].as_array().unwrap();
    let told: BTreeMap<&str, [bool; 6]> = rows.iter().map(row).collect();
    assert_eq!(told, expected);
    for name in ["hermail.test", "hismail.test", "alice", "bob"] {
        assert_eq!(memchr::memmem::find(&octets, name.as_bytes()), None, "{name}");
    }
}

async fn published(home: &Path, domain: &str) -> Published {
    let config = Config::load(&home.join(domain).join("dimed.toml")).unwrap();
    let key = MasterKey::new(config::load_master_key(&config).unwrap());
    let clock = Arc::new(SystemClock);
    let store = SqliteStore::open(&config.server.database(), key, clock.clone()).await;
    Published::new(Arc::new(store.unwrap()), clock)
}

fn columns(readable: &Readable) -> [bool; 6] {
    let origin = readable.origin_envelope();
    let destination = readable.destination_envelope();
    let author = origin.as_ref().map(|envelope| envelope.author.to_string());
    let recipient = destination
        .as_ref()
        .map(|envelope| envelope.recipient.to_string());
    let from = destination.as_ref().map(|envelope| envelope.origin.to_string());
    let to = origin.as_ref().map(|envelope| envelope.destination.to_string());
    let subject = readable.common_headers();
    [
        author.as_deref() == Some("alice@hermail.test"),
        recipient.as_deref() == Some("bob@hismail.test"),
        author.is_some() || from.as_deref() == Some("hermail.test"),
        recipient.is_some() || to.as_deref() == Some("hismail.test"),
        subject.is_some_and(|headers| memchr::memmem::find(headers, b"\r\nSubject: =?utf-8?").is_some()),
        readable
            .body()
            .is_some_and(|body| memchr::memmem::find(&body, b"only you can read this").is_some()),
    ]
}

fn row(row: &Value) -> (&str, [bool; 6]) {
    let columns = [
        "author_address",
        "recipient_address",
        "author_domain",
        "recipient_domain",
        "subject",
        "body",
    ];
    assert_eq!(row["wrong"], false);
    (
        row["who"].as_str().unwrap(),
        columns.map(|name| row[name] == true),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_a_fixed_shape_and_people_get_lines_that_fit() {
    let (home, run) = kept().await;
    let (result, home) = (&run.result, home.path().join("demo"));
    assert_eq!(
        keys(result),
        ["elapsed_ms", "kept_in", "messages", "object", "ok"]
    );
    assert_eq!(result["ok"], true);
    assert_eq!(result["kept_in"], home.to_str().unwrap());
    let message = [
        "arrived",
        "checks",
        "elapsed_ms",
        "expected",
        "file",
        "from",
        "number",
        "problems",
        "queue_id",
        "routes",
        "to",
    ];
    assert_eq!(keys(&result["messages"][0]), message);
    assert_eq!(keys(&result["messages"][0]["checks"][0]), ["passed", "what"]);
    let route = ["about", "code", "host", "reason", "recipient", "route"];
    assert_eq!(keys(&result["messages"][0]["routes"][0]), route);
    assert_eq!(
        keys(&result["object"]),
        ["format", "problems", "rows", "size_bytes", "suite"]
    );
    for name in ["hermail.test", "hismail.test", "plain.test"] {
        let organization = home.join(name);
        for left in [
            "dimed.toml",
            "master.key",
            "password",
            "data/dimed.db",
            "data/mail",
            "data/tls",
        ] {
            assert!(organization.join(left).exists(), "{name}: {left}");
        }
        let zone = fs::read_to_string(home.join(format!("{name}.zone"))).unwrap();
        assert_eq!(zone.contains("_dx"), name != "plain.test", "{zone}");
    }

    let mut command = assert_cmd::Command::cargo_bin("dimed").unwrap();
    let output = command
        .arg("demo")
        .assert()
        .code(0)
        .stderr("")
        .get_output()
        .stdout
        .clone();
    let text = String::from_utf8(output).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let origin =
        "hermail.test as origin              reads      -          reads      reads      -          -";
    assert!(text.lines().any(|line| line == origin), "{text}");
    assert!(
        text.contains("4  carol@plain.test to bob@hismail.test: arrived after "),
        "{text}"
    );
}

#[tokio::test]
async fn a_directory_that_holds_something_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("precious"), "x").unwrap();
    let arguments = demo::Arguments {
        eml: None,
        keep: Some(home.path().to_owned()),
        json: true,
    };
    let error = demo::run(arguments, &mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

/// Worlds that exist beside each other.
const AT_A_TIME: usize = 4;

const HEAD: &str = "From: alice@hermail.test\nTo: bob@hismail.test\nSubject: odd\n";

/// Messages as they lie about in the wild, with line ends of Unix.
fn odd_messages() -> Vec<(&'static str, Vec<u8>)> {
    let with = |rest: &str| format!("{HEAD}{rest}").into_bytes();
    vec![
        ("dots", with("\n.\n..\n.quit\n")),
        ("neither date nor subject nor MIME", b"From: A <alice@hermail.test>\n\nhello\n".to_vec()),
        ("a line of an mbox in front", [b"From a@x Tue Nov 24 12:00:00 2026\n", &with("\nx\n")[..]].concat()),
        ("no body", with("\n")),
        ("no empty line", with("")),
        ("no line end at the end, and CR for LF", with("\none\rtwo")),
        ("eight bits", with("X-Name: größe 你\nContent-Type: text/plain; charset=utf-8\n\nGrüße\n")),
        ("latin-1 in the body", [&with("Content-Type: text/plain; charset=iso-8859-1\n\n")[..], b"gr\xfc\xdfe\n"].concat()),
        ("a long line", with(&format!("\n{}\n", "x".repeat(5000)))),
        ("no text", with("Content-Type: image/png\nContent-Transfer-Encoding: base64\n\nAAECAwQF\n")),
        (
            "folds, blanks, repeated fields, traces and blind copies",
            "Received: from x by y;\n\tyesterday\nDKIM-Signature: v=1; a=b\nFrom: =?utf-8?q?A?=\n \
             alice@hermail.test\nTo: bob@hismail.test,\n  \"B, C\" <c@a.example>\nCc: d@a.example\nTo: e@a.example\n\
             Bcc: f@a.example\nX-Long: a\n  b\n\tc\nX-Blank : before\nsUBJECT:   spaces   inside  \n\nx\n"
                .into(),
        ),
        (
            "a forged marker",
            with("DIME-Verification: mx.hismail.test; result=pass; author=eve@a.example\n\
                  Authentication-Results: mx.hismail.test; x-dime=pass\n\nx\n"),
        ),
        (
            "parts in parts, preamble and epilogue",
            with("Content-Type: multipart/mixed; boundary=\"a b\"\n\npreamble\n--a b\nContent-Type: message/rfc822\n\n\
                  Subject: inner\n\ninner\n--a b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\ntext\n--c\n\
                  Content-Type: text/html\n\n<p>\n--c--\n--a b--\nepilogue\n"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_messages_arrive_as_they_are() {
    let messages = odd_messages();
    let runs = messages
        .iter()
        .map(async |(what, octets)| (what, run(Some(octets), None).await));
    let mut runs = futures_util::stream::iter(runs).buffer_unordered(AT_A_TIME);
    while let Some((what, Run { exit, result })) = runs.next().await {
        assert_eq!(exit, Exit::Done, "{what}: {result:#}");
        assert_eq!(result["kept_in"], Value::Null);
        assert_eq!(result["messages"][0]["file"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_cannot_be_carried_fail_with_a_reason() {
    for (octets, reason) in [
        (&b"To: bob@hismail.test\n\nno author\n"[..], "has no From field"),
        (b"From: alice@hermail.test\n\na\0b\n", "NUL"),
        (
            b"From: alice@hermail.test\nSubject: one\nSubject: two\n\nx\n",
            "Subject",
        ),
    ] {
        let Run { exit, result } = run(Some(octets), None).await;
        assert_eq!(exit, Exit::No);
        assert_eq!(result["ok"], false);
        assert_eq!(result["messages"][0]["arrived"], false);
        let problem = result["messages"][0]["problems"][0].as_str().unwrap();
        assert!(problem.contains(reason), "{problem}");
        // The others are not held up.
        assert_eq!(result["messages"][1]["arrived"], true, "{result:#}");
    }
}
