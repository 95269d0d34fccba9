//! Signets and signing requests (`signet.md`).
