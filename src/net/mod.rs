//! Sockets: running a machine over a stream, TLS, DNS.

pub mod dns;
