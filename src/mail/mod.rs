//! Values of RFC 5321, 5322 and 3461.

pub mod address;
pub mod aliases;
pub mod date;
pub mod demand;
pub mod dropped;
pub mod dsn;
pub mod headers;
pub mod line_ends;
pub mod local;
pub mod mailboxes;
pub mod notice;
pub mod notify;
pub mod repair;
pub mod reply;
pub mod seven_bit;
pub mod specs;
pub mod survey;
pub mod trace;
pub mod xtext;
