//! D/MIME 1 messages (`dmime.md`).
