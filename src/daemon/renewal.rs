//! Looks after our key sets, changes of keys, domains on their way out of DIME, the block list, the greylist, and
//! pins, for as long as the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::authentication::Keys;
use crate::base::observe;
use crate::base::time::Clock;
use crate::signet_service::{Renewal, Retiring, Rotation, Times};
use crate::store::{self, Store};

/// Time between two passes.
const EVERY: Duration = Duration::from_secs(3600);

/// Recipients whose held mail is deleted in one transaction.
const HELD_AT_ONCE: usize = 500;

/// How long others' pins stay after they have expired. They are of no use, but a clock that is ahead for a while must not take
/// those that still are.
const PINS_KEPT_EXPIRED: Duration = Duration::from_secs(30 * 24 * 3600);

/// Everything that is looked after.
pub struct Care {
    renewal: Renewal,
    rotation: Rotation,
    retiring: Retiring,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    dkim: Arc<Keys>,
}

/// Makes a pass at once and every hour, until `stop`.
pub async fn run(care: Care, stop: CancellationToken) {
    loop {
        let pass = async {
            if let Err(error) = care.renewal.pass().await {
                tracing::error!(event = observe::KEY_SET_FAILED, %error, "key sets cannot be looked after");
            }
            if let Err(error) = care.rotation.pass().await {
                tracing::error!(event = observe::KEY_ROLLOVER_FAILED, %error, "changes of keys cannot be looked after");
            }
            if let Err(error) = care.retiring.pass().await {
                tracing::error!(event = observe::KEY_ROLLOVER_FAILED, %error, "leaving domains cannot be looked after");
            }
            if let Err(error) = care.end_blocks().await {
                tracing::error!(event = observe::BLOCK_FAILED, %error, "the block list cannot be looked after");
            }
            if let Err(error) = care.drop_pins().await {
                tracing::error!(event = observe::DOMAIN_PINS_FAILED, %error, "expired pins cannot be dropped");
            }
            if let Err(error) = care.expire_greylist().await {
                tracing::error!(event = observe::GREYLIST_FAILED, %error, "the greylist cannot be looked after");
            }
            if let Err(error) = care.dkim.pass().await {
                tracing::error!(event = observe::DKIM_KEY_FAILED, %error, "keys for DKIM cannot be looked after");
            }
            if let Err(error) = care.expire_held().await {
                tracing::error!(event = observe::QUEUE_HELD_FAILED, %error, "held mail cannot be looked after");
            }
            sleep(EVERY).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = pass => {}
        }
    }
}

impl Care {
    /// Others decide for how many domains we are asked to pin records.
    async fn drop_pins(&self) -> Result<(), store::Error> {
        let before = self.clock.now().before(PINS_KEPT_EXPIRED);
        while self.store.drop_expired_pins(before).await? > 0 {}
        Ok(())
    }

    /// Strangers decide how much is in it.
    async fn expire_greylist(&self) -> Result<(), store::Error> {
        while self.store.expire_greylist(self.clock.now()).await? > 0 {}
        Ok(())
    }

    /// Mail that was held as it came, and that nobody has decided on.
    async fn expire_held(&self) -> Result<(), store::Error> {
        loop {
            let expired = self.store.expire_held(self.clock.now(), HELD_AT_ONCE).await?;
            if expired == 0 {
                return Ok(());
            }
            tracing::info!(
                event = observe::QUEUE_HELD_EXPIRED,
                recipients = expired,
                "the time of held messages is over, and they are deleted"
            );
        }
    }

    /// Entries whose time is over hold no longer in any case; this clears them away.
    async fn end_blocks(&self) -> Result<(), store::Error> {
        loop {
            let ended = self.store.expire_blocks(self.clock.now()).await?;
            if ended == 0 {
                return Ok(());
            }
            tracing::info!(
                event = observe::BLOCK_EXPIRED,
                entries = ended,
                "entries of the block list have ended"
            );
        }
    }
}

/// What looks after everything in `services`.
pub fn of(services: &Services) -> Care {
    let (store, clock) = (&services.store, &services.clock);
    Care {
        renewal: Renewal::new(
            Arc::clone(store),
            Arc::clone(clock),
            Arc::clone(&services.published),
            Times::from(&services.config.dmime),
            services.config.server.hostname.clone(),
        ),
        rotation: Rotation {
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            published: Arc::clone(&services.published),
            resolver: Arc::clone(&services.resolver),
        },
        retiring: Retiring {
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            resolver: Arc::clone(&services.resolver),
        },
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        dkim: Arc::clone(&services.dkim),
    }
}
