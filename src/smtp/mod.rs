//! Pure SMTP machines (RFC 5321): bytes and time in, bytes and events out.
