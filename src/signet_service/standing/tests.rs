//! The attacks of `dmime2.md` §4 and §19, by a network and by the recipient's own organization.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::*;
use crate::base::encoding::base64_unpadded;
use crate::base::time::{ManualClock, Timestamp};
use crate::crypto::at_rest::Key;
use crate::crypto::ed25519::SigningKey;
use crate::dime::key_set::{Draft, Error as Broken, FIELD, KemKeys, State};
use crate::dime::keys::{OrgKeys, UserKeys};
use crate::dime::selection::{Actor, Actors, Choice, Hold, Policy, Rule, choose};
use crate::dime::signet::{
    Kind, Level, OrgBuilder, Signer, Signet, request, rotation_request, verify_org, verify_request,
    verify_user,
};
use crate::domains::sts::{MtaSts, PolicySource};
use crate::domains::{Domains, DxConnector, DxPorts, DxSessions, Limits};
use crate::mail::address::Domain;
use crate::net::connect::Outgoing;
use crate::net::dns::{Lookup, scripted};
use crate::net::tls::Connector;
use crate::signet_service::{Chains, Published};
use crate::store::sqlite::SqliteStore;
use crate::store::{MasterKey, Store};

const DAY: u64 = 24 * 3600;
const START: u64 = 1_800_000_000;

/// Answers for management records alone.
#[derive(Default)]
struct Zone(Mutex<HashMap<String, (String, Proof)>>);

impl scripted::Script for Zone {
    fn texts(&self, name: &str) -> Lookup<Vec<Vec<u8>>> {
        match self.0.lock().unwrap().get(name) {
            Some((text, proof)) => Lookup::Found {
                value: vec![text.clone().into_bytes()],
                proof: *proof,
                ttl: Duration::ZERO,
            },
            None => Lookup::Failed,
        }
    }
}

#[async_trait]
impl PolicySource for Zone {
    async fn fetch(&self, domain: &Domain) -> Result<bytes::Bytes, crate::net::https::Error> {
        Err(crate::net::https::Error::Address(domain.clone()))
    }
}

/// A sender's view, and the keys of those it looks at.
struct World {
    directory: Directory,
    zone: Arc<Zone>,
    clock: Arc<ManualClock>,
    organization: OrgKeys,
    user: UserKeys,
    _home: tempfile::TempDir,
}

async fn world() -> World {
    let home = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(START as i64 * 1000)));
    let master = MasterKey::new(Key::from_bytes([5; 32]));
    let store = SqliteStore::open(&home.path().join("dimed.db"), master, clock.clone()).await;
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    let zone = Arc::new(Zone::default());
    let domains = Arc::new(Domains::new(
        zone.clone(),
        Arc::clone(&store) as Arc<dyn crate::store::Domains>,
        clock.clone(),
        Limits::default(),
    ));
    let dx = DxConnector {
        resolver: zone.clone(),
        clock: clock.clone(),
        outgoing: Outgoing {
            source: None,
            timeout: Duration::from_secs(1),
        },
        connector: Connector::new().unwrap(),
        sts: Arc::new(MtaSts::new(
            zone.clone(),
            Some(Arc::clone(&store) as Arc<dyn crate::store::StsPolicies>),
            clock.clone(),
            zone.clone(),
        )),
        roots: None,
        ports: DxPorts {
            single: 1,
            dual: 1,
            dual_fallback: 1,
        },
        sessions: DxSessions::default(),
    };
    World {
        directory: Directory {
            published: Arc::new(Published::new(Arc::clone(&store), clock.clone())),
            store,
            domains,
            dx: Arc::new(dx),
            clock: clock.clone(),
            chains: Chains::default(),
        },
        zone,
        clock,
        organization: OrgKeys::generate(&mut rand::rng()),
        user: UserKeys::generate(&mut rand::rng()),
        _home: home,
    }
}

/// A key set of that age, in days after the start.
#[derive(Clone, Copy)]
enum Shows {
    Nothing,
    Keys(u64),
    OptOut(u64),
}

impl Shows {
    fn value(self, kind: Kind, owner: &SigningKey) -> Option<Vec<u8>> {
        let (day, keys) = match self {
            Self::Nothing => return None,
            Self::Keys(day) => (day, KemKeys::generate(&mut rand::rng()).public_keys()),
            Self::OptOut(day) => (day, Vec::new()),
        };
        let draft = Draft {
            created: START + day * DAY,
            expires: START + (day + 30) * DAY,
            keys,
        };
        Some(draft.sign(kind, owner).unwrap())
    }
}

fn domain() -> Domain {
    "hismail.test".parse().unwrap()
}

fn bob() -> Mailbox {
    "bob@hismail.test".parse().unwrap()
}

fn organization_signet(keys: &OrgKeys, value: Option<&[u8]>) -> VerifiedOrg {
    let mut builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &[]).unwrap();
    if let Some(value) = value {
        builder.profile_mut().add_undefined(FIELD, value).unwrap();
    }
    let signet = builder.full().unwrap();
    verify_org(&signet, &[keys.signing.verifying_key()], &domain()).unwrap()
}

/// The signet that the organization makes of a request, with that value as the key set.
fn user_signet(organization: &OrgKeys, request: &Signet, value: Option<&[u8]>) -> Signet {
    let org = organization_signet(organization, None);
    // What came before is not known here; verification itself is other tests' business.
    let request = verify_request(request, None);
    let signer = Signer::new(&org, &organization.signing).unwrap();
    let mut builder = signer.sign(&request.unwrap()).unwrap();
    if let Some(value) = value {
        builder.profile_mut().add_undefined(FIELD, value).unwrap();
    }
    builder.full().unwrap()
}

impl World {
    fn verified(&self, signet: &Signet) -> VerifiedUser {
        let org = organization_signet(&self.organization, None);
        verify_user(signet, &org, None, &bob()).unwrap()
    }

    /// What the sender knows once the organization shows Bob's own keys so.
    async fn sees(&self, shows: Shows) -> Known {
        let value = shows.value(Kind::User, &self.user.signing);
        self.sees_value(value.as_deref()).await
    }

    async fn sees_value(&self, value: Option<&[u8]>) -> Known {
        let signet = user_signet(&self.organization, &request(&self.user).unwrap(), value);
        self.sees_signet(&signet).await
    }

    async fn sees_signet(&self, signet: &Signet) -> Known {
        self.directory
            .user_known(&bob(), &self.verified(signet))
            .await
            .unwrap()
    }

    async fn sees_organization(&self, keys: &OrgKeys, shows: Shows) -> Known {
        let value = shows.value(Kind::Organization, &keys.signing);
        let signet = organization_signet(keys, value.as_deref());
        self.directory.organization_known(&signet).await.unwrap()
    }

    /// The record of the domain, with the key of `keys`.
    fn record(&self, keys: &OrgKeys, proof: Proof) {
        let text = format!("pok={}", base64_unpadded(&keys.signing.verifying_key().0));
        let mut zone = self.zone.0.lock().unwrap();
        zone.insert("_dx.hismail.test".into(), (text, proof));
    }

    fn days_later(&self, days: u64) {
        self.clock.advance(Duration::from_secs(days * DAY));
    }
}

/// What happens to a message whose recipient stands so and everybody else has keys.
fn sent_to(recipient: &Known) -> Choice {
    let good = Known {
        capability: usable(),
        pin: None,
    };
    let actors = Actors {
        origin: good.standing(),
        destination: good.standing(),
        recipient: recipient.standing(),
    };
    choose(&actors, &[], Policy::default())
}

fn sent_to_organization(destination: &Known) -> Choice {
    let good = Known {
        capability: usable(),
        pin: None,
    };
    let actors = Actors {
        origin: good.standing(),
        destination: destination.standing(),
        recipient: good.standing(),
    };
    choose(&actors, &[], Policy::default())
}

fn usable() -> Capability {
    let owner = OrgKeys::generate(&mut rand::rng());
    let value = Shows::Keys(0).value(Kind::Organization, &owner.signing);
    let signet = organization_signet(&owner, value.as_deref());
    capability(Some(Owner::from(&signet)), None, Change::Unproven, START)
}

fn held(rule: Rule, actor: Actor) -> Choice {
    Choice::Hold(Hold {
        rule,
        actor: Some(actor),
    })
}

const UNUSABLE: Choice = Choice::Hold(Hold {
    rule: Rule::Q1,
    actor: Some(Actor::Recipient),
});

#[tokio::test]
async fn a_field_cannot_be_taken_out_of_a_signet_with_a_full_signature() {
    let world = world().await;
    let value = Shows::Keys(0).value(Kind::User, &world.user.signing).unwrap();
    let honest = user_signet(&world.organization, &request(&world.user).unwrap(), Some(&value));
    let bare = user_signet(&world.organization, &request(&world.user).unwrap(), None);
    // The organization's signature of the one signet after the fields of the other.
    let mut forged = bare.encode();
    let length = forged.len();
    forged[length - 64..].copy_from_slice(honest.field(253).unwrap());
    let forged = Signet::decode(&forged).unwrap();
    let org = organization_signet(&world.organization, None);
    assert!(verify_user(&forged, &org, None, &bob()).is_err());
    assert_eq!(world.sees_signet(&honest).await.capability.state(), State::Usable);
}

#[tokio::test]
async fn the_shorter_form_of_a_signet_tells_nothing_and_so_mail_waits() {
    let world = world().await;
    let value = Shows::Keys(0).value(Kind::User, &world.user.signing);
    let signet = user_signet(
        &world.organization,
        &request(&world.user).unwrap(),
        value.as_deref(),
    );
    let short = signet.split(Level::Crypto).unwrap();
    let known = world.sees_signet(&short).await;
    assert_eq!(known.capability, Capability::Unknown);
    assert_eq!(sent_to(&known), UNUSABLE);
}

#[tokio::test]
async fn an_organization_cannot_quietly_remove_a_users_key_set() {
    let world = world().await;
    assert_eq!(world.sees(Shows::Keys(0)).await.capability.state(), State::Usable);
    let removed = world.sees(Shows::Nothing).await;
    assert_eq!(removed.capability, Capability::Unusable(Broken::Vanished));
    assert_eq!(sent_to(&removed), UNUSABLE);
    assert!(world.directory.ever_had_keys("Bob@hismail.test").await.unwrap());
}

#[tokio::test]
async fn a_user_removes_the_key_set_by_a_newer_signed_opt_out() {
    let world = world().await;
    world.days_later(1);
    world.sees(Shows::Keys(1)).await;
    let older = world.sees(Shows::OptOut(0)).await;
    assert_eq!(older.capability, Capability::Unusable(Broken::Older));
    let honest = world.sees(Shows::OptOut(1)).await;
    assert_eq!(honest.capability.state(), State::OptedOut);
    assert_eq!(sent_to(&honest), Choice::Format1);
    // An organization cannot go on from there as it likes.
    assert_eq!(
        world.sees(Shows::Nothing).await.capability,
        Capability::Unusable(Broken::Vanished)
    );
    world.days_later(31);
    let expired = world.sees(Shows::OptOut(1)).await;
    assert_eq!(expired.capability.state(), State::Unusable);
}

#[tokio::test]
async fn an_old_key_set_is_not_served_again() {
    let world = world().await;
    let old = Shows::Keys(0).value(Kind::User, &world.user.signing).unwrap();
    assert_eq!(
        world.sees_value(Some(&old)).await.capability.state(),
        State::Usable
    );
    world.days_later(14);
    world.sees(Shows::Keys(14)).await;
    let again = world.sees_value(Some(&old)).await;
    assert_eq!(again.capability, Capability::Unusable(Broken::Older));
}

#[tokio::test]
async fn an_organization_cannot_put_its_own_kem_key_in_the_users_place() {
    let world = world().await;
    let value = Shows::Keys(0).value(Kind::User, &world.organization.signing);
    let swapped = world.sees_value(value.as_deref()).await;
    assert_eq!(swapped.capability, Capability::Unusable(Broken::Signature));
    assert_eq!(sent_to(&swapped), UNUSABLE);
}

#[tokio::test]
async fn a_whole_new_signet_in_the_place_of_a_pinned_one_is_unusable() {
    let world = world().await;
    world.sees(Shows::Keys(0)).await;
    let stranger = UserKeys::generate(&mut rand::rng());
    for shows in [Shows::Keys(1), Shows::OptOut(1), Shows::Nothing] {
        world.days_later(1);
        let value = shows.value(Kind::User, &stranger.signing);
        let signet = user_signet(
            &world.organization,
            &request(&stranger).unwrap(),
            value.as_deref(),
        );
        let known = world.sees_signet(&signet).await;
        assert_eq!(known.capability, Capability::Unusable(Broken::OtherSigner));
        assert_eq!(sent_to(&known), UNUSABLE);
    }
}

#[tokio::test]
async fn a_new_signing_key_that_the_old_one_signed_is_accepted_and_the_old_one_is_gone() {
    let world = world().await;
    world.days_later(1);
    world.sees(Shows::Keys(1)).await;
    let next = UserKeys::generate(&mut rand::rng());
    let rotation = rotation_request(&next, &world.user.signing).unwrap();
    // The organization knows the predecessor.
    let org = organization_signet(&world.organization, None);
    let signer = Signer::new(&org, &world.organization.signing).unwrap();
    let before = user_signet(&world.organization, &request(&world.user).unwrap(), None);
    let request = verify_request(&rotation, Some(&world.verified(&before))).unwrap();
    let rotated = |shows: Shows| {
        let mut builder = signer.sign(&request).unwrap();
        if let Some(value) = shows.value(Kind::User, &next.signing) {
            builder.profile_mut().add_undefined(FIELD, &value).unwrap();
        }
        builder.full().unwrap()
    };
    // Without keys, it is a matter for whoever was told that there were some.
    let bare = world.sees_signet(&rotated(Shows::Nothing)).await;
    assert_eq!(bare.capability, Capability::Absent);
    assert_eq!(sent_to(&bare), held(Rule::Q3, Actor::Recipient));
    // It starts without a pinned time, so that an earlier one is taken.
    let known = world.sees_signet(&rotated(Shows::Keys(0))).await;
    assert_eq!(known.capability.state(), State::Usable);
    let back = world.sees(Shows::Keys(1)).await;
    assert_eq!(back.capability, Capability::Unusable(Broken::OtherSigner));
}

#[tokio::test]
async fn an_organization_cannot_opt_out_or_drop_its_key_set_for_all_its_users_at_once() {
    let world = world().await;
    world.sees_organization(&world.organization, Shows::Keys(0)).await;
    let opted_out = world
        .sees_organization(&world.organization, Shows::OptOut(0))
        .await;
    assert_eq!(opted_out.capability.state(), State::OptedOut);
    assert_eq!(
        sent_to_organization(&opted_out),
        held(Rule::Q3, Actor::Destination)
    );
    let dropped = world.sees_organization(&world.organization, Shows::Nothing).await;
    assert_eq!(dropped.capability, Capability::Unusable(Broken::Vanished));
    assert_eq!(sent_to_organization(&dropped), held(Rule::Q1, Actor::Destination));
}

#[tokio::test]
async fn another_primary_key_counts_only_if_dnssec_vouches_for_the_record_that_has_it() {
    let world = world().await;
    world.sees_organization(&world.organization, Shows::Keys(0)).await;
    let next = OrgKeys::generate(&mut rand::rng());
    let unusable = Capability::Unusable(Broken::OtherSigner);
    // No record, one that nothing proves, one with the old key.
    assert_eq!(
        world.sees_organization(&next, Shows::Keys(0)).await.capability,
        unusable
    );
    world.record(&next, Proof::Insecure);
    assert_eq!(
        world.sees_organization(&next, Shows::Keys(0)).await.capability,
        unusable
    );
    world.days_later(1);
    world.record(&world.organization, Proof::Secure);
    assert_eq!(
        world.sees_organization(&next, Shows::Keys(0)).await.capability,
        unusable
    );
    world.days_later(1);
    world.record(&next, Proof::Secure);
    let known = world.sees_organization(&next, Shows::Keys(0)).await;
    assert_eq!(known.capability.state(), State::Usable);
}

#[tokio::test]
async fn an_operator_can_accept_what_was_refused() {
    let world = world().await;
    world.days_later(1);
    world.sees(Shows::Keys(1)).await;
    assert_eq!(
        world.sees(Shows::Nothing).await.capability.state(),
        State::Unusable
    );
    assert!(world.directory.accept("Bob@hismail.test").await.unwrap());
    let known = world.sees(Shows::Nothing).await;
    assert_eq!(known.capability, Capability::Absent);
    assert_eq!(sent_to(&known), Choice::Format1, "as on first contact");
    assert!(!world.directory.accept("bob@hismail.test").await.unwrap());
}

#[tokio::test]
async fn a_pin_lasts_for_more_than_a_year_after_the_keys_were_last_seen() {
    let world = world().await;
    world.sees(Shows::Keys(0)).await;
    world.days_later(10);
    world.sees(Shows::Keys(10)).await;
    world.days_later(399);
    assert_eq!(
        world.sees(Shows::Nothing).await.capability,
        Capability::Unusable(Broken::Vanished)
    );
    world.days_later(1);
    assert_eq!(world.sees(Shows::Nothing).await.capability, Capability::Absent);
}
