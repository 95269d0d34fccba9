//! D/MIME 2 for its recipient: opened with the keys that a user left with us, or wrapped for one who has them elsewhere
//! (`dmime2.md` §10.4, §17). From spool to spool.

use std::io::{self, Read, Write};

use super::format2::{known, unix_secs};
use super::{Arrival, Refusal, aside};
use crate::base::time::Timestamp;
use crate::crypto::ed25519::VerifyingKey;
use crate::delivery::wrapper;
use crate::dime::convert::marker::Verification;
use crate::dime::convert::rebuilt_header;
use crate::dime::dmime2::Candidate;
use crate::dime::dmime2::content::Opened;
use crate::dime::dmime2::destination::Authenticated;
use crate::dime::dmime2::reader::{Reading, Signets, Verified};
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::{Domain, ReversePath};
use crate::signet_service::Named;
use crate::store::BodyWriter;
use crate::store::blocking::{Appender, Reader};

/// A message ready for the recipient's mailbox.
pub(super) struct Mail {
    /// All of it, to be committed.
    pub writer: Box<dyn BodyWriter>,
    /// The verified author, if the message was opened.
    pub reverse_path: ReversePath,
    /// It has octets above 127.
    pub eight_bit: bool,
    /// The verified author's signing key, if the message was opened for a user.
    pub author: Option<VerifyingKey>,
}

/// An authenticated message about to be opened for its recipient.
pub(super) struct Opening<'a> {
    pub arrival: &'a Arrival<'a>,
    pub authenticated: &'a Authenticated,
    /// The signet that the origin was authenticated with.
    pub origin: Named<VerifiedOrg>,
    /// The recipient's.
    pub keys: Vec<Candidate>,
    /// When it arrived.
    pub now: Timestamp,
}

/// The signets that it takes to verify a message.
struct Parties {
    author: Option<Named<VerifiedUser>>,
    origin: Named<VerifiedOrg>,
    destination: Option<Named<VerifiedOrg>>,
}

impl Opening<'_> {
    /// Verifies and opens the object, and appends it with its marker field to `writer`, where our trace field stands.
    ///
    /// Nothing of it is written before all of it has been checked.
    pub async fn write(
        self,
        object: Box<dyn BodyWriter>,
        writer: Box<dyn BodyWriter>,
    ) -> Result<Mail, Refusal> {
        let arrival = self.arrival;
        let host = arrival.services.config.server.hostname.clone();
        let reading = self.read().await?;
        let parties = self.parties(&reading).await?;
        let author = parties.author.as_ref().map(|author| author.signet.signing_key());
        let sighting = parties.author.as_ref().and_then(|author| author.sighting.clone());
        let verified = aside(arrival.services, arrival.size_bytes, move || {
            verify(reading, &parties)
        })
        .await??;
        if let Some(author) = author {
            let gate = &arrival.services.gate;
            gate.admit_author(arrival.origin, author).await?;
        }
        if let Some(sighting) = sighting {
            arrival.services.directory.remember_author(sighting).await?;
        }
        let mail = aside(arrival.services, arrival.size_bytes, move || {
            open(verified, object, writer, &host)
        })
        .await??;
        Ok(Mail { author, ..mail })
    }

    /// Steps 1 to 6.
    async fn read(&self) -> Result<Reading, Refusal> {
        let outline = self.authenticated.outline().clone();
        let account = self.authenticated.envelope().recipient.clone();
        let (keys, arrival) = (self.keys.clone(), unix_secs(self.now));
        let work = move || Reading::as_recipient(&outline, &keys, &account, arrival, None);
        Ok(aside(self.arrival.services, self.arrival.size_bytes, work).await??)
    }

    /// Step 7. The author is of the domain that MAIL named (E5), and nobody else is asked.
    async fn parties(self, reading: &Reading) -> Result<Parties, Refusal> {
        let directory = &self.arrival.services.directory;
        let created = self.authenticated.outline().created();
        let named = reading.origin_envelope();
        let author = directory
            .named_author(&self.origin.signet, &named.author, named.author_signet, created)
            .await;
        let destination = directory
            .named_organization(&named.destination, named.destination_signet, created)
            .await;
        Ok(Parties {
            author: known(author)?,
            destination: known(destination)?,
            origin: self.origin,
        })
    }
}

/// Step 8.
fn verify(reading: Reading, parties: &Parties) -> Result<Verified, Refusal> {
    let verified = reading.check(&Signets {
        author: parties.author.as_ref().map(Named::known),
        origin: Some(parties.origin.known()),
        destination: parties.destination.as_ref().map(Named::known),
        recipient: None,
    });
    Ok(verified?)
}

/// Step 9, and the message as it is delivered.
fn open(
    verified: Verified,
    mut object: Box<dyn BodyWriter>,
    mut writer: Box<dyn BodyWriter>,
    host: &Domain,
) -> Result<Mail, Refusal> {
    let mut source = Reader::new(&mut object);
    let opened = verified.open(&mut source)?;
    let eight_bit = rebuild(&opened, source, &mut *writer, host)?;
    let author = opened.verified().origin_envelope().author.clone();
    Ok(Mail {
        writer,
        reverse_path: ReversePath(Some(author)),
        eight_bit,
        author: None,
    })
}

/// Marker field, header and body; whether any octet is above 127.
fn rebuild(
    opened: &Opened,
    source: impl Read + io::Seek,
    writer: &mut dyn BodyWriter,
    host: &Domain,
) -> Result<bool, Refusal> {
    let mut out = Watched {
        inner: Appender::new(writer),
        eight_bit: false,
    };
    let marker = Verification::of_format2(host, opened).to_string();
    out.write_all(marker.as_bytes()).map_err(failed)?;
    let header = rebuilt_header(&opened.common_headers, &opened.other_headers);
    out.write_all(&header).map_err(failed)?;
    opened.write_body(source, &mut out)?;
    Ok(out.eight_bit)
}

/// Appends the object as it is, in base64, to `writer`, where the header of the wrapper stands.
pub(super) fn wrap(
    mut object: Box<dyn BodyWriter>,
    mut writer: Box<dyn BodyWriter>,
) -> Result<Mail, Refusal> {
    wrapper::body(Reader::new(&mut object), Appender::new(&mut *writer)).map_err(failed)?;
    Ok(Mail {
        writer,
        reverse_path: ReversePath::NULL,
        eight_bit: false,
        author: None,
    })
}

/// Only the spool can fail here.
fn failed(_: io::Error) -> Refusal {
    Refusal::Fault
}

/// Passes octets on, and sees whether they are ASCII.
struct Watched<W> {
    inner: W,
    eight_bit: bool,
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.eight_bit |= !octets.is_ascii();
        self.inner.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
