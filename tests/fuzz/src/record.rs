//! Management records of domains.

use dimed::dime::record::{MAX_RECORD_OCTETS, ManagementRecord};

/// What is read reads the same after it was written; what we keep of it has no bound that it could break.
pub fn record(input: &[u8]) {
    let Ok(record) = ManagementRecord::parse(input) else {
        return;
    };
    assert!(!record.primary_keys.is_empty());
    assert!(record.expiry_days.is_none_or(|days| (1..=3650).contains(&days)));
    let text = record.render_kept().expect("a record that was read can be kept");
    assert_eq!(ManagementRecord::parse_kept(&text).as_ref(), Ok(&record));
    assert_eq!(record.render().is_ok(), text.len() <= MAX_RECORD_OCTETS);
    assert_eq!(record.render_zone_text().is_ok(), record.render().is_ok());
}
