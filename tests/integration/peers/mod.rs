//! Mail programs that other people wrote, each in a folder and on a loopback address of its own, with our daemon as their peer.

mod dovecot;
mod imap;
mod maildirs;
mod seat;
