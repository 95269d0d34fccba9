//! Cryptographic primitives behind small typed calls. Randomness is always a parameter.

pub mod aead;
pub mod aes256_gcm;
pub mod at_rest;
pub mod ed25519;
pub mod hash;
pub mod scram;
pub mod suite;

/// Ends the process as the allocator does: the only failure of a library call that has valid input.
pub fn no_memory() -> ! {
    std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; 1024]>())
}
