//! Listeners, sessions and shutdown.
