//! Sockets: running a machine over a stream, sessions kept for another use, TLS, DNS.

pub mod acme;
pub mod authority;
pub mod connect;
pub mod connection;
pub mod dane;
pub mod dns;
pub mod dx_certificate;
pub mod https;
pub mod kept_certificate;
pub mod pool;
pub mod proxy;
pub mod self_signed;
pub mod service;
pub mod stream;
pub mod tls;
