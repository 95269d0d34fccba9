//! The MIME mapping, the marker, cleaning and safe delivery (`dmime2.md` §16, §17) against vectors that give exact octets.
//!
//! The folder `tests/vectors/dmime2/mime`, or that in the folder which `DIMED_VECTORS_DMIME2` names, has one file per
//! case; `text.json` has header chunks alone.

use std::io::Cursor;
use std::path::PathBuf;

use dimed::base::encoding::base64_decode;
use dimed::dime::convert::delivery::{ByData, by_data, safe_for_data, wrap};
use dimed::dime::convert::marker::{Format, Suite, Verification, from_matches};
use dimed::dime::convert::{
    Error, How, check_dmime1, clean, clean_on_entry, from_dmime1, rebuilt_header, to_dmime1, to_dmime2,
};
use dimed::dime::dmime1::Content;
use dimed::dime::dmime2::ChunkType;
use dimed::dime::dmime2::seal::Part;
use dimed::dime::fingerprint::AnyFingerprint;
use dimed::mail::address::Domain;
use serde_json::Value;

fn folder() -> PathBuf {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/dmime2");
    std::env::var_os("DIMED_VECTORS_DMIME2").map_or_else(|| own.into(), PathBuf::from)
}

/// Octets given in base64.
fn octets(value: &Value) -> Vec<u8> {
    base64_decode(value.as_str().expect("base64")).expect("base64")
}

fn read(path: impl AsRef<std::path::Path>) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Runs `check` on every case of a kind; there must be some.
fn each(kind: &str, check: impl Fn(&str, &Value)) {
    let cases: Vec<_> = std::fs::read_dir(folder().join("mime"))
        .unwrap()
        .map(|entry| read(entry.unwrap().path()))
        .filter(|case| case["kind"] == kind)
        .collect();
    assert!(!cases.is_empty(), "no case of kind {kind}");
    for case in &cases {
        check(case["case"].as_str().unwrap(), case);
    }
}

#[test]
fn every_case_is_of_a_kind_with_a_runner() {
    const KINDS: [&str; 6] = [
        "mime",
        "mime-refused",
        "format1-delivery",
        "marker",
        "inbound",
        "delivery",
    ];
    for entry in std::fs::read_dir(folder().join("mime")).unwrap() {
        let case = read(entry.unwrap().path());
        assert!(
            KINDS.contains(&case["kind"].as_str().unwrap()),
            "{}",
            case["case"]
        );
    }
}

#[test]
fn messages_map_to_chunks_and_back() {
    each("mime", |name, case| {
        let content = to_dmime1(octets(&case["input"])).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(content.common_headers, octets(&case["common"]), "{name}");
        assert_eq!(content.other_headers, octets(&case["other"]), "{name}");
        let format1 = &case["format1"];
        assert_eq!(content.display, [octets(&format1["display"])], "{name}");
        let attachments: Vec<_> = Some(&format1["attachment"])
            .filter(|data| !data.is_null())
            .map(octets)
            .into_iter()
            .collect();
        assert_eq!(content.attachments, attachments, "{name}");

        let rebuilt = from_dmime1(&content);
        assert_eq!(rebuilt.how, How::Mapped, "{name}");
        assert_eq!(rebuilt.mime, octets(&case["rebuilt"]), "{name}");
        assert_eq!(to_dmime1(rebuilt.mime).unwrap(), content, "{name}");
    });
}

#[test]
fn messages_map_to_records_and_back() {
    each("mime", |name, case| {
        let input = octets(&case["input"]);
        let mapped = to_dmime2(Cursor::new(&input)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(mapped.common_headers, octets(&case["common"]), "{name}");
        assert_eq!(mapped.other_headers, octets(&case["other"]), "{name}");
        let body = |part: &Part| input[part.body.start as usize..part.body.end as usize].to_vec();
        let records = |kind| {
            let parts = mapped.parts.iter().filter(move |part| part.kind == kind);
            parts
                .map(|part| [&part.head.encode()[..], &body(part)].concat())
                .collect::<Vec<_>>()
        };
        let expected = |key: &str| -> Vec<_> {
            case["format2"][key]
                .as_array()
                .unwrap()
                .iter()
                .map(octets)
                .collect()
        };
        assert_eq!(records(ChunkType::Display), expected("display"), "{name}");
        assert_eq!(records(ChunkType::Attachment), expected("attachments"), "{name}");

        let mut rebuilt = rebuilt_header(&mapped.common_headers, &mapped.other_headers);
        rebuilt.extend(mapped.parts.iter().flat_map(body));
        assert_eq!(rebuilt, octets(&case["rebuilt"]), "{name}");
    });
}

#[test]
fn malformed_headers_are_refused_by_rule() {
    each("mime-refused", |name, case| {
        let input = octets(&case["input"]);
        let rule = |error| match error {
            Error::Header(_) => "C1",
            Error::Repeated(_) => "C2",
            Error::Missing(_) => "C3",
            other => panic!("{name}: {other}"),
        };
        let refusals = [
            to_dmime2(Cursor::new(&input)).expect_err(name),
            check_dmime1(Cursor::new(&input)).expect_err(name),
            to_dmime1(input).expect_err(name),
        ];
        for refusal in refusals {
            assert_eq!(rule(refusal), case["rule"], "{name}");
        }
    });
}

#[test]
fn received_chunks_become_exactly_these_messages() {
    each("format1-delivery", |name, case| {
        let list = |key: &str| {
            case[key]
                .as_array()
                .unwrap()
                .iter()
                .map(|data| octets(data).into())
                .collect()
        };
        let content = Content {
            common_headers: octets(&case["common"]).into(),
            other_headers: octets(&case["other"]).into(),
            display: list("display"),
            attachments: list("attachments"),
        };
        let rebuilt = from_dmime1(&content);
        let how = if rebuilt.how == How::Mapped {
            "mapped"
        } else {
            "foreign"
        };
        assert_eq!(how, case["how"], "{name}");
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        assert_eq!(text(&rebuilt.mime), text(&octets(&case["delivered"])), "{name}");
        assert_eq!(rebuilt.mime, octets(&case["delivered"]), "{name}");
    });
}

#[test]
fn header_chunks_are_judged_by_their_grammar() {
    let cases = read(folder().join("text.json"));
    // Chunks 4 and 5 are those of the envelope, which is not mapped.
    let headers = |case: &&Value| matches!(case["chunk"].as_u64(), Some(33 | 34));
    for case in cases["cases"].as_array().unwrap().iter().filter(headers) {
        let good = |chunk: u64, other: &'static [u8]| match case["chunk"].as_u64() == Some(chunk) {
            true => octets(&case["data"]).into(),
            false => other.into(),
        };
        let content = Content {
            common_headers: good(33, b"Date: d\r\nTo: \r\nFrom: f\r\nSubject: \r\n"),
            other_headers: good(34, b"MIME-Version: 1.0\r\n"),
            display: vec![b"text".as_slice().into()],
            attachments: vec![],
        };
        let mapped = from_dmime1(&content).how == How::Mapped;
        assert_eq!(mapped, case["outcome"] == "accept", "{}", case["case"]);
    }
}

#[test]
fn markers_are_rendered_exactly() {
    each("marker", |name, case| {
        let text = |key: &str| case[key].as_str().unwrap();
        let server: Domain = text("server").parse().unwrap();
        let origin: Domain = text("origin").parse().unwrap();
        let author = text("author").parse().unwrap();
        let recipient = text("recipient").parse().unwrap();
        let format = match case["format"].as_u64() {
            Some(1) => Format::One,
            _ => Format::Two {
                suite: if case["suite"] == 1 {
                    Suite::X25519
                } else {
                    Suite::XWing
                },
                created: case["created"].as_u64().unwrap(),
                id: AnyFingerprint::parse(text("id")).unwrap().0,
            },
        };
        let verification = Verification {
            server: &server,
            format,
            author: &author,
            origin: &origin,
            recipient: &recipient,
            from_matches: from_matches(&octets(&case["from"]), &author),
        };
        let expected = String::from_utf8(octets(&case["field"])).unwrap();
        assert_eq!(verification.to_string(), expected, "{name}");
    });
}

#[test]
fn mail_from_outside_is_cleaned_however_it_is_cut() {
    each("inbound", |name, case| {
        let (input, server) = (octets(&case["input"]), case["server"].as_str().unwrap());
        let expected = octets(&case["output"]);
        assert_eq!(clean_on_entry(&input, server), expected, "{name}");
        for size in 1..8 {
            let mut cleaner = clean::EntryCleaner::new(server);
            let mut out: Vec<u8> = input.chunks(size).flat_map(|piece| cleaner.push(piece)).collect();
            out.extend(cleaner.finish());
            assert_eq!(out, expected, "{name} in pieces of {size}");
        }
    });
}

#[test]
fn messages_go_by_data_only_where_that_is_safe() {
    each("delivery", |name, case| {
        let message = octets(&case["message"]);
        let verdict = match by_data(&message) {
            ByData::AsIs => "as-is",
            ByData::Fold => "fold",
            ByData::Never => "never",
        };
        assert_eq!(verdict, case["by_data"], "{name}");
        let safe = safe_for_data(message.clone().into());
        assert_eq!(by_data(&safe), ByData::AsIs, "{name}");
        match verdict {
            "as-is" => assert_eq!(safe, message, "{name}"),
            "never" => assert_eq!(safe, wrap(&message), "{name}"),
            // Folding is undone by taking the line ends out again.
            _ => assert_eq!(
                String::from_utf8(safe.to_vec()).unwrap().replace("\r\n ", " "),
                String::from_utf8(message).unwrap(),
                "{name}"
            ),
        }
    });
}
