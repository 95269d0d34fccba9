//! Reading command lines.

use super::{Command, CommitHash, Deposit, Error, Mail, Protocol, Return, Upgrade, Width};
use crate::base::secret::Secret;
use crate::dime::fingerprint::AnyFingerprint;
use crate::dmtp::name::Name;
use crate::mail::address::{Domain, Mailbox};

/// Verbs of SMTP and its extensions that are not in DMTP.
const SMTP_VERBS: &[&str] = &[
    "BDAT", "BURL", "ETRN", "EXPN", "LHLO", "SAML", "SEND", "SOML", "TURN", "ATRN", "XCLIENT", "XFORWARD",
];

/// Reads one command without its terminator, in either grammar (`dmtp.md` §6.1).
///
/// Case does not matter for verbs, argument names and keywords. Errors: [`Error::UnknownVerb`],
/// [`Error::SmtpOnly`], [`Error::Arguments`].
pub fn parse(line: &[u8]) -> Result<Command, Error> {
    let end = line
        .iter()
        .position(|octet| is_space(*octet))
        .unwrap_or(line.len());
    let verb = std::str::from_utf8(&line[..end])
        .map_err(|_| Error::UnknownVerb)?
        .to_ascii_uppercase();
    let printable = line.iter().all(|octet| matches!(octet, b'\t' | b' '..=b'~'));
    let arguments = std::str::from_utf8(&line[end..]).ok().filter(|_| printable);
    command(&verb, arguments)
}

fn command(verb: &str, arguments: Option<&str>) -> Result<Command, Error> {
    if SMTP_VERBS.contains(&verb) {
        return Err(Error::SmtpOnly);
    }
    let parser: fn(&mut Arguments<'_>) -> Result<Command, Error> = match verb {
        "STARTTLS" => start_tls,
        "EHLO" => |arguments| host(arguments).map(Command::Ehlo),
        "HELO" => |arguments| host(arguments).map(Command::Helo),
        "MAIL" => mail,
        "RCPT" => rcpt,
        "DATA" => data,
        "SGNT" => signet,
        "VRFY" => verify,
        "HIST" => history,
        "AUTH" => auth,
        "KEYS" => keys,
        "SSR" => request,
        "SETS" => key_sets,
        "STATS" => |arguments| arguments.ignore(Command::Stats),
        "MODE" => |_| Ok(Command::Mode),
        "NOOP" => |arguments| arguments.ignore(Command::Noop),
        "RSET" => |_| Ok(Command::Rset),
        "HELP" => |arguments| arguments.ignore(Command::Help),
        "VERB" => |arguments| arguments.ignore(Command::Verb),
        "QUIT" => |_| Ok(Command::Quit),
        _ => return Err(Error::UnknownVerb),
    };
    let text = arguments.ok_or(Error::Arguments("printable ASCII expected"))?;
    let mut arguments = Arguments { rest: text };
    let command = parser(&mut arguments)?;
    arguments.finish()?;
    Ok(command)
}

fn start_tls(arguments: &mut Arguments<'_>) -> Result<Command, Error> {
    const EXPECTED: Error = Error::Arguments("STARTTLS <host> [MODE=DMTPv1]");
    if arguments.is_empty() {
        return Ok(Command::StartTls(None));
    }
    let host = match arguments.enclosed('<', '>')? {
        Some(host) => host,
        None => arguments.keyed("HOST=", '<', '>')?.ok_or(EXPECTED)?,
    };
    let host = domain(host)?;
    let mode = match arguments.word() {
        None => None,
        Some(word) => Some(mode(word).ok_or(Error::Arguments("MODE is DMTPv1 or SMTP"))?),
    };
    Ok(Command::StartTls(Some(Upgrade { host, mode })))
}

fn mode(word: &str) -> Option<Protocol> {
    let value = strip_prefix_any_case(word, "MODE=")?;
    match value.to_ascii_uppercase().as_str() {
        "DMTPV1" | "DMTP" => Some(Protocol::Dmtp),
        "SMTP" | "ESMTP" => Some(Protocol::Smtp),
        _ => None,
    }
}

/// EHLO and HELO: angle brackets are what marks a DMTP client (`dmtp.md` §5.4).
fn host(arguments: &mut Arguments<'_>) -> Result<Domain, Error> {
    if arguments.is_empty() {
        return Err(Error::Arguments("<domain> expected"));
    }
    let text = match arguments.enclosed('<', '>')? {
        Some(text) => text,
        None => match arguments.keyed("HOST=", '<', '>')? {
            Some(text) => text,
            None if arguments.rest.contains(['<', '>', '=']) => {
                return Err(Error::Arguments("<domain> expected"));
            }
            None => return Err(Error::SmtpOnly),
        },
    };
    domain(text)
}

fn mail(arguments: &mut Arguments<'_>) -> Result<Command, Error> {
    if let Some(origin) = arguments.keyed("FROM=", '<', '>')? {
        let origin = domain(origin)?;
        let fingerprint = arguments.keyed("FINGERPRINT=", '[', ']')?;
        let fingerprint =
            some_fingerprint(fingerprint.ok_or(Error::Arguments("FINGERPRINT=[..] expected"))?)?;
        return Ok(Command::Mail(Mail {
            origin,
            fingerprint: Some(fingerprint),
            size: None,
            returning: None,
            width: None,
        }));
    }
    let (origin, fingerprint) = path(arguments, "FROM:", "MAIL FROM: <domain> [fingerprint] SIZE=n")?;
    let mut mail = Mail {
        origin,
        fingerprint,
        size: None,
        returning: None,
        width: None,
    };
    while let Some(word) = arguments.word() {
        mail_parameter(&mut mail, word)?;
    }
    match mail.size {
        Some(_) => Ok(Command::Mail(mail)),
        None => Err(Error::Arguments("SIZE is required")),
    }
}

/// Each parameter may appear once.
fn mail_parameter(mail: &mut Mail, word: &str) -> Result<(), Error> {
    const UNKNOWN: Error = Error::Arguments("unknown or repeated parameter");
    let (name, value) = word.split_once('=').ok_or(UNKNOWN)?;
    match name.to_ascii_uppercase().as_str() {
        "SIZE" if mail.size.is_none() => mail.size = Some(size(value)?),
        "RETURN" if mail.returning.is_none() => mail.returning = Some(returning(value)?),
        "DATA" if mail.width.is_none() => mail.width = Some(width(value)?),
        _ => return Err(UNKNOWN),
    }
    Ok(())
}

fn size(value: &str) -> Result<u64, Error> {
    let digits = value.bytes().all(|octet| octet.is_ascii_digit());
    let size = value.parse().ok().filter(|size| digits && *size > 0);
    size.ok_or(Error::Arguments("SIZE is a number of octets"))
}

fn returning(value: &str) -> Result<Return, Error> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Ok(Return::Full),
        "DISPLAY" => Ok(Return::Display),
        "HEADER" => Ok(Return::Header),
        _ => Err(Error::Arguments("RETURN is FULL, DISPLAY or HEADER")),
    }
}

fn width(value: &str) -> Result<Width, Error> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(Width::Seven),
        "8BIT" => Ok(Width::Eight),
        _ => Err(Error::Arguments("DATA is 7BIT or 8BIT")),
    }
}

fn rcpt(arguments: &mut Arguments<'_>) -> Result<Command, Error> {
    if let Some(destination) = arguments.keyed("TO=", '<', '>')? {
        let destination = domain(destination)?;
        let fingerprint = arguments.keyed("FINGERPRINT=", '[', ']')?;
        let fingerprint =
            some_fingerprint(fingerprint.ok_or(Error::Arguments("FINGERPRINT=[..] expected"))?)?;
        return Ok(Command::Rcpt {
            destination,
            fingerprint: Some(fingerprint),
        });
    }
    let (destination, fingerprint) = path(arguments, "TO:", "RCPT TO: <domain> [fingerprint]")?;
    Ok(Command::Rcpt {
        destination,
        fingerprint,
    })
}

/// `FROM: <domain> [fp]`. What is in the brackets need not be a fingerprint: libdime sends a literal word.
fn path(
    arguments: &mut Arguments<'_>,
    label: &str,
    expected: &'static str,
) -> Result<(Domain, Option<AnyFingerprint>), Error> {
    let expected = Error::Arguments(expected);
    arguments.skip_space();
    arguments.rest = strip_prefix_any_case(arguments.rest, label).ok_or(expected)?;
    let domain = domain(arguments.enclosed('<', '>')?.ok_or(expected)?)?;
    let content = arguments.enclosed('[', ']')?.ok_or(expected)?;
    Ok((domain, AnyFingerprint::parse(content).ok()))
}

fn data(arguments: &mut Arguments<'_>) -> Result<Command, Error> {
    let hash = arguments.enclosed('[', ']')?;
    Ok(Command::Data(hash.and_then(CommitHash::parse)))
}

fn auth(arguments: &mut Arguments<'_>) -> Result<Command, Error> {
    let mechanism = arguments
        .word()
        .ok_or(Error::Arguments("AUTH mechanism [response]"))?;
    Ok(Command::Auth {
        mechanism: mechanism.to_owned(),
        initial: arguments.word().map(|response| Secret::new(response.to_owned())),
    })
}

fn keys(arguments: &mut Arguments<'_>) -> Result<Command, Error> {
    const EXPECTED: Error = Error::Arguments("KEYS [version] SIZE=n");
    let Some(version) = arguments.enclosed('[', ']')? else {
        return Ok(Command::Keys(None));
    };
    let digits = version.bytes().all(|octet| octet.is_ascii_digit());
    let replaces = version.parse().ok().filter(|_| digits).ok_or(EXPECTED)?;
    let size = announced(arguments)?.ok_or(EXPECTED)?;
    Ok(Command::Keys(Some(Deposit { replaces, size })))
}

fn request(arguments: &mut Arguments<'_>) -> Result<Command, Error> {
    announced(arguments).map(Command::Request)
}

fn key_sets(arguments: &mut Arguments<'_>) -> Result<Command, Error> {
    let size = announced(arguments)?;
    size.map(Command::KeySets).ok_or(Error::Arguments("SETS SIZE=n"))
}

/// How many octets are to follow, if any.
fn announced(arguments: &mut Arguments<'_>) -> Result<Option<u64>, Error> {
    let Some(word) = arguments.word() else {
        return Ok(None);
    };
    let digits = strip_prefix_any_case(word, "SIZE=").ok_or(Error::Arguments("SIZE=n expected"))?;
    size(digits).map(Some)
}

fn signet(arguments: &mut Arguments<'_>) -> Result<Command, Error> {
    let (name, fingerprint) = named_signet(arguments)?;
    Ok(Command::Signet { name, fingerprint })
}

fn verify(arguments: &mut Arguments<'_>) -> Result<Command, Error> {
    let (name, fingerprint) = named_signet(arguments)?;
    let fingerprint = fingerprint.ok_or(Error::Arguments("fingerprint required"))?;
    Ok(Command::Verify { name, fingerprint })
}

fn named_signet(arguments: &mut Arguments<'_>) -> Result<(Name, Option<AnyFingerprint>), Error> {
    if let Some(text) = arguments.enclosed('<', '>')? {
        let name = Name::parse(text).map_err(|_| Error::Arguments("not a name"))?;
        return Ok((name, optional_fingerprint(arguments.enclosed('[', ']')?)?));
    }
    let name = match arguments.keyed("USER=", '<', '>')? {
        Some(text) => address(text).map(Name::User)?,
        None => {
            let text = arguments.keyed("DOMAIN=", '<', '>')?;
            domain(text.ok_or(Error::Arguments("<name> expected"))?).map(Name::Organization)?
        }
    };
    Ok((
        name,
        optional_fingerprint(arguments.keyed("FINGERPRINT=", '[', ']')?)?,
    ))
}

fn history(arguments: &mut Arguments<'_>) -> Result<Command, Error> {
    let (address, start, stop) = if let Some(text) = arguments.enclosed('<', '>')? {
        let start = arguments.enclosed('[', ']')?;
        let start = some_fingerprint(start.ok_or(Error::Arguments("fingerprint required"))?)?;
        (
            text,
            Some(start),
            optional_fingerprint(arguments.enclosed('[', ']')?)?,
        )
    } else {
        let text = arguments
            .keyed("USER=", '<', '>')?
            .ok_or(Error::Arguments("<address> expected"))?;
        let start = optional_fingerprint(arguments.keyed("START=", '[', ']')?)?;
        (
            text,
            start,
            optional_fingerprint(arguments.keyed("STOP=", '[', ']')?)?,
        )
    };
    let address = self::address(address)?;
    Ok(Command::History { address, start, stop })
}

fn domain(text: &str) -> Result<Domain, Error> {
    match Name::parse(text) {
        Ok(Name::Organization(domain)) => Ok(domain),
        _ => Err(Error::Arguments("not a domain")),
    }
}

fn address(text: &str) -> Result<Mailbox, Error> {
    match Name::parse(text) {
        Ok(Name::User(address)) => Ok(address),
        _ => Err(Error::Arguments("user address required")),
    }
}

fn some_fingerprint(text: &str) -> Result<AnyFingerprint, Error> {
    AnyFingerprint::parse(text).map_err(|_| Error::Arguments("not a fingerprint"))
}

fn optional_fingerprint(text: Option<&str>) -> Result<Option<AnyFingerprint>, Error> {
    text.map(some_fingerprint).transpose()
}

fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

fn strip_prefix_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// What of a line has not been read. Arguments are set apart by white space.
struct Arguments<'a> {
    rest: &'a str,
}

impl<'a> Arguments<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn is_empty(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty()
    }

    fn finish(&mut self) -> Result<(), Error> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Error::Arguments("unexpected argument"))
        }
    }

    /// Drops what is left.
    fn ignore(&mut self, command: Command) -> Result<Command, Error> {
        self.rest = "";
        Ok(command)
    }

    /// The next word; nothing at the end.
    fn word(&mut self) -> Option<&'a str> {
        self.skip_space();
        let end = self.rest.find([' ', '\t']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// The content of a bracketed argument, if one is next: not empty, up to the first closing bracket, and
    /// followed by white space or the end.
    fn enclosed(&mut self, open: char, close: char) -> Result<Option<&'a str>, Error> {
        self.skip_space();
        let Some(inner) = self.rest.strip_prefix(open) else {
            return Ok(None);
        };
        let (content, rest) = inner
            .split_once(close)
            .ok_or(Error::Arguments("closing bracket expected"))?;
        if content.is_empty() {
            return Err(Error::Arguments("empty argument"));
        }
        if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
            return Err(Error::Arguments("white space expected"));
        }
        self.rest = rest;
        Ok(Some(content))
    }

    /// The same behind a name such as `HOST=`.
    fn keyed(&mut self, label: &str, open: char, close: char) -> Result<Option<&'a str>, Error> {
        self.skip_space();
        let Some(value) = strip_prefix_any_case(self.rest, label) else {
            return Ok(None);
        };
        if !value.starts_with(open) {
            return Err(Error::Arguments("bracket expected"));
        }
        self.rest = value;
        self.enclosed(open, close)
    }
}
