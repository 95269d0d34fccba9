//! A short mail from this host to a user of its own.

use super::address::{Domain, Mailbox};
use super::date::rfc5322;
use crate::base::id::QueueId;
use crate::base::time::Timestamp;

/// Everything a notice says. Subject and text are ours, in ASCII; lines of the text end in LF.
#[derive(Debug, Clone)]
pub struct Notice<'a> {
    /// Id in the spool; also names the mail.
    pub id: QueueId,
    /// Who writes.
    pub host: &'a Domain,
    /// To whom.
    pub to: &'a Mailbox,
    /// When.
    pub date: Timestamp,
    /// What about.
    pub subject: &'a str,
    /// What.
    pub text: &'a str,
}

impl Notice<'_> {
    /// The message, with CRLF line ends. Nobody is to answer it, and programs do not (RFC 3834).
    pub fn render(&self) -> Vec<u8> {
        let Self { id, host, to, .. } = self;
        let header = format!(
            "From: {host} <MAILER-DAEMON@{host}>\r\n\
             To: {to}\r\n\
             Subject: {subject}\r\n\
             Date: {date}\r\n\
             Message-ID: <{id}@{host}>\r\n\
             Auto-Submitted: auto-generated\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=us-ascii\r\n\
             \r\n",
            subject = self.subject,
            date = rfc5322(self.date),
        );
        (header + &self.text.replace('\n', "\r\n")).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_notice_is_a_plain_mail_that_nothing_answers() {
        let id = QueueId::random(&mut rand::rng());
        let notice = Notice {
            id,
            host: &"mx.hismail.test".parse().unwrap(),
            to: &"pat@hismail.test".parse().unwrap(),
            date: Timestamp(1_800_000_000_000),
            subject: "Something",
            text: "One line\nand another.\n",
        };
        let expected = format!(
            "From: mx.hismail.test <MAILER-DAEMON@mx.hismail.test>\r\nTo: pat@hismail.test\r\nSubject: Something\r\n\
             Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <{id}@mx.hismail.test>\r\n\
             Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             One line\r\nand another.\r\n"
        );
        assert_eq!(String::from_utf8(notice.render()).unwrap(), expected);
    }
}
