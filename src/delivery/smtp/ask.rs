//! Whether a host takes mail for a recipient, found out without sending any.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Job, Report, SmtpDelivery};
use crate::delivery::Outcome;
use crate::delivery::body::Octets;
use crate::delivery::letter::{Form, Letter, Ready};
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::demand::TlsDemand;
use crate::mail::notify::MessageRequest;
use crate::routing::{SmtpTls, Transport};
use crate::store::{Error, Tenure};

/// Longer than anybody waits for an answer.
const LONGEST: Duration = Duration::from_secs(3600);

impl SmtpDelivery {
    /// Asks the host that takes mail for the recipient, as if a report were to be sent there. `greeted` tells those who do not
    /// wait for the answer whether there is a session with the host.
    pub async fn ask(
        &self,
        recipient: &Mailbox,
        wanted: SmtpTls,
        transport: Option<&Transport>,
        greeted: &AtomicBool,
    ) -> Report {
        let job = Job {
            reverse_path: &ReversePath::NULL,
            recipients: &[recipient.clone().into()],
            wanted,
            demand: TlsDemand::Policy,
            request: &MessageRequest::default(),
            transport,
            is_relayed: true,
            only_asks: true,
            // Whoever asks waits no longer than they like.
            term: &Tenure::default().term(Instant::now() + LONGEST, Duration::MAX),
        };
        self.deliver(recipient.domain(), &job, &mut Nothing { greeted })
            .await
    }
}

/// What is never sent.
struct Nothing<'a> {
    greeted: &'a AtomicBool,
}

#[async_trait]
impl Octets for Nothing<'_> {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }

    fn rewind(&mut self) {}
}

#[async_trait]
impl Letter for Nothing<'_> {
    /// A session that is set up wants to know.
    async fn ready(&mut self, _form: Form) -> Result<Ready, Outcome> {
        self.greeted.store(true, Ordering::Relaxed);
        Ok(Ready {
            size_bytes: 0,
            eight_bit: false,
            smtputf8: false,
        })
    }
}
