//! The published vectors (`signet.md` §18) and properties of all kinds.
