//! Whether the disk and mailboxes of ours have room, as far as a session can know.

use super::{Owner, reply};
use crate::accounts::Target;
use crate::delivery::maildir::Room;
use crate::mail::reply::Reply;
use crate::smtp::server::replies;
use crate::store::Addressee;

impl Owner {
    /// Takes nothing more in when the disk is nearly full, or an operator says so.
    pub(super) fn demand_space(&self) -> Result<(), Reply> {
        if self.services.pause.is_set() {
            return Err(replies::not_accepting());
        }
        match self.services.has_space() {
            true => Ok(()),
            false => Err(replies::storage_full()),
        }
    }

    /// Refuses what is for one account alone whose mailbox has no room for it. Where others get it, too, each delivery sees for
    /// itself.
    pub(super) async fn demand_room(&self, targets: &[Target]) -> Result<(), Reply> {
        let [Target::Local(account)] = targets else {
            return Ok(());
        };
        // The mailbox server judges what is its own.
        if self
            .services
            .config
            .delivery
            .server_of(account.address.domain())
            .is_some()
        {
            return Ok(());
        }
        let announced = self.transaction.as_ref().and_then(|open| open.mail.size_bytes);
        let room = self.services.maildirs.room(account, announced.unwrap_or(0)).await;
        match room {
            // Whether it can be written is found out when it is.
            Ok(Room::Fits) | Err(_) => Ok(()),
            Ok(Room::Full) => Err(reply(452, (4, 2, 2), "The mailbox is full, try again later")),
            Ok(Room::Never) => Err(too_large()),
        }
    }

    /// Refuses, now that its size is known, what will fit into none of the mailboxes that it is for. Else it is accepted: it waits
    /// for room, and the deliveries look again, under the same quotas, and report on those whom it does not fit.
    pub(super) async fn demand_room_for_any(
        &self,
        recipients: &[Addressee],
        octets: u64,
    ) -> Result<(), Reply> {
        for recipient in recipients.iter().filter(|recipient| !recipient.expanded) {
            if self.room_of(recipient, octets).await != Room::Never {
                return Ok(());
            }
        }
        Err(too_large())
    }

    /// What is not ours to know fits.
    async fn room_of(&self, recipient: &Addressee, octets: u64) -> Room {
        let Some(mailbox) = recipient.path.mailbox() else {
            return Room::Fits;
        };
        if self
            .services
            .config
            .delivery
            .server_of(mailbox.domain())
            .is_some()
        {
            return Room::Fits;
        }
        // Known without a look into the database.
        if !matches!(
            self.services.store.local_domain(mailbox.domain()).await,
            Ok(Some(_))
        ) {
            return Room::Fits;
        }
        match self.services.accounts.find(mailbox).await {
            Ok(Some(account)) => {
                let room = self.services.maildirs.room(&account, octets).await;
                room.unwrap_or(Room::Fits)
            }
            Ok(None) | Err(_) => Room::Fits,
        }
    }
}

fn too_large() -> Reply {
    let text = "The message is larger than the whole mailbox: send less at a time";
    reply(552, (5, 2, 2), text)
}
