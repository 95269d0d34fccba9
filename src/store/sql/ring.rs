//! The master key and what came before it.
//!
//! Tags of names (copies of others' signets, pins, the greylist) cannot be made anew without the names, so what they are derived
//! from stays when the master key is replaced: the key that there was at first. It is kept sealed under the master key.

use super::Connection;
use super::query::{query, query_as, query_scalar, row};

use crate::crypto::at_rest::Key;
use crate::store::sealed::{MasterKey, Spot};
use crate::store::{Error, KeyChange};

row! {
    /// What the ring says.
    struct Ring {
        tags: Vec<u8>,
        next_check: Option<Vec<u8>>,
        next_tags: Option<Vec<u8>>,
        next: Option<Vec<u8>>,
        previous: Option<Vec<u8>>,
    }
}

async fn ring(db: &mut Connection) -> Result<Option<Ring>, Error> {
    let sql = "SELECT tags, next_check, next_tags, next, previous FROM master_key_ring";
    Ok(query_as(sql).fetch_optional(db).await?)
}

/// The keys that this database needs, found with one of them: [`Error::WrongMasterKey`] if it is none.
pub(in crate::store) async fn complete(db: &mut Connection, master: &MasterKey) -> Result<MasterKey, Error> {
    query("INSERT INTO master_key_check (id, sealed) VALUES (1, $1) ON CONFLICT DO NOTHING")
        .bind(master.seal_check())
        .execute(&mut *db)
        .await?;
    let check: Vec<u8> = query_scalar("SELECT sealed FROM master_key_check")
        .fetch_one(&mut *db)
        .await?;
    let is_current = master.opens_check(&check);
    let Some(ring) = ring(db).await? else {
        return is_current.then(|| master.clone()).ok_or(Error::WrongMasterKey);
    };
    let open = |spot: Spot, sealed: &Option<Vec<u8>>| {
        let sealed = sealed.as_ref().ok_or(Error::WrongMasterKey)?;
        open_key(master, &spot, sealed)
    };
    if is_current {
        let tags = open_key(master, &Spot::tags(), &ring.tags)?;
        return Ok(match ring.next {
            None => master.clone().with_tags(tags),
            Some(_) => {
                let next = MasterKey::new(open(Spot::next_key(), &ring.next)?);
                next.with_tags(tags).with_previous(master)
            }
        });
    }
    let is_next = ring
        .next_check
        .as_ref()
        .is_some_and(|check| master.opens_check(check));
    if !is_next {
        return Err(Error::WrongMasterKey);
    }
    let tags = open(Spot::tags(), &ring.next_tags)?;
    let previous = MasterKey::new(open(Spot::previous_key(), &ring.previous)?);
    Ok(master.clone().with_tags(tags).with_previous(&previous))
}

fn open_key(master: &MasterKey, spot: &Spot, sealed: &[u8]) -> Result<Key, Error> {
    let unreadable = || Error::Unreadable("master key ring");
    let octets = master.open_at(spot, sealed).map_err(|_| unreadable())?;
    let octets = <[u8; 32]>::try_from(octets.expose().as_slice());
    octets.map(Key::from_bytes).map_err(|_| unreadable())
}

/// How far a change is, as somebody sees it who has `master`.
pub(super) async fn change(db: &mut Connection, master: &MasterKey) -> Result<KeyChange, Error> {
    let Some(Ring {
        next_check: Some(check),
        ..
    }) = ring(db).await?
    else {
        return Ok(KeyChange::None);
    };
    Ok(match master.opens_check(&check) {
        true => KeyChange::HasNext,
        false => KeyChange::HasPrevious,
    })
}

/// Begins a change from `old`, with its tags, to `next`. From its commit on, either key opens the database.
pub(super) async fn begin(db: &mut Connection, old: &MasterKey, next: &MasterKey) -> Result<(), Error> {
    query("DELETE FROM master_key_ring").execute(&mut *db).await?;
    query(
        "INSERT INTO master_key_ring (id, tags, next_check, next_tags, next, previous) VALUES (1, $1, $2, $3, $4, $5)",
    )
    .bind(old.seal_at(&Spot::tags(), old.tags().expose()))
    .bind(next.seal_check())
    .bind(next.seal_at(&Spot::tags(), old.tags().expose()))
    .bind(old.seal_at(&Spot::next_key(), next.current().expose()))
    .bind(next.seal_at(&Spot::previous_key(), old.current().expose()))
    .execute(db)
    .await?;
    Ok(())
}

/// Ends it: the previous key opens nothing any more.
pub(super) async fn finish(db: &mut Connection) -> Result<(), Error> {
    for sql in [
        "UPDATE master_key_check SET sealed = (SELECT next_check FROM master_key_ring) \
         WHERE EXISTS (SELECT 1 FROM master_key_ring WHERE next IS NOT NULL)",
        "UPDATE master_key_ring SET tags = next_tags, next_check = NULL, next_tags = NULL, next = NULL, previous = NULL \
         WHERE next IS NOT NULL",
    ] {
        query(sql).execute(&mut *db).await?;
    }
    Ok(())
}
