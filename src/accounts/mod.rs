//! Users, their passwords, aliases and trust modes.
