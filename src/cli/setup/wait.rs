//! Waiting for DNS.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::progress::Progress;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::{Exit, dns};
use crate::mail::address::Domain;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Looks until DNS has everything that mail needs, or the time is over. What is found is said when it changes.
pub async fn for_dns(
    context: &Context,
    domain: &Domain,
    limit: Duration,
    progress: &mut Progress<'_>,
) -> anyhow::Result<(Answer, Exit)> {
    let begun = Instant::now();
    let mut said = String::new();
    progress.say("\nLooking into DNS; Ctrl-C ends that, and everything else stays as it is.\n")?;
    loop {
        let (found, exit) = dns::checked(context, domain).await?;
        if said != found.text {
            progress.say(&format!("\n{}", found.text))?;
            said.clone_from(&found.text);
        }
        let left = limit.saturating_sub(begun.elapsed());
        if exit == Exit::Done || left.is_zero() {
            return Ok((found, exit));
        }
        sleep(EVERY.min(left)).await;
    }
}
