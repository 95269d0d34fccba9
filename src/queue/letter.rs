//! A message of the spool on its way out: made safe, converted if the next host needs that, and signed last.

use async_trait::async_trait;

use super::attempt::{Mailer, our_fault};
use crate::delivery::body::{Body, Octets};
use crate::delivery::letter::{Form, Letter, Ready};
use crate::delivery::{Diagnosis, Outcome};
use crate::mail::address::Mailbox;
use crate::mail::reply::EnhancedStatus;
use crate::mail::seven_bit::{self, Limit};
use crate::mail::survey::Survey;
use crate::mail::trace::original_to;
use crate::store::{Claim, Error, Source};

/// Memory that a conversion takes, as a multiple of the message: itself and its new form, in quoted-printable at worst.
const CONVERSION: u64 = 3;

/// A message in MIME.
pub(super) struct Outgoing<'a> {
    mailer: &'a Mailer,
    claim: &'a Claim,
    body: &'a mut Body,
    /// Whether it leaves here, so that somebody answers for it.
    leaves: bool,
    /// A field that goes before it in its new home.
    front: Vec<u8>,
    prepared: Option<(Form, Ready)>,
}

impl<'a> Outgoing<'a> {
    /// To another host by SMTP.
    pub(super) fn elsewhere(mailer: &'a Mailer, claim: &'a Claim, body: &'a mut Body) -> Self {
        Self {
            mailer,
            claim,
            body,
            leaves: true,
            front: Vec::new(),
            prepared: None,
        }
    }

    /// To a mailbox server of ours, for those who were named by that address, if it is another than theirs. One in UTF-8 is left
    /// out: the message may have none otherwise.
    pub(super) fn home(
        mailer: &'a Mailer,
        claim: &'a Claim,
        body: &'a mut Body,
        named: Option<&Mailbox>,
    ) -> Self {
        let named = named.filter(|named| !named.needs_utf8());
        Self {
            leaves: false,
            front: named.map(original_to).unwrap_or_default().into_bytes(),
            ..Self::elsewhere(mailer, claim, body)
        }
    }

    async fn prepare(&mut self, form: Form) -> Result<Ready, Outcome> {
        let size_bytes = self.safe().await?;
        let survey = self.body.survey().await.map_err(deferred)?;
        let smtputf8 = self.claim.envelope.smtputf8;
        if smtputf8 && !form.smtputf8 && self.needs_smtputf8(&survey).await? {
            let text = "the message has internationalized headers, which the next host does not take";
            return Err(failed(EnhancedStatus(5, 6, 7), text.to_owned()));
        }
        let eight_bit = survey.is_eight_bit();
        let size_bytes = match () {
            () if eight_bit && !form.eight_bit => self.convert(Limit::SevenBit).await?,
            () if survey.long_lines => self.convert(Limit::Lines).await?,
            () => size_bytes,
        };
        Ok(Ready {
            size_bytes: size_bytes + self.sign().await?,
            eight_bit: eight_bit && form.eight_bit,
            smtputf8: smtputf8 && form.smtputf8,
        })
    }

    /// What was opened here may hold anything, and is first made safe; all else was cleaned when it came in. Octets of the
    /// message.
    async fn safe(&mut self) -> Result<u64, Outcome> {
        self.body.as_stored();
        match self.claim.envelope.source {
            Source::Dmtp(_) => self.body.make_safe().await.map_err(deferred),
            _ => Ok(self.claim.size_bytes),
        }
    }

    /// Fields in parts of the message count, too.
    async fn needs_smtputf8(&mut self, survey: &Survey) -> Result<bool, Outcome> {
        if survey.header_eight_bit || !survey.body_eight_bit {
            return Ok(survey.header_eight_bit);
        }
        let _share = self.share(1).await?;
        let message = self.body.whole().await.map_err(deferred)?;
        let found = tokio::task::spawn_blocking(move || seven_bit::has_international_headers(&message)).await;
        found.map_err(|_| Outcome::Deferred(our_fault()))
    }

    /// Octets of the message in its new form.
    async fn convert(&mut self, limit: Limit) -> Result<u64, Outcome> {
        let _share = self.share(CONVERSION).await?;
        let message = self.body.whole().await.map_err(deferred)?;
        let converted = tokio::task::spawn_blocking(move || seven_bit::convert(&message, limit)).await;
        let converted = converted.map_err(|_| Outcome::Deferred(our_fault()))?;
        let converted = converted.map_err(|error| {
            let text = format!("the next host does not take eight-bit content, and {error}");
            failed(EnhancedStatus(5, 6, 3), text)
        })?;
        self.body.give_instead(&converted).await.map_err(deferred)
    }

    async fn share(&self, times: u64) -> Result<crate::base::budget::Share, Outcome> {
        let octets = self.claim.size_bytes.saturating_mul(times);
        let share = self.mailer.budget.wait_for(octets).await;
        share.ok_or_else(|| Outcome::Deferred(our_fault()))
    }

    /// Octets of the fields that go before the message.
    async fn sign(&mut self) -> Result<u64, Outcome> {
        if !self.leaves {
            self.body.put_before(self.front.clone());
            return Ok(self.front.len() as u64);
        }
        let now = u64::try_from(self.mailer.clock.now().unix_secs()).unwrap_or(0);
        let source = &self.claim.envelope.source;
        let fields = self.mailer.signing.fields(source, self.body, now).await;
        let fields = fields.map_err(deferred)?;
        let octets = fields.len() as u64;
        self.body.put_before(fields);
        Ok(octets)
    }
}

#[async_trait]
impl Octets for Outgoing<'_> {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.body.next().await
    }

    fn is_over(&self) -> bool {
        self.body.is_over()
    }

    fn rewind(&mut self) {
        self.body.rewind();
    }
}

#[async_trait]
impl Letter for Outgoing<'_> {
    async fn ready(&mut self, form: Form) -> Result<Ready, Outcome> {
        if let Some((prepared, ready)) = self.prepared
            && prepared == form
        {
            self.body.rewind();
            return Ok(ready);
        }
        self.prepared = None;
        let ready = self.prepare(form).await?;
        self.prepared = Some((form, ready));
        Ok(ready)
    }
}

fn deferred(_: Error) -> Outcome {
    Outcome::Deferred(our_fault())
}

fn failed(status: EnhancedStatus, text: String) -> Outcome {
    Outcome::Failed(Diagnosis::local(status, text))
}
