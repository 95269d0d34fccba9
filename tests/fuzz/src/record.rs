//! Management records of domains.

use dimed::dime::record::ManagementRecord;

/// What is read reads the same after it was written; the writer may only refuse text that separators would cut.
pub fn record(input: &[u8]) {
    let Ok(record) = ManagementRecord::parse(input) else {
        return;
    };
    assert!(!record.primary_keys.is_empty());
    assert!(record.expiry_days.is_none_or(|days| (1..=3650).contains(&days)));
    let text = record.render().expect("a record that was read can be written");
    assert_eq!(ManagementRecord::parse(&text).as_ref(), Ok(&record));
    assert_eq!(record.render_zone_text().is_ok(), record.render().is_ok());
}
