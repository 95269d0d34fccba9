//! All replies that an SMTP session sends, in one place (RFC 5321 §4.2, RFC 3463).
//!
//! Many end up before a person's eyes, so a refusal says what is wrong and, where it is not plain, what to do about it. What is
//! wrong over here and may pass is 4xx.

use super::Question;
use crate::mail::address;
use crate::mail::reply::{EnhancedStatus, Reply};
use crate::smtp::MAX_LINE;
use crate::smtp::auth::dialogue::Refused;
use crate::smtp::command;
use crate::smtp::data::Fault;

/// Wrong user name or password, without saying which (RFC 4954 §6).
pub fn authentication_failed() -> Reply {
    reply(
        535,
        (5, 7, 8),
        "Authentication credentials invalid: check user name and password",
    )
}

/// An unknown mailbox of ours.
pub fn no_such_mailbox() -> Reply {
    reply(
        550,
        (5, 1, 1),
        "No such mailbox here: check the address for mistakes",
    )
}

/// Aliases that lead to nobody but each other.
pub fn alias_loop() -> Reply {
    reply(550, (5, 4, 6), "The aliases of this address lead to nobody")
}

/// Mail for other domains from somebody we do not know.
pub fn relaying_denied() -> Reply {
    reply(
        550,
        (5, 7, 1),
        "Relaying denied: log in on the submission port to send to other domains",
    )
}

/// A failure of ours that may pass.
pub fn local_error() -> Reply {
    reply(451, (4, 3, 0), "Local error, try again later")
}

/// No room (DESIGN.md §7).
pub fn storage_full() -> Reply {
    reply(452, (4, 3, 1), "Out of storage, try again later")
}

/// An operator wants nothing new to be taken.
pub fn not_accepting() -> Reply {
    reply(451, (4, 3, 2), "No mail is taken for now, try again later")
}

/// A yes to the owner's question; a chunk is answered when it has been read.
pub(super) fn accepted(question: Question, text: &str) -> Option<Reply> {
    Some(match question {
        Question::MailFrom { .. } => reply(250, (2, 1, 0), text),
        Question::RcptTo => reply(250, (2, 1, 5), text),
        Question::Verifier => return None,
        Question::Authenticate => reply(235, (2, 7, 0), text),
        Question::DataStart => Reply::plain(354, "End data with <CR><LF>.<CR><LF>"),
        Question::FirstChunk(_) => return None,
        Question::DataEnd => reply(250, (2, 0, 0), text),
    })
}

pub(super) fn chunk_taken(size_bytes: u64) -> Reply {
    reply(250, (2, 0, 0), &format!("{size_bytes} octets received"))
}

pub(super) fn unusable_chunk_size() -> Reply {
    reply(521, (5, 5, 4), "Unusable chunk size, closing connection")
}

pub(super) fn ok() -> Reply {
    reply(250, (2, 0, 0), "Ok")
}

pub(super) fn bye() -> Reply {
    reply(221, (2, 0, 0), "Bye")
}

pub(super) fn cannot_verify() -> Reply {
    reply(
        252,
        (2, 0, 0),
        "Cannot verify, but will accept mail and attempt delivery",
    )
}

pub(super) fn help() -> Reply {
    reply(
        214,
        (2, 0, 0),
        "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS AUTH",
    )
}

pub(super) fn start_tls() -> Reply {
    reply(220, (2, 0, 0), "Go ahead")
}

pub(super) fn send_response(challenge: &str) -> Reply {
    Reply::plain(334, challenge)
}

/// The refusal of a line that is no command.
pub(super) fn no_command(error: command::Error) -> Reply {
    match error {
        command::Error::NotText => reply(
            500,
            (5, 5, 2),
            "Line is not text: it has to be UTF-8 without control characters",
        ),
        command::Error::UnknownVerb => reply(500, (5, 5, 2), "Command not recognized"),
        command::Error::Arguments | command::Error::ChunkSize => {
            reply(501, (5, 5, 4), "Syntax error in arguments")
        }
        command::Error::Value(name) => {
            let text = format!("The value of {name} has no meaning, or it is given twice");
            Reply::new(501, EnhancedStatus(5, 5, 4), &text)
        }
        command::Error::Parameter => reply(
            555,
            (5, 5, 4),
            "Parameter not supported: the reply to EHLO says which are",
        ),
        command::Error::ReversePath(error) => reply(
            501,
            path_status(error, 7, 8),
            &format!("Bad sender address: it is written {}", path_form(error)),
        ),
        command::Error::ForwardPath(error) => reply(
            501,
            path_status(error, 3, 2),
            &format!("Bad recipient address: it is written {}", path_form(error)),
        ),
    }
}

/// X.1.`whole` for an address that is none, X.1.`domain` if only its domain is wrong.
fn path_status(error: address::Error, whole: u16, domain: u16) -> (u8, u16, u16) {
    match error {
        address::Error::Domain => (5, 1, domain),
        _ => (5, 1, whole),
    }
}

/// What an address looks like. Hosts are not named by numbers: mail for this one's postmaster goes to `<postmaster>`.
fn path_form(error: address::Error) -> &'static str {
    match error {
        address::Error::Domain => "<name@domain>, and an IP address is no domain here",
        _ => "<name@domain>",
    }
}

/// The refusal of a response to AUTH.
pub(super) fn no_login(refused: Refused) -> Reply {
    match refused {
        Refused::Malformed => reply(501, (5, 5, 2), "Malformed authentication response"),
        Refused::Failed => authentication_failed(),
        Refused::Mechanism => unknown_mechanism(),
    }
}

/// The one reply to a message that was swallowed.
pub(super) fn fault(fault: Fault) -> Reply {
    match fault {
        Fault::BareCr | Fault::BareLf => reply(
            550,
            (5, 6, 11),
            "Message has CR or LF by itself: its lines have to end in CRLF",
        ),
        Fault::Nul => reply(
            550,
            (5, 6, 11),
            "Message has NUL: send what is not text as base64",
        ),
        Fault::LineTooLong => reply(
            550,
            (5, 6, 0),
            "Message has a line that is too long: send it as quoted-printable or base64",
        ),
        Fault::TooLarge => too_large(),
    }
}

pub(super) fn too_large() -> Reply {
    reply(
        552,
        (5, 3, 4),
        "Message too large: the reply to EHLO says what is taken (SIZE)",
    )
}

pub(super) fn line_too_long() -> Reply {
    let text = format!("Line too long: at most {MAX_LINE} octets are read");
    reply(500, (5, 5, 2), &text)
}

pub(super) fn bare_line_end() -> Reply {
    reply(
        521,
        (5, 5, 2),
        "CR or LF by itself, closing connection: lines end in CRLF",
    )
}

pub(super) fn unimplemented() -> Reply {
    reply(502, (5, 5, 1), "Command not implemented")
}

pub(super) fn hello_first() -> Reply {
    out_of_order("EHLO first")
}

pub(super) fn out_of_order(text: &str) -> Reply {
    reply(503, (5, 5, 1), text)
}

pub(super) fn starttls_first() -> Reply {
    reply(
        530,
        (5, 7, 0),
        "STARTTLS first: turn on encryption in your mail program",
    )
}

pub(super) fn authentication_required() -> Reply {
    reply(530, (5, 7, 0), "Authentication required: log in first")
}

pub(super) fn encryption_required() -> Reply {
    reply(
        538,
        (5, 7, 11),
        "Encryption required for authentication: give STARTTLS first",
    )
}

pub(super) fn unknown_mechanism() -> Reply {
    reply(
        504,
        (5, 5, 4),
        "Authentication mechanism not supported: the reply to EHLO says which are",
    )
}

pub(super) fn authentication_cancelled() -> Reply {
    reply(501, (5, 7, 0), "Authentication cancelled")
}

pub(super) fn parameter_not_supported() -> Reply {
    no_command(command::Error::Parameter)
}

pub(super) fn smtputf8_needed() -> Reply {
    reply(
        553,
        (5, 6, 7),
        "Address needs SMTPUTF8: say so at MAIL, or use one in ASCII",
    )
}

pub(super) fn too_many_recipients() -> Reply {
    reply(
        452,
        (4, 5, 3),
        "Too many recipients: send to the others in another transaction",
    )
}

pub(super) fn no_valid_recipients() -> Reply {
    reply(554, (5, 5, 1), "No valid recipients: all of them were refused")
}

pub(super) fn too_many_errors() -> Reply {
    reply(421, (4, 7, 0), "Too many errors, closing connection")
}

pub(super) fn too_many_failed_logins() -> Reply {
    reply(421, (4, 7, 0), "Too many failed logins, closing connection")
}

pub(super) fn too_many_idle_commands() -> Reply {
    reply(
        421,
        (4, 7, 0),
        "Too many commands without mail, closing connection",
    )
}

pub(super) fn timed_out() -> Reply {
    reply(421, (4, 4, 2), "Timed out, closing connection")
}

pub(super) fn shutting_down() -> Reply {
    reply(421, (4, 3, 2), "Shutting down, try again later")
}

pub(super) fn given_up() -> Reply {
    reply(
        421,
        (4, 3, 2),
        "No mail is taken for now, try again later, closing connection",
    )
}

fn reply(code: u16, (class, subject, detail): (u8, u16, u16), text: &str) -> Reply {
    Reply::new(code, EnhancedStatus(class, subject, detail), text)
}
