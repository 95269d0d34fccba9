//! Commands of a client: one line in, one typed command out (RFC 5321 §4.1).
//!
//! Parsing says what a line means; whether it is allowed now is the server machine's business.

use crate::base::secret::Secret;
use crate::mail::address::{self, Domain, ForwardPath, ReversePath};
use crate::mail::notify::{EnvelopeId, MessageRequest, Notify, OriginalRecipient, RecipientRequest, Ret};
use crate::mail::xtext;

/// One command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// EHLO or HELO.
    Hello(Hello),
    /// MAIL FROM.
    Mail(MailFrom),
    /// RCPT TO.
    Rcpt(RcptTo),
    /// DATA.
    Data,
    /// BDAT (RFC 3030 §2): the octets of the chunk follow the line.
    Bdat(Chunk),
    /// RSET.
    Rset,
    /// NOOP; its argument means nothing.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Vrfy,
    /// HELP; its argument is ignored.
    Help,
    /// STARTTLS without argument; the form with a host is DMTP's (`dmtp.md` §5.3).
    StartTls,
    /// AUTH.
    Auth {
        /// Name of the mechanism, upper case.
        mechanism: String,
        /// The initial response, still in base64; `=` is an empty one.
        initial: Option<Secret<String>>,
    },
    /// A command of RFC 5321 or its ancestors that we do not implement: EXPN, TURN, ….
    Unimplemented,
}

/// How a client introduced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// EHLO rather than HELO.
    pub extended: bool,
    /// Its name: letters, digits and `-._:[]` only, at most 255. Rarely true.
    pub name: String,
}

/// The arguments of MAIL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailFrom {
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// SIZE: octets of the message as the client counts them (RFC 1870).
    pub size_bytes: Option<u64>,
    /// BODY (RFC 6152).
    pub body: Body,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// AUTH was given (RFC 4954 §5); we trust nobody's word, so its value is dropped.
    pub auth: bool,
    /// RET and ENVID (RFC 3461).
    pub request: MessageRequest,
    /// It has characters outside ASCII, which only SMTPUTF8 allows.
    pub is_international: bool,
}

/// The arguments of RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RcptTo {
    /// Where the message is to go.
    pub forward_path: ForwardPath,
    /// NOTIFY and ORCPT (RFC 3461).
    pub request: RecipientRequest,
    /// Path or ORCPT has characters outside ASCII, which only SMTPUTF8 allows.
    pub is_international: bool,
}

/// What BODY declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Body {
    /// Seven bits, also when nothing is declared.
    #[default]
    SevenBit,
    /// Eight bits.
    EightBitMime,
}

/// The arguments of BDAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Octets that follow the command's line, whatever the answer will be.
    pub size_bytes: u64,
    /// The message ends with this chunk.
    pub last: bool,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Control characters, or not UTF-8.
    #[error("line is not text")]
    NotText,
    /// No known verb.
    #[error("command not recognized")]
    UnknownVerb,
    /// An argument is missing, malformed or not expected at all.
    #[error("syntax error in arguments")]
    Arguments,
    /// A parameter of MAIL or RCPT that we do not offer.
    #[error("parameter not supported")]
    Parameter,
    /// A parameter whose value has no meaning, or that is given twice.
    #[error("the value of {0} has no meaning, or it is given twice")]
    Value(&'static str),
    /// BDAT does not say how many octets follow, so the stream cannot be read on.
    #[error("unusable chunk size")]
    ChunkSize,
    /// The reverse-path is not one.
    #[error("not a reverse-path: {0}")]
    ReversePath(address::Error),
    /// The forward-path is not one.
    #[error("not a forward-path: {0}")]
    ForwardPath(address::Error),
}

/// Reads one line, given without its CRLF.
pub fn parse(line: &[u8]) -> Result<Command, Error> {
    let text = std::str::from_utf8(line).map_err(|_| Error::NotText)?;
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Error::NotText);
    }
    let (verb, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    parse_arguments(&verb.to_ascii_uppercase(), rest.trim_matches([' ', '\t']))
}

/// A line of MAIL or RCPT whose path is a name without a domain, with that domain behind it; `None` for all others.
pub fn with_domain(line: &[u8], domain: &Domain) -> Option<Vec<u8>> {
    let is_naming = ["MAIL FROM:", "RCPT TO:"].iter().any(|command| {
        let start = line.get(..command.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(command.as_bytes()))
    });
    let start = memchr::memchr(b'<', line).filter(|_| is_naming)? + 1;
    let end = start + memchr::memchr(b'>', &line[start..])?;
    let name = &line[start..end];
    let lacks_domain = !name.is_empty() && !name.contains(&b'@');
    let suffix = format!("@{domain}");
    lacks_domain.then(|| [&line[..end], suffix.as_bytes(), &line[end..]].concat())
}

fn parse_arguments(verb: &str, rest: &str) -> Result<Command, Error> {
    let bare = |command| {
        if rest.is_empty() {
            Ok(command)
        } else {
            Err(Error::Arguments)
        }
    };
    match verb {
        "EHLO" => hello(true, rest).map(Command::Hello),
        "HELO" => hello(false, rest).map(Command::Hello),
        "MAIL" => mail_from(rest).map(Command::Mail),
        "RCPT" => rcpt_to(rest).map(Command::Rcpt),
        "DATA" => bare(Command::Data),
        "BDAT" => bdat(rest).map(Command::Bdat),
        "RSET" => bare(Command::Rset),
        "QUIT" => bare(Command::Quit),
        "STARTTLS" => bare(Command::StartTls),
        "NOOP" => Ok(Command::Noop),
        "HELP" => Ok(Command::Help),
        "VRFY" if rest.is_empty() => Err(Error::Arguments),
        "VRFY" => Ok(Command::Vrfy),
        "AUTH" => auth(rest),
        "EXPN" | "TURN" | "ETRN" | "ATRN" | "SEND" | "SOML" | "SAML" | "BURL" => Ok(Command::Unimplemented),
        _ => Err(Error::UnknownVerb),
    }
}

/// A name, address literal or anything harmless: hosts are often misnamed, and nothing depends on the name.
fn hello(extended: bool, name: &str) -> Result<Hello, Error> {
    let is_harmless = name
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || b"-._:[]".contains(&octet));
    if name.is_empty() || name.len() > 255 || !is_harmless {
        return Err(Error::Arguments);
    }
    Ok(Hello {
        extended,
        name: name.to_owned(),
    })
}

fn mail_from(rest: &str) -> Result<MailFrom, Error> {
    let (path, parameters) = path_and_parameters(rest, "FROM:")?;
    let mut mail = MailFrom {
        reverse_path: ReversePath::parse(path).map_err(Error::ReversePath)?,
        size_bytes: None,
        body: Body::default(),
        smtputf8: false,
        require_tls: false,
        auth: false,
        request: MessageRequest::default(),
        is_international: !rest.is_ascii(),
    };
    each_parameter(parameters, |keyword, value| mail.set(keyword, value))?;
    Ok(mail)
}

/// Hands out the parameters; each may be given once.
fn each_parameter(
    parameters: &str,
    mut set: impl FnMut(&str, Option<&str>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut seen = Vec::new();
    for parameter in parameters.split_ascii_whitespace() {
        let (keyword, value) = keyword_and_value(parameter);
        if seen.contains(&keyword) {
            return Err(wrong(&keyword));
        }
        set(&keyword, value).map_err(|error| match error {
            Error::Arguments => wrong(&keyword),
            other => other,
        })?;
        seen.push(keyword);
    }
    Ok(())
}

/// Parameters of MAIL and RCPT that have a meaning here.
const PARAMETERS: [&str; 9] = [
    "SIZE",
    "BODY",
    "SMTPUTF8",
    "REQUIRETLS",
    "AUTH",
    "RET",
    "ENVID",
    "NOTIFY",
    "ORCPT",
];

fn wrong(keyword: &str) -> Error {
    let known = PARAMETERS.into_iter().find(|known| *known == keyword);
    known.map_or(Error::Arguments, Error::Value)
}

/// A value that reads as what the parameter takes.
fn known<T>(value: Option<T>) -> Result<Option<T>, Error> {
    value.map(Some).ok_or(Error::Arguments)
}

impl MailFrom {
    fn set(&mut self, keyword: &str, value: Option<&str>) -> Result<(), Error> {
        match (keyword, value) {
            ("SIZE", Some(size)) => self.size_bytes = Some(size_value(size)?),
            ("BODY", Some(body)) => self.body = body_value(body)?,
            ("SMTPUTF8", None) => self.smtputf8 = true,
            ("REQUIRETLS", None) => self.require_tls = true,
            ("AUTH", Some(mailbox)) if is_xtext(mailbox) => self.auth = true,
            ("RET", Some(ret)) => self.request.ret = known(Ret::parse(ret))?,
            ("ENVID", Some(id)) => self.request.envelope_id = known(EnvelopeId::parse(id))?,
            ("SIZE" | "BODY" | "SMTPUTF8" | "REQUIRETLS" | "AUTH" | "RET" | "ENVID", _) => {
                return Err(Error::Arguments);
            }
            _ => return Err(Error::Parameter),
        }
        Ok(())
    }
}

/// Whatever follows a size that can be read is known to be octets of the chunk, so nothing else is forgiven.
fn bdat(rest: &str) -> Result<Chunk, Error> {
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let size = words.next().unwrap_or_default();
    let is_number = (1..=20).contains(&size.len()) && size.bytes().all(|octet| octet.is_ascii_digit());
    let last = match (words.next(), words.next()) {
        (None, _) => false,
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => true,
        _ => return Err(Error::ChunkSize),
    };
    match size.parse() {
        Ok(size_bytes) if is_number => Ok(Chunk { size_bytes, last }),
        _ => Err(Error::ChunkSize),
    }
}

/// At most 20 digits (RFC 1870 §3); more than 64 bits hold is simply too large.
fn size_value(text: &str) -> Result<u64, Error> {
    let is_size = (1..=20).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    if is_size {
        Ok(text.parse().unwrap_or(u64::MAX))
    } else {
        Err(Error::Arguments)
    }
}

fn body_value(text: &str) -> Result<Body, Error> {
    match text.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(Body::SevenBit),
        "8BITMIME" => Ok(Body::EightBitMime),
        "BINARYMIME" => Err(Error::Parameter),
        _ => Err(Error::Arguments),
    }
}

/// `<>` is allowed.
fn is_xtext(text: &str) -> bool {
    !text.is_empty() && xtext::decode(text).is_some()
}

fn rcpt_to(rest: &str) -> Result<RcptTo, Error> {
    let (path, parameters) = path_and_parameters(rest, "TO:")?;
    let forward_path = ForwardPath::parse(path).map_err(Error::ForwardPath)?;
    let mut rcpt = RcptTo {
        forward_path,
        request: RecipientRequest::default(),
        is_international: !rest.is_ascii(),
    };
    each_parameter(parameters, |keyword, value| rcpt.set(keyword, value))?;
    Ok(rcpt)
}

impl RcptTo {
    fn set(&mut self, keyword: &str, value: Option<&str>) -> Result<(), Error> {
        match (keyword, value) {
            ("NOTIFY", Some(notify)) => {
                self.request.notify = Notify::parse(notify).ok_or(Error::Arguments)?;
            }
            ("ORCPT", Some(original)) => self.request.original = known(OriginalRecipient::parse(original))?,
            ("NOTIFY" | "ORCPT", _) => return Err(Error::Arguments),
            _ => return Err(Error::Parameter),
        }
        Ok(())
    }
}

/// Cuts `FROM:<path> parameters` in two. White space after the colon is tolerated, missing brackets are not.
fn path_and_parameters<'a>(rest: &'a str, keyword: &str) -> Result<(&'a str, &'a str), Error> {
    let (found, after) = rest.split_at_checked(keyword.len()).ok_or(Error::Arguments)?;
    let after = after.trim_start_matches([' ', '\t']);
    if !found.eq_ignore_ascii_case(keyword) || !after.starts_with('<') {
        return Err(Error::Arguments);
    }
    let (path, parameters) = after.split_at(path_length(after).ok_or(Error::Arguments)?);
    if !parameters.is_empty() && !parameters.starts_with([' ', '\t']) {
        return Err(Error::Arguments);
    }
    Ok((path, parameters.trim_matches([' ', '\t'])))
}

/// Octets up to and with the closing bracket; brackets in a quoted local-part do not count.
fn path_length(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some(at + 1),
            _ => (),
        }
    }
    None
}

fn keyword_and_value(parameter: &str) -> (String, Option<&str>) {
    match parameter.split_once('=') {
        Some((keyword, value)) => (keyword.to_ascii_uppercase(), Some(value)),
        None => (parameter.to_ascii_uppercase(), None),
    }
}

fn auth(rest: &str) -> Result<Command, Error> {
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let mechanism = words.next().ok_or(Error::Arguments)?.to_ascii_uppercase();
    let initial = words.next().map(|response| Secret::new(response.to_owned()));
    match words.next() {
        None => Ok(Command::Auth { mechanism, initial }),
        Some(_) => Err(Error::Arguments),
    }
}

#[cfg(test)]
mod tests;
