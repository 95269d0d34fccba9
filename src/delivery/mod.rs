//! One delivery attempt each, one outcome per recipient.
