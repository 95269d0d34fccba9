//! The page for people who watch over a host, as a real browser shows it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::loopback;
use crate::support::watcher::get;
use crate::support::world::World;

const MESSAGE: &str = "From: alice@hermail.test\r\nTo: somebody\r\nSubject: planted\r\n\r\nHello\r\n";

/// Shows a page in Chromium, 390 and 1280 pixels wide, light and dark.
fn shown(url: &str) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/browser.py");
    let done = tokio::task::block_in_place(|| Command::new("/usr/bin/python3").arg(script).arg(url).output())
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let why = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "Chromium (tests/run installs it): {why}");
    serde_json::from_str(&said).unwrap()
}

/// How bright a colour of CSS is, as WCAG 2 §1.4.3 has it.
fn brightness(color: &str) -> f64 {
    let inside = color.trim_start_matches("rgb(").trim_end_matches(')');
    let parts: Vec<f64> = inside
        .split(", ")
        .map(|part| part.parse::<f64>().unwrap_or_else(|_| panic!("{color}")) / 255.0)
        .collect();
    let linear = |part: f64| match part <= 0.03928 {
        true => part / 12.92,
        false => ((part + 0.055) / 1.055).powf(2.4),
    };
    0.2126 * linear(parts[0]) + 0.7152 * linear(parts[1]) + 0.0722 * linear(parts[2])
}

fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (brightness(one), brightness(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_page_at_any_width_and_in_either_scheme_and_fetches_nothing() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let (_one, _other) = (hermail.spawn().await, hismail.spawn().await);
    hermail
        .submit("alice", &["alice@hermail.test", "bob@hismail.test"], MESSAGE)
        .await;
    hismail.maildir("bob").only().await;
    hermail.idle().await;
    hermail.cli(&["queue", "drain"]).await;
    crate::support::watcher::until_reasons(hermail.ip, &["drained"]).await;

    let url = format!("http://{}:{}/", hermail.ip, loopback::OPERATIONS);
    let all = shown(&url);
    assert_eq!(all.len(), 4);
    for seen in &all {
        let text = seen["text"].as_str().unwrap();
        for words in [
            "mx.hermail.test",
            "Not ready: an operator has drained this node",
            "local\tdelivered\t1",
            "dmtp\trelayed\t1",
            "hermail.test\texperimental\t",
            "for SMTP\t",
            "of users\t1",
            "In a minute, over the last day",
        ] {
            assert!(text.contains(words), "{words:?}: {text}");
        }
        for name in ["alice", "bob", "hismail", "planted"] {
            assert!(!text.contains(name), "{name}: {text}");
        }
        assert_eq!(seen["requests"], serde_json::json!([url]), "{seen}");
        assert_eq!(seen["complaints"], serde_json::json!([]), "{seen}");
        // Nothing sticks out.
        assert_eq!(seen["inner"], seen["width"], "{seen}");
        assert_eq!(seen["scroll"], seen["width"], "{seen}");
        assert_eq!(seen["wide"], serde_json::json!([]), "{seen}");
        // It can be read, and the chart has its lines.
        let background = seen["background"].as_str().unwrap();
        assert_eq!(brightness(background) < 0.2, seen["scheme"] == "dark", "{seen}");
        let inks = seen["inks"].as_array().unwrap();
        for ink in inks.iter().chain(seen["lines"].as_array().unwrap()) {
            let ink = ink.as_str().unwrap();
            assert!(contrast(ink, background) >= 4.5, "{ink} on {background}");
        }
        assert_eq!(seen["lines"].as_array().unwrap().len(), 3, "{seen}");
    }
    let page = get(hermail.ip, "/").await;
    assert!(
        page.header
            .contains("content-security-policy: default-src 'none'; style-src 'sha256-"),
        "{}",
        page.header
    );
    for word in [
        "<script",
        "http://",
        "https://",
        "style=",
        "javascript:",
        "src=",
        "@import",
        "url(",
    ] {
        assert!(!page.body.contains(word), "{word}");
    }
    // The id of a sealed message's delivery is the attempt's, which no submission has.
    let log = std::fs::read_to_string(hermail.log()).unwrap();
    let line = |event: &str| log.lines().find(|line| line.contains(event)).unwrap().to_owned();
    let field = |line: &str, name: &str| {
        serde_json::from_str::<Value>(line).unwrap()[name]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let attempt = field(&line("\"queue.attempt.dmtp\""), "attempt.id");
    assert!(page.body.contains(&attempt), "{}", page.body);
}
