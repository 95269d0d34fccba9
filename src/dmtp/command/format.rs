//! Writing command lines.

use super::{Command, Deposit, Dialect, Error, MAX_LINE, Mail, Protocol, Return, Upgrade, Width};
use crate::dime::fingerprint::AnyFingerprint;
use crate::dmtp::name::Name;
use crate::mail::address::Mailbox;

/// What libdime's client writes where it has no fingerprint (`dmtp.md` §6.1).
const NO_FINGERPRINT: &str = "fingerprint";

impl Command {
    /// The line with its terminator.
    ///
    /// Errors: [`Error::Inexpressible`] if the grammar lacks an argument that is set or demands one that is
    /// missing, [`Error::UnsafeValue`] for a value that would change the command's meaning, [`Error::TooLong`].
    pub fn format(&self, dialect: Dialect) -> Result<String, Error> {
        let (body, end) = match dialect {
            Dialect::Bracket => (bracket(self)?, "\r\n"),
            Dialect::KeyValue => (key_value(self)?, "\n"),
        };
        if !body.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
            return Err(Error::UnsafeValue);
        }
        if body.len() + end.len() > MAX_LINE {
            return Err(Error::TooLong);
        }
        Ok(body + end)
    }
}

fn bracket(command: &Command) -> Result<String, Error> {
    Ok(match command {
        Command::StartTls(Some(Upgrade { host, mode })) => {
            format!("STARTTLS <{host}>{}", optional_mode(*mode, "DMTPv1"))
        }
        Command::Ehlo(domain) => format!("EHLO <{domain}>"),
        Command::Helo(domain) => format!("HELO <{domain}>"),
        Command::Mail(mail) => bracket_mail(mail)?,
        Command::Rcpt {
            destination,
            fingerprint,
        } => {
            format!("RCPT TO: <{destination}> [{}]", or_literal(fingerprint.as_ref()))
        }
        Command::Data(Some(hash)) => format!("DATA [{hash}]"),
        Command::Signet { name, fingerprint } => {
            format!("SGNT {}{}", enclosed(name)?, optional(" ", fingerprint.as_ref()))
        }
        Command::Verify { name, fingerprint } => format!("VRFY {} [{fingerprint}]", enclosed(name)?),
        Command::History {
            address,
            start: Some(start),
            stop,
        } => {
            format!(
                "HIST {} [{start}]{}",
                enclosed(&user(address)?)?,
                optional(" ", stop.as_ref())
            )
        }
        Command::Data(None) | Command::History { start: None, .. } => return Err(Error::Inexpressible),
        Command::Auth { mechanism, initial } => {
            let response = initial.as_ref().map_or("", |response| response.expose());
            let line = format!("AUTH {mechanism} {response}");
            line.trim_end_matches(' ').to_owned()
        }
        Command::Keys(None) => "KEYS".to_owned(),
        Command::Keys(Some(Deposit { replaces, size })) => format!("KEYS [{replaces}] SIZE={size}"),
        Command::Request(None) => "SSR".to_owned(),
        Command::Request(Some(size)) => format!("SSR SIZE={size}"),
        Command::KeySets(size) => format!("SETS SIZE={size}"),
        Command::Stats => "STATS".to_owned(),
        Command::Verb => "VERB".to_owned(),
        plain => without_arguments(plain)?,
    })
}

fn bracket_mail(mail: &Mail) -> Result<String, Error> {
    let size = mail.size.filter(|size| *size > 0).ok_or(Error::Inexpressible)?;
    let fingerprint = or_literal(mail.fingerprint.as_ref());
    let returning = match mail.returning {
        None => "",
        Some(Return::Full) => " RETURN=FULL",
        Some(Return::Display) => " RETURN=DISPLAY",
        Some(Return::Header) => " RETURN=HEADER",
    };
    let width = match mail.width {
        None => "",
        Some(Width::Seven) => " DATA=7BIT",
        Some(Width::Eight) => " DATA=8BIT",
    };
    Ok(format!(
        "MAIL FROM: <{}> [{fingerprint}] SIZE={size}{returning}{width}",
        mail.origin
    ))
}

fn key_value(command: &Command) -> Result<String, Error> {
    Ok(match command {
        Command::StartTls(Some(Upgrade { host, mode })) => {
            format!("STARTTLS HOST=<{host}>{}", optional_mode(*mode, "DMTP"))
        }
        Command::Ehlo(domain) => format!("EHLO HOST=<{domain}>"),
        Command::Helo(domain) => format!("HELO HOST=<{domain}>"),
        Command::Mail(Mail {
            origin,
            fingerprint: Some(fingerprint),
            size: None,
            returning: None,
            width: None,
        }) => {
            format!("MAIL FROM=<{origin}> FINGERPRINT=[{fingerprint}]")
        }
        Command::Rcpt {
            destination,
            fingerprint: Some(fingerprint),
        } => {
            format!("RCPT TO=<{destination}> FINGERPRINT=[{fingerprint}]")
        }
        Command::Data(None) => "DATA".to_owned(),
        Command::Signet { name, fingerprint } => {
            format!(
                "SGNT {}{}",
                keyed(name)?,
                optional(" FINGERPRINT=", fingerprint.as_ref())
            )
        }
        Command::Verify { name, fingerprint } => format!("VRFY {} FINGERPRINT=[{fingerprint}]", keyed(name)?),
        Command::History { address, start, stop } => {
            let start = optional(" START=", start.as_ref());
            format!(
                "HIST {}{start}{}",
                keyed(&user(address)?)?,
                optional(" STOP=", stop.as_ref())
            )
        }
        Command::Mail(_) | Command::Rcpt { .. } | Command::Data(Some(_)) => return Err(Error::Inexpressible),
        plain => without_arguments(plain)?,
    })
}

fn without_arguments(command: &Command) -> Result<String, Error> {
    let verb = match command {
        Command::StartTls(None) => "STARTTLS",
        Command::Mode => "MODE",
        Command::Noop => "NOOP",
        Command::Rset => "RSET",
        Command::Help => "HELP",
        Command::Quit => "QUIT",
        _ => return Err(Error::Inexpressible),
    };
    Ok(verb.to_owned())
}

fn optional_mode(mode: Option<Protocol>, dmtp: &str) -> String {
    match mode {
        None => String::new(),
        Some(Protocol::Smtp) => " MODE=SMTP".to_owned(),
        Some(Protocol::Dmtp) => format!(" MODE={dmtp}"),
    }
}

fn or_literal(fingerprint: Option<&AnyFingerprint>) -> String {
    fingerprint.map_or_else(|| NO_FINGERPRINT.to_owned(), ToString::to_string)
}

fn optional(label: &str, fingerprint: Option<&AnyFingerprint>) -> String {
    fingerprint.map_or_else(String::new, |fingerprint| format!("{label}[{fingerprint}]"))
}

fn user(address: &Mailbox) -> Result<Name, Error> {
    Name::try_from(address).map_err(|_| Error::UnsafeValue)
}

fn enclosed(name: &Name) -> Result<String, Error> {
    Ok(format!("<{}>", checked(name)?))
}

fn keyed(name: &Name) -> Result<String, Error> {
    let label = if name.address().is_some() {
        "USER"
    } else {
        "DOMAIN"
    };
    Ok(format!("{label}=<{}>", checked(name)?))
}

/// A name may have been built from a mailbox that DMTP cannot carry; nothing unchecked goes between brackets.
fn checked(name: &Name) -> Result<String, Error> {
    let text = name.to_string();
    match Name::parse(&text) {
        Ok(parsed) if parsed == *name => Ok(text),
        _ => Err(Error::UnsafeValue),
    }
}
