//! Building blocks without any knowledge of mail.

pub mod allowance;
pub mod budget;
pub mod bytes;
pub mod causes;
pub mod descriptors;
pub mod durable;
pub mod encoding;
pub mod followed_clock;
pub mod guarded_clock;
pub mod id;
pub mod lately;
pub mod machine;
pub mod metrics;
pub mod network;
pub mod observe;
pub mod recent;
pub mod regular;
pub mod secret;
pub mod space;
pub mod time;
pub mod zone_text;
