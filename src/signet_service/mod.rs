//! Publishes, looks up and verifies signets.
