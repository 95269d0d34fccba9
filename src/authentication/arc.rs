//! ARC (RFC 8617): a message that is passed on says under seal what was found when it came in.
//!
//! Each host on the way adds a set of three fields: what it found, a signature over the message as it leaves, and a seal over
//! all sets. A chain that does not hold is left as it is: it proves nothing, whatever is added.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use super::dkim::canonical::Canonical;
use super::dkim::key::{self, NoKey};
use super::dkim::sign::Signer;
use super::dkim::signature::{Signature, without_own_octets};
use super::dkim::{HashedBodies, Index, Verdict};
use super::tags::Tags;
use crate::mail::address::Domain;
use crate::mail::headers::{self, Field};
use crate::net::dns::Resolver;

const RESULTS: &str = "ARC-Authentication-Results";
const SIGNATURE: &str = "ARC-Message-Signature";
const SEAL: &str = "ARC-Seal";

/// Sets of one message (RFC 8617 §4.2.1).
const MAX_SETS: usize = 50;

/// Time for the keys of all sets together, which the message names.
const PATIENCE: Duration = Duration::from_secs(20);

/// The fields of one host.
#[derive(Default)]
struct Set<'a> {
    results: Option<Field<'a>>,
    signature: Option<Field<'a>>,
    seal: Option<Field<'a>>,
}

/// A chain that does not hold, or of which that cannot be told now.
struct Broken;

/// The set to be put before a message, with final CRLFs; `None` if it is not to have one. `now` in unix seconds.
///
/// What was found is what our own field says, so a message that was not examined gets no set.
pub async fn seal(
    resolver: &dyn Resolver,
    signer: &Signer,
    server: &Domain,
    block: &[u8],
    bodies: &HashedBodies,
    now: u64,
) -> Option<Vec<u8>> {
    let found = own_results(block, server)?;
    let sets = sets(block).ok().filter(|sets| sets.len() < MAX_SETS)?;
    timeout(PATIENCE, check(resolver, block, &sets, bodies))
        .await
        .ok()?
        .ok()?;
    let instance = sets.len() + 1;
    let status = if sets.is_empty() { "none" } else { "pass" };
    let results = [format!("{RESULTS}: i={instance}; ").as_bytes(), found, b"\r\n"].concat();
    let signature = signer.sign_as(SIGNATURE, &format!("i={instance}"), block, bodies, now);
    let text = format!(
        "{SEAL}: i={instance}; a={}; t={now}; cv={status};\r\n\td={}; s={};\r\n\tb=",
        signer.key.algorithm().name(),
        signer.domain,
        signer.selector,
    );
    let seal = signer.complete(SEAL, text, |own| {
        let fresh = [&results[..], &signature].map(|raw| headers::fields(raw).next());
        let before = sets.iter().flat_map(Set::fields).copied();
        sealed(before.chain(fresh.into_iter().flatten()), own)
    });
    Some([seal, signature, results].concat())
}

/// The value of our own field of results, which stands above those of others.
fn own_results<'a>(block: &'a [u8], server: &Domain) -> Option<&'a [u8]> {
    let field = headers::find(block, "Authentication-Results")?;
    let is_ours = field.value().strip_prefix(server.as_str().as_bytes())?.first() == Some(&b';');
    is_ours.then_some(field.value())
}

impl<'a> Set<'a> {
    fn fields(&self) -> impl Iterator<Item = &Field<'a>> {
        [&self.results, &self.signature, &self.seal].into_iter().flatten()
    }

    /// Takes a field; `false` if there is one already.
    fn put(&mut self, field: Field<'a>) -> bool {
        let place = match () {
            () if field.is(RESULTS) => &mut self.results,
            () if field.is(SIGNATURE) => &mut self.signature,
            () => &mut self.seal,
        };
        place.replace(field).is_none()
    }
}

/// How many sets a message has; `None` if they are no chain.
pub fn length(block: &[u8]) -> Option<usize> {
    sets(block).ok().map(|sets| sets.len())
}

/// The sets of a message, from the first to the last; each must be complete, and none missing.
fn sets(block: &[u8]) -> Result<Vec<Set<'_>>, Broken> {
    let mut sets: BTreeMap<usize, Set<'_>> = BTreeMap::new();
    let of_chain = |field: &Field<'_>| [RESULTS, SIGNATURE, SEAL].iter().any(|name| field.is(name));
    for field in headers::fields(block).filter(of_chain) {
        let instance = instance(&field)
            .filter(|instance| (1..=MAX_SETS).contains(instance))
            .ok_or(Broken)?;
        if !sets.entry(instance).or_default().put(field) {
            return Err(Broken);
        }
    }
    let in_order = sets.keys().copied().eq(1..=sets.len());
    let complete = sets.values().all(|set| set.fields().count() == 3);
    match in_order && complete {
        true => Ok(sets.into_values().collect()),
        false => Err(Broken),
    }
}

/// `i=`, which is the first tag of the results, and anywhere in the others.
fn instance(field: &Field<'_>) -> Option<usize> {
    let text = std::str::from_utf8(field.value()).ok()?;
    let text = match field.is(RESULTS) {
        true => text.split(';').next()?,
        false => text,
    };
    let digits = Tags::parse(text).ok()?.value("i")?;
    let plain = digits.len() <= 2 && digits.bytes().all(|octet| octet.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Whether the last signature and all seals hold (RFC 8617 §5.2). What can be told without DNS is told first.
async fn check(
    resolver: &dyn Resolver,
    block: &[u8],
    sets: &[Set<'_>],
    bodies: &HashedBodies,
) -> Result<(), Broken> {
    let Some(last) = sets.last().and_then(|set| set.signature) else {
        return Ok(());
    };
    let signature = read(&last, signature)?;
    if bodies.judge(&signature) != Verdict::Pass {
        return Err(Broken);
    }
    let seals = sets.iter().enumerate().map(|(number, set)| {
        let field = set.seal.ok_or(Broken)?;
        let status = if number == 0 { "none" } else { "pass" };
        let seal = read(&field, |tags| seal_of(tags, status))?;
        Ok::<_, Broken>((field, seal))
    });
    let seals: Vec<_> = seals.collect::<Result<_, Broken>>()?;
    let index = Index::of(block, &signature.signed);
    let signed = |own: &Field<'_>| index.signed(&signature.signed, signature.header_form, own);
    verify(resolver, &signature, &last, signed).await?;
    for (number, (field, seal)) in seals.iter().enumerate().rev() {
        let before = sets[..number].iter().flat_map(Set::fields);
        let fields = before
            .chain(sets[number].results.iter())
            .chain(sets[number].signature.iter())
            .copied();
        verify(resolver, seal, field, |own| sealed(fields, own)).await?;
    }
    Ok(())
}

/// A signature over the message, which covers no seal (RFC 8617 §4.1.2).
fn signature(tags: &Tags<'_>) -> Result<Signature, Broken> {
    let signature = Signature::of_message(tags).map_err(|_| Broken)?;
    match signature
        .signed
        .iter()
        .any(|name| SEAL.eq_ignore_ascii_case(name))
    {
        true => Err(Broken),
        false => Ok(signature),
    }
}

/// A seal that says `status` of the sets before it. What it covers is fixed, so it must not name fields (RFC 8617 §4.1.3).
fn seal_of(tags: &Tags<'_>, status: &str) -> Result<Signature, Broken> {
    match tags.value("cv") == Some(status) && tags.value("h").is_none() {
        true => Signature::of_header(tags).map_err(|_| Broken),
        false => Err(Broken),
    }
}

fn read(
    field: &Field<'_>,
    of: impl FnOnce(&Tags<'_>) -> Result<Signature, Broken>,
) -> Result<Signature, Broken> {
    let text = std::str::from_utf8(field.value()).map_err(|_| Broken)?;
    of(&Tags::parse(text).map_err(|_| Broken)?)
}

async fn verify(
    resolver: &dyn Resolver,
    signature: &Signature,
    field: &Field<'_>,
    signed: impl FnOnce(&Field<'_>) -> Vec<u8>,
) -> Result<(), Broken> {
    let key = key::find(resolver, signature).await.map_err(|_: NoKey| Broken)?;
    let own = without_own_octets(field.raw);
    let own = Field {
        name: field.name,
        raw: &own,
    };
    match key.verifies(&signed(&own), &signature.octets) {
        true => Ok(()),
        false => Err(Broken),
    }
}

/// What a seal covers: fields in relaxed form, and itself without a line end.
fn sealed<'a>(fields: impl Iterator<Item = Field<'a>>, own: &Field<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    fields.for_each(|field| Canonical::Relaxed.field(&field, &mut out));
    Canonical::Relaxed.field(own, &mut out);
    out.truncate(out.len() - b"\r\n".len());
    out
}

#[cfg(test)]
mod tests;
