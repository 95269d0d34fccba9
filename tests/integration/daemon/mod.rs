//! The daemon end to end: real sockets, real DNS with signed zones, real databases, and real processes where it matters.

mod aliases;
mod at_once;
mod crash;
mod custody;
mod dmtp;
mod dns_down;
mod exchange;
mod format2;
mod hostile;
mod key_sets;
mod keys_at_home;
mod large;
mod life_cycle;
mod mapping;
mod outbound;
mod privacy;
mod receiving;
mod resealing;
mod returns;
mod sealed_submission;
mod sealing_crash;
mod shutdown;
mod signets;
mod submission;
mod unproven;
