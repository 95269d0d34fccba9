//! Returned messages (1985): what their origin passes on, and what an author may believe of them (`dmime2.md` §12.3, §12.4).

use std::fs::File;
use std::io::{Read, Seek};

use serde_json::{Value, json};

use super::actors::{Actors, Organization};
use super::format2::{judged, refusal, say_envelopes, say_origin_envelope};
use super::keys::Keys;
use super::names::Role;
use super::report::Report;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::dmime2::Limits;
use crate::dime::dmime2::envelope::{DestinationEnvelope, OriginEnvelope};
use crate::dime::dmime2::returned::{Evidence, Returned, ReturnedContent, ToAuthor};
use crate::dime::dmime2::signets::KnownOrg;
use crate::mail::address::Mailbox;

/// Reads an object; rules B1 and B2.
pub fn object(mut file: &File) -> anyhow::Result<Returned> {
    let limits = Limits::default();
    file.rewind()?;
    let mut octets = Vec::new();
    file.take(limits.size + 1).read_to_end(&mut octets)?;
    judged(Returned::decode(octets, &limits))
}

/// Makes the checks of the origin: its own envelope, and rules B3–B6 but for the memory of B6.
///
/// Own keys are those of all its signets that were given. `--from` says which account the author must be; without it any
/// address of the organization is one.
pub fn check_as_origin(
    returned: Returned,
    (actors, keys): (&Actors, &Keys),
    now: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let candidates = keys.candidates(&actors.own(Role::Origin)?);
    let returned = returned.open_as_origin(&candidates).map_err(refusal)?;
    let envelope = returned.envelope().clone();
    say_origin_envelope(report, &envelope);
    let domain = actors.own_domain(Role::Origin)?;
    let peer = actors.own_domain(Role::Destination)?;
    let own = actors.organization(Role::Origin, &domain)?;
    let destination = actors.organization(Role::Destination, &peer)?;
    let own_keys: Vec<_> = own
        .iter()
        .flat_map(Organization::iter)
        .flat_map(|version| version.signet.message_signing_keys())
        .collect();
    let exists = match &actors.names.from {
        Some(from) => *from == envelope.author,
        None => *envelope.author.domain() == domain,
    };
    let checked = returned.check(&own_keys, &peer, &known(destination.as_ref()), exists, now);
    checked.map(drop).map_err(|refused| refusal(refused).into())
}

/// Makes all checks of the author: rules B7 and B8. `sent` are ids of messages that went to the destination without a copy.
pub fn check_as_author(
    returned: Returned,
    (actors, keys): (&Actors, &Keys),
    sent: &[String],
    now: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let account = actors.own_address(Role::Author)?;
    let candidates = keys.candidates(&actors.own(Role::Author)?);
    let returned = returned.open_as_author(&candidates).map_err(refusal)?;
    match returned.envelopes().map(|(from, to)| (from.clone(), to.clone())) {
        Some(envelopes) => check_copy(returned, &envelopes, actors, &account, now, report),
        None => check_without_copy(returned, actors, &account, sent, now),
    }
}

fn check_copy(
    returned: ToAuthor,
    (from, to): &(OriginEnvelope, DestinationEnvelope),
    actors: &Actors,
    account: &Mailbox,
    now: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    say_envelopes(report, from, to);
    let origin = actors.organization(Role::Origin, &to.origin)?;
    let author = actors.user(Role::Author, &from.author, origin.as_ref())?;
    let destination = actors.organization(Role::Destination, &from.destination)?;
    let own = author.as_ref().and_then(|all| all.of_full(&from.author_signet));
    report.user(Role::Author, &from.author, own);
    let vouching = origin.as_ref().and_then(|all| all.of_full(&to.origin_signet));
    report.organization(actors, Role::Origin, vouching);
    let own_key: Option<VerifyingKey> = own.map(|(version, _)| version.signet.signing_key());
    let evidence = Evidence {
        account,
        own_key,
        origin: origin.as_ref().and_then(|all| all.known(&to.origin_signet)),
        destination: &known(destination.as_ref()),
        sent_to: None,
        now,
    };
    let believed = returned.check(&evidence).map_err(refusal)?;
    if let Some(content) = &believed.content {
        report.fact("returned", shown(content));
    }
    Ok(())
}

fn check_without_copy(
    returned: ToAuthor,
    actors: &Actors,
    account: &Mailbox,
    sent: &[String],
    now: u64,
) -> anyhow::Result<()> {
    let id = returned.message_id().to_string();
    let domain = actors.own_domain(Role::Destination)?;
    let destination = actors.organization(Role::Destination, &domain)?;
    let evidence = Evidence {
        account,
        own_key: None,
        origin: None,
        destination: &known(destination.as_ref()),
        sent_to: sent.contains(&id).then_some(&domain),
        now,
    };
    returned.check(&evidence).map_err(refusal)?;
    Ok(())
}

/// All signets of the destination: any that was in force may have signed.
fn known(organization: Option<&Organization>) -> Vec<KnownOrg<'_>> {
    let versions = organization.into_iter().flat_map(Organization::iter);
    let known = versions.filter_map(|version| {
        let fingerprint = version.signet.full_fingerprint()?;
        organization?.known(&fingerprint)
    });
    known.collect()
}

/// What came back, for the author to recognize the message.
fn shown(content: &ReturnedContent) -> Value {
    let text = |data: &Option<Vec<u8>>| {
        data.as_ref()
            .map(|data| String::from_utf8_lossy(data).into_owned())
    };
    let records = content.records.iter().map(|record| {
        json!({
            "type": record.kind.id(),
            "ordinal": record.head.ordinal,
            "count": record.head.count,
            "size": record.data.len(),
        })
    });
    json!({
        "common_headers": text(&content.common_headers),
        "other_headers": text(&content.other_headers),
        "records": records.collect::<Vec<_>>(),
    })
}
