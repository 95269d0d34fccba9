//! Reports that come back to a reverse-path of ours that was rewritten (SRS), and go on to the sender.

use super::{Accepted, Owner, reply};
use crate::authentication::srs::Read;
use crate::mail::address::Mailbox;
use crate::mail::reply::Reply;

impl Owner {
    /// Who gets what comes for a rewritten reverse-path, if the address is one of ours. Only reports do, which come from nobody:
    /// whoever knows such an address must not send anything else to the sender through us.
    pub(super) async fn returned(&self, address: &Mailbox) -> Result<Option<Accepted>, Reply> {
        let is_local = self.services.accounts.is_local(address.domain()).await;
        if !is_local.map_err(|error| self.fault(&error))? {
            return Ok(None);
        }
        let read = self.services.srs.read(address).await;
        let sender = match read.map_err(|error| self.fault(&error))? {
            Read::Ordinary => return Ok(None),
            Read::Invalid => {
                let text = "This reverse-path was not rewritten here, or more than three weeks ago";
                return Err(reply(550, (5, 1, 1), text));
            }
            Read::Sender(sender) => sender,
        };
        let is_report = self
            .transaction
            .as_ref()
            .is_some_and(|open| open.mail.reverse_path.is_null());
        match is_report {
            true => Ok(Some(Accepted {
                recipients: vec![sender],
                to_be_sealed: false,
            })),
            false => {
                let text = "This address takes reports alone, from the null reverse-path: write to the sender instead";
                Err(reply(550, (5, 7, 1), text))
            }
        }
    }
}
