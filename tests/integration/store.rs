//! The store: one behaviour suite for every database, and what is particular to each.

mod kept;
mod postgres;
mod sqlite;
mod suite;
