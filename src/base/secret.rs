//! Values that are wiped when dropped, never shown, and compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret of any wipeable type: keys, passwords, tokens.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes ownership of the value, so that it is wiped with this wrapper.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Callers do not copy it into anything that outlives the use.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(String::from("hunter2"))), "[secret]");
    }

    #[test]
    fn compares_by_value() {
        assert_eq!(Secret::new(vec![1]), Secret::new(vec![1]));
        assert_ne!(Secret::new(vec![1]), Secret::new(vec![2]));
        assert_ne!(Secret::new(vec![1]), Secret::new(vec![1, 2]));
    }
}
