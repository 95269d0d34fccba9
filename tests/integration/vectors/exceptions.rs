//! The one list of vectors where ours does something else than libdime, because libdime takes what it should not, or refuses
//! what is right.
//!
//! Nothing here depends on the names in a set: whether an exception holds shows in the vector itself, so that the list is the
//! same for every set of this shape.

use dimed::base::encoding::base64;
use dimed::crypto::ed25519::Signature;
use dimed::dime::dmime1::chunk::{Actor, ChunkType, HEADER_SIZE, KEYSLOT_SIZE};
use dimed::dime::dmime1::{Limits, Message};
use dimed::dime::signet::{Kind, Level, Signet, id};
use dimed::dmtp::reply::MAX_LINE;
use serde_json::Value;

use super::judge::{Judge, libdimes_outcome};

/// What is compared with libdime, and what the vector says of it.
pub enum Case<'a> {
    /// A signet or request, with what it is judged by.
    Signet {
        judge: &'a Judge<'a>,
        entry: &'a Value,
        octets: &'a [u8],
        companions: &'a Value,
    },
    /// The text of a management record.
    Record(&'a str),
    /// A message as an actor sees it. `reads_flags` says whether a chunk for that actor has flags.
    View {
        octets: &'a [u8],
        actor: Actor,
        is_signed: bool,
        reads_flags: bool,
    },
    /// The origin's signatures, made with these bounce flags.
    OriginSigning { flags: u64 },
    /// The form of a command with arguments, or without.
    Format { verb: &'a str, has_arguments: bool },
    /// A command line for our parser.
    Line(&'a str),
    /// A command line for our server.
    ServerLine(&'a str),
    /// What the server answers to a request for a signet.
    SignetReply(&'a str),
}

/// A difference from libdime.
struct Exception {
    /// Whether it is this one.
    applies: fn(&Case<'_>) -> bool,
    /// What ours does, in the words of the vector's kind: a state, `valid` for the state that the object's signatures
    /// reach, `load-fail`, or the result of a view.
    ours: &'static str,
    /// Why that is right.
    why: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        applies: is_rotation_request,
        ours: "valid",
        why: "signet.md D3: the custody signature is field 4, and it verifies with the predecessor's key",
    },
    Exception {
        applies: has_unknown_predecessor,
        ours: "valid",
        why: "signet.md D5, §13: an unknown predecessor leaves continuity unproven; the signet is valid",
    },
    Exception {
        applies: has_octets_after_the_last_signature,
        ours: "load-fail",
        why: "signet.md D1, D2: octets after the last field are covered by no signature",
    },
    Exception {
        applies: lacks_an_organization,
        ours: "valid",
        why: "verification without an organization cannot be written down here, so the right one is given",
    },
    Exception {
        applies: |case| matches!(case, Case::Record(text) if names_a_dropped_field(text)),
        ours: "keeps exp and syn",
        why: "management-record.md §7.2, §11 no. 4: libdime drops both; exp bounds how long a record is pinned",
    },
    Exception {
        applies: |case| {
            matches!(
                case,
                Case::Format {
                    verb: "NOOP",
                    has_arguments: true
                }
            )
        },
        ours: "NOOP\n",
        why: "dmtp.md §12.3 no. 2: nameless arguments are a defect, and NOOP needs none",
    },
    Exception {
        applies: |case| matches!(case, Case::Line(line) if line.starts_with("NOOP ") && line.ends_with('\n')),
        ours: "accepted",
        why: "dmtp.md §6.12: any argument of NOOP is accepted and ignored",
    },
    Exception {
        applies: |case| matches!(case, Case::Line(line) if is_other_case(line)),
        ours: "accepted",
        why: "dmtp.md §12.3 no. 5: any case is accepted",
    },
    Exception {
        applies: |case| matches!(case, Case::Line(line) if is_bracket_grammar(line)),
        ours: "accepted",
        why: "dmtp.md §2: that is the bracket grammar, which libdime's own client speaks",
    },
    Exception {
        applies: |case| matches!(case, Case::Line(line) if line.contains("=<>") || line.contains("=[]")),
        ours: "refused",
        why: "dmtp.md §6.1: empty values are refused",
    },
    Exception {
        applies: |case| matches!(case, Case::Line(line) if line.trim_end().ends_with(" MODE=")),
        ours: "refused",
        why: "dmtp.md §5.3: an unknown MODE is refused, the empty one too",
    },
    Exception {
        applies: |case| matches!(case, Case::ServerLine(line) if line.starts_with("STATS")),
        ours: "refused",
        why: "dmtp.md §6.10: nobody defined what it should answer",
    },
    Exception {
        applies: |case| matches!(case, Case::SignetReply(line) if line.len() > MAX_LINE),
        ours: "done",
        why: "dmtp.md §4.4: our client reads lines as long as the largest signet",
    },
    Exception {
        applies: |case| {
            matches!(
                case,
                Case::View {
                    reads_flags: true,
                    ..
                }
            )
        },
        ours: "decrypt-fail",
        why: "dmime.md §9: flags that are not implemented fail closed",
    },
    Exception {
        applies: is_misread_for_its_sizes,
        ours: "decrypt-fail",
        why: "dmime.md M6: unequal chunks are well formed; refused here only because the origin has not signed yet",
    },
    Exception {
        applies: |case| matches!(case, Case::OriginSigning { flags } if flags & 2 == 0),
        ours: "ok",
        why: "dmime.md M4: a display placeholder that is not signed is removed, so that the message verifies",
    },
    Exception {
        applies: |case| matches!(case, Case::View { octets, .. } if is_out_of_order(octets)),
        ours: "decrypt-fail",
        why: "dmime.md A1, A2: chunks stand in the order of their types, and only content repeats",
    },
];

/// What ours does where that is not what libdime does.
pub fn ours(case: &Case<'_>) -> Option<&'static str> {
    let exception = EXCEPTIONS.iter().find(|exception| (exception.applies)(case))?;
    assert!(!exception.why.is_empty());
    Some(exception.ours)
}

/// A request that libdime calls broken although its predecessor's key did sign the fields before the signature.
fn is_rotation_request(case: &Case<'_>) -> bool {
    let Case::Signet {
        judge,
        entry,
        octets,
        companions,
    } = case
    else {
        return false;
    };
    let Ok(request) = Signet::decode(octets) else {
        return false;
    };
    let Some(custody) = request.field(id::CUSTODY) else {
        return false;
    };
    if request.kind() != Kind::Request
        || libdimes_outcome(entry) != "SS_BROKEN_COC"
        || companions["previous"].is_null()
    {
        return false;
    }
    let organization = judge.organization(companions).expect("an organization");
    let previous = judge.previous(companions, &organization).expect("a valid one");
    // Behind the header: up to the two signatures of 65 octets each, which end a request.
    let covered = &octets[5..octets.len() - 2 * 65];
    let signature = Signature(custody.try_into().expect("64 octets"));
    previous
        .expect("a predecessor")
        .signing_key()
        .verify(covered, &signature)
        .is_ok()
}

fn has_unknown_predecessor(case: &Case<'_>) -> bool {
    let Case::Signet {
        entry,
        octets,
        companions,
        ..
    } = case
    else {
        return false;
    };
    libdimes_outcome(entry) == "SS_BROKEN_COC"
        && companions["previous"].is_null()
        && Signet::decode(octets)
            .is_ok_and(|signet| signet.kind() == Kind::User && signet.field(id::CUSTODY).is_some())
}

/// Whether something whole ends before these octets do.
fn has_octets_after_the_last_signature(case: &Case<'_>) -> bool {
    let Case::Signet { octets, .. } = case else {
        return false;
    };
    let ends_at = |end: usize| {
        let length = u32::try_from(end - 5).expect("a short object").to_be_bytes();
        let shorter = [&octets[..2], &length[1..], &octets[5..end]].concat();
        Signet::decode(&shorter).is_ok_and(|signet| match signet.kind() {
            Kind::Request => true,
            _ => signet.level() == Some(Level::Id),
        })
    };
    Signet::decode(octets).is_err()
        && octets.len() > 5
        && octets[2..5] == u32::try_from(octets.len() - 5).unwrap().to_be_bytes()[1..]
        && (5..octets.len()).any(ends_at)
}

fn lacks_an_organization(case: &Case<'_>) -> bool {
    let Case::Signet {
        judge,
        entry,
        octets,
        companions,
    } = case
    else {
        return false;
    };
    libdimes_outcome(entry) == "SS_UNKNOWN"
        && companions["org"].is_null()
        && Signet::decode(octets).is_ok_and(|signet| signet.kind() == Kind::User && judge.is_intact(&signet))
}

fn names_a_dropped_field(text: &str) -> bool {
    let names = text
        .split([' ', ';'])
        .filter_map(|field| Some(field.split_once('=')?.0));
    names
        .into_iter()
        .any(|name| ["exp", "expiry", "syn", "syndicates"].contains(&name.to_ascii_lowercase().as_str()))
}

fn is_other_case(line: &str) -> bool {
    let verb = line.split_ascii_whitespace().next().unwrap_or_default();
    verb != verb.to_ascii_uppercase()
}

fn is_bracket_grammar(line: &str) -> bool {
    let arguments = line.split_once(' ').map(|(_, arguments)| arguments);
    arguments.is_some_and(|arguments| arguments.starts_with(['<', '[']))
}

/// libdime's reader counts chunks of a section by the size of the first (`dmime.md` M6).
fn is_misread_for_its_sizes(case: &Case<'_>) -> bool {
    let Case::View {
        octets,
        actor: Actor::Destination | Actor::Recipient,
        is_signed: false,
        ..
    } = case
    else {
        return false;
    };
    let Ok(message) = Message::parse(octets.to_vec(), &Limits::default()) else {
        return false;
    };
    [ChunkType::Display, ChunkType::Attachment]
        .into_iter()
        .any(|kind| {
            let mut sizes = message.all(kind).map(|chunk| chunk.payload_size);
            let first = sizes.next();
            sizes.any(|size| Some(size) != first)
        })
}

/// Walks over the chunks by their sizes alone.
fn is_out_of_order(octets: &[u8]) -> bool {
    let start = match octets {
        [0x07, 0x2d, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    let mut rest = octets.get(start + 6..).unwrap_or_default();
    let mut last = 0;
    while let [id, a, b, c, ..] = *rest {
        let Some(kind) = ChunkType::from_id(id) else {
            return false;
        };
        if id < last || id == last && !kind.repeats() {
            return true;
        }
        last = id;
        let payload = u32::from_be_bytes([0, a, b, c]) as usize;
        let size = HEADER_SIZE + payload + KEYSLOT_SIZE * kind.readers().len();
        rest = rest.get(size..).unwrap_or_default();
    }
    false
}

#[test]
fn exceptions_hold_for_what_they_say_and_for_nothing_near_it() {
    let line = |text: &str| ours(&Case::Line(text));
    assert_eq!(line("ehlo HOST=<x>\n"), Some("accepted"));
    assert_eq!(line("EHLO HOST=<x>\n"), None);
    assert_eq!(line("EHLO <x>\n"), Some("accepted"));
    assert_eq!(line("EHLO HOST=<>\n"), Some("refused"));
    assert_eq!(line("STARTTLS HOST=<x> MODE=DMTP\n"), None);
    assert_eq!(ours(&Case::Record("ver=1 pok=x")), None);
    assert_eq!(ours(&Case::Record("ver=1;EXP=3")), Some("keeps exp and syn"));
    assert_eq!(ours(&Case::OriginSigning { flags: 2 }), None);
    let short = base64(&[0; 3063]);
    assert_eq!(ours(&Case::SignetReply(&format!("250 OK [{short}]\r\n"))), None);
    let long = base64(&[0; 3064]);
    assert_eq!(
        ours(&Case::SignetReply(&format!("250 OK [{long}]\r\n"))),
        Some("done")
    );
}
