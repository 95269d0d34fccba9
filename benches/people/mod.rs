//! Many trustful users at once, as `dimed account add` makes them but for the passwords, which take their time.

use std::sync::Arc;

use dimed::base::time::{Clock, SystemClock};
use dimed::daemon::Services;
use dimed::dime::fingerprint::FullFingerprint;
use dimed::dime::keys::UserKeys;
use dimed::mail::address::Mailbox;
use dimed::store::{Account, TrustMode};
use tokio::task::JoinSet;

use crate::support::organization::Organization;

/// Accounts made at the same time, so that they share transactions.
const AT_ONCE: usize = 64;

/// Somebody with a signet.
pub struct Person {
    pub address: String,
    pub fingerprint: FullFingerprint,
}

/// Makes that many accounts with keys and signets.
pub async fn populate(organization: &Organization, accounts: usize) -> Vec<Person> {
    let services = Arc::new(organization.services().await);
    let numbers: Vec<usize> = (0..accounts).collect();
    let mut tasks = JoinSet::new();
    for part in numbers.chunks(accounts.div_ceil(AT_ONCE)) {
        let services = Arc::clone(&services);
        let part: Vec<String> = part
            .iter()
            .map(|number| organization.address(&format!("user{number}")))
            .collect();
        tasks.spawn(async move {
            let mut people = Vec::new();
            for address in part {
                people.push(add(&services, address).await);
            }
            people
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

async fn add(services: &Services, address: String) -> Person {
    let mailbox: Mailbox = address.parse().unwrap();
    let account = Account {
        address: mailbox.clone(),
        password_hash: "$argon2id$".to_owned(),
        scram_verifier: None,
        trust_mode: TrustMode::Trustful,
        trap_since: None,
        disabled_at: None,
        quota_bytes: None,
        created_at: SystemClock.now(),
    };
    services.store.add_account(account).await.unwrap();
    let keys = UserKeys::generate(&mut rand::rng());
    let user = services.published.publish_user(&mailbox, keys).await.unwrap();
    Person {
        address,
        fingerprint: user.signet.full_fingerprint().unwrap(),
    }
}
