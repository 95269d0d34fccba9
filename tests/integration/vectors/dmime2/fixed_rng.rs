//! A generator that gives octets decided in advance, and fails the test when they run out.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

pub struct FixedRng(std::vec::IntoIter<u8>);

impl FixedRng {
    pub fn new(octets: Vec<u8>) -> Self {
        Self(octets.into_iter())
    }

    /// Whether all octets were drawn.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }
}

impl TryRng for FixedRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut octets = [0; 4];
        self.try_fill_bytes(&mut octets)?;
        Ok(u32::from_le_bytes(octets))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut octets = [0; 8];
        self.try_fill_bytes(&mut octets)?;
        Ok(u64::from_le_bytes(octets))
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Infallible> {
        for octet in target {
            *octet = self.0.next().expect("randomness is left");
        }
        Ok(())
    }
}

impl TryCryptoRng for FixedRng {}
