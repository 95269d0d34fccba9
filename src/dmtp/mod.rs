//! Pure DMTP machines (`dmtp.md`).
