//! The descriptive part of a signet: fields 16 to 252 (`signet.md` §3).

use std::fmt;

use super::Error;
use super::field::id;
use super::object::Signet;

/// Fields between the cryptographic and the full signature, in ascending order.
///
/// Which ids exist, and how long they may be, depends on the kind of signet and shows when it is made.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Profile {
    fields: Vec<Entry>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: u8,
    pub(super) name: Option<Vec<u8>>,
    pub(super) data: Vec<u8>,
}

impl Profile {
    /// A profile without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// The profile of an existing signet. Empty fields are left out, because they must not be written.
    pub fn of(signet: &Signet) -> Self {
        let fields = signet
            .fields()
            .filter(|field| (id::PROFILE_FIRST..=id::PHOTO).contains(&field.id) && !field.data.is_empty());
        let entries = fields.map(|field| Entry {
            id: field.id,
            name: field.name.map(<[u8]>::to_vec),
            data: field.data.to_vec(),
        });
        Self {
            fields: entries.collect(),
        }
    }

    /// Adds a defined field behind any of the same id.
    ///
    /// [`Error::Content`] if the id is outside a profile, undefined (251), or the data is empty.
    pub fn add(&mut self, id: u8, data: &[u8]) -> Result<(), Error> {
        match id {
            id::UNDEFINED => Err(Error::Content(id)),
            id::PROFILE_FIRST..=id::PHOTO if !data.is_empty() => {
                self.insert(id, None, data);
                Ok(())
            }
            _ => Err(Error::Content(id)),
        }
    }

    /// Puts a defined field in the place of all with the same id.
    pub fn set(&mut self, id: u8, data: &[u8]) -> Result<(), Error> {
        let mut changed = self.clone();
        changed.remove(id);
        changed.add(id, data)?;
        *self = changed;
        Ok(())
    }

    /// Adds an undefined field; a name may be there more than once, and readers take the first.
    pub fn add_undefined(&mut self, name: &[u8], data: &[u8]) -> Result<(), Error> {
        if name.is_empty() || name.len() > 255 || data.is_empty() {
            return Err(Error::Content(id::UNDEFINED));
        }
        self.insert(id::UNDEFINED, Some(name.to_vec()), data);
        Ok(())
    }

    /// Removes all fields with that id.
    pub fn remove(&mut self, id: u8) {
        self.fields.retain(|field| field.id != id);
    }

    /// Removes all undefined fields with that name.
    pub fn remove_undefined(&mut self, name: &[u8]) {
        self.fields.retain(|field| field.name.as_deref() != Some(name));
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.fields
    }

    fn insert(&mut self, id: u8, name: Option<Vec<u8>>, data: &[u8]) {
        let place = self.fields.partition_point(|field| field.id <= id);
        let data = data.to_vec();
        self.fields.insert(place, Entry { id, name, data });
    }
}

/// Shows the number of fields; contents name a person.
impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({} fields)", self.fields.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_ascending_order_and_the_order_of_repeats() {
        let mut profile = Profile::new();
        for (id, data) in [(21, "b"), (160, "d"), (16, "a"), (21, "c")] {
            assert_eq!(profile.add(id, data.as_bytes()), Ok(()));
        }
        let kept: Vec<_> = profile
            .entries()
            .iter()
            .map(|entry| (entry.id, entry.data[0]))
            .collect();
        assert_eq!(kept, [(16, b'a'), (21, b'b'), (21, b'c'), (160, b'd')]);
        assert_eq!(profile.set(21, b"e"), Ok(()));
        profile.remove(16);
        let kept: Vec<_> = profile
            .entries()
            .iter()
            .map(|entry| (entry.id, entry.data[0]))
            .collect();
        assert_eq!(kept, [(21, b'e'), (160, b'd')]);
    }

    #[test]
    fn refuses_keys_signatures_identifiers_and_empty_data() {
        let mut profile = Profile::new();
        for id in [0, 1, 4, 6, 15, 251, 253, 254, 255] {
            assert_eq!(profile.add(id, b"x"), Err(Error::Content(id)));
        }
        assert_eq!(profile.set(16, b""), Err(Error::Content(16)));
        assert_eq!(profile.add_undefined(b"", b"x"), Err(Error::Content(251)));
        assert_eq!(profile.add_undefined(b"x", b""), Err(Error::Content(251)));
        assert_eq!(
            profile.add_undefined(&[b'x'; 256], b"x"),
            Err(Error::Content(251))
        );
        assert_eq!(profile, Profile::new());
    }

    #[test]
    fn removes_undefined_fields_by_name() {
        let mut profile = Profile::new();
        for name in ["one", "two", "one"] {
            assert_eq!(profile.add_undefined(name.as_bytes(), b"x"), Ok(()));
        }
        profile.remove_undefined(b"one");
        let names: Vec<_> = profile
            .entries()
            .iter()
            .map(|entry| entry.name.as_deref())
            .collect();
        assert_eq!(names, [Some(&b"two"[..])]);
    }
}
