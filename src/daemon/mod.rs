//! Listeners, sessions and shutdown.

mod listener;
