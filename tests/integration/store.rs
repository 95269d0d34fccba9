//! The store: one behaviour suite for every database, and what is particular to each.

mod kept;
mod sqlite;
mod suite;
