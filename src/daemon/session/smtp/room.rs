//! Whether mailboxes of ours have room, as far as a session can know.

use super::{Owner, reply};
use crate::accounts::Target;
use crate::config::Local;
use crate::delivery::maildir::Room;
use crate::mail::address::Domain;
use crate::mail::reply::Reply;

impl Owner {
    /// Refuses what is for one account alone whose mailbox has no room for it. Where others get it, too, each delivery sees for
    /// itself.
    pub(super) async fn demand_room(&self, targets: &[Target]) -> Result<(), Reply> {
        let [Target::Local(account)] = targets else {
            return Ok(());
        };
        // The mailbox server judges what is its own.
        if self.has_mailbox_server(account.address.domain()) {
            return Ok(());
        }
        let announced = self.transaction.as_ref().and_then(|open| open.mail.size_bytes);
        let room = self.services.maildirs.room(account, announced.unwrap_or(0)).await;
        match room {
            // Whether it can be written is found out when it is.
            Ok(Room::Fits) | Err(_) => Ok(()),
            Ok(Room::Full) => Err(reply(452, (4, 2, 2), "The mailbox is full, try again later")),
            Ok(Room::Never) => Err(reply(
                552,
                (5, 2, 2),
                "The message is larger than the whole mailbox: send less at a time",
            )),
        }
    }

    /// Whether mail for accounts in that domain goes to a mailbox server, as
    /// [`Mailboxes`](crate::delivery::local::Mailboxes) has it.
    fn has_mailbox_server(&self, domain: &Domain) -> bool {
        let delivery = &self.services.config.delivery;
        let local = delivery.domains.get(domain).unwrap_or(&delivery.local);
        delivery.lmtp.is_some() && *local == Local::Lmtp
    }
}
