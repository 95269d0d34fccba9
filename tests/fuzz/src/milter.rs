//! What filters answer: packets of milters, and answers of rspamd.

use dimed::filters::milter::packet::Reply;
use dimed::filters::{Change, FieldChange, Header, rspamd};
use dimed::mail::headers;

const BLOCK: &[u8] = b"Received: ours\r\nX: 1\r\nSubject: hi\r\nX:\r\n 2\r\n";

/// Whatever is accepted does no more than it says: new fields are one field each, a changed block is a block still, and words
/// for clients are replies that refuse.
pub fn milter(octets: &[u8]) {
    let changes = match octets.first() {
        Some(b'{') => of_rspamd(octets),
        _ => of_milter(octets),
    };
    let mut header = Header::of(BLOCK);
    for change in changes {
        if let FieldChange::Add(_, field) | FieldChange::Replace { field, .. } = &change {
            assert_eq!(headers::fields(field).count(), 1);
            assert!(headers::split(field).rest.is_empty() && field.ends_with(b"\r\n"));
            let text = std::str::from_utf8(field).unwrap().replace("\r\n", "");
            assert!(!text.contains(['\r', '\n', '\0']));
        }
        header.apply(change).unwrap();
        let block = header.octets();
        assert!(headers::split(&block).rest.is_empty());
        assert_eq!(headers::count(&block, "Received"), 1 + added(&header));
    }
}

/// Fields of the name of ours that filters see.
fn added(header: &Header) -> usize {
    header
        .visible()
        .filter(|raw| headers::find(raw, "Received").is_some())
        .count()
}

fn of_milter(octets: &[u8]) -> Vec<FieldChange> {
    match Reply::parse(octets) {
        Ok(Reply::Field(_, asked)) => [true, false]
            .into_iter()
            .filter_map(|space| asked.clone().change(space).ok())
            .collect(),
        Ok(Reply::Words(words)) => {
            assert!(words.is_transient() || words.is_permanent());
            let wire = String::from_utf8(words.to_wire()).unwrap();
            for line in wire.strip_suffix("\r\n").unwrap().split("\r\n") {
                assert!(line.starts_with(&words.code.to_string()) && line.len() < 510);
                assert!(line.bytes().all(|octet| (b' '..=b'~').contains(&octet)));
            }
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn of_rspamd(octets: &[u8]) -> Vec<FieldChange> {
    let changes = rspamd::judged(octets).map(|judged| judged.changes.into_list());
    let field = |change| match change {
        Change::Field(change) => Some(change),
        _ => None,
    };
    changes
        .unwrap_or_default()
        .into_iter()
        .filter_map(field)
        .collect()
}
