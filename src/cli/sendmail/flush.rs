//! `sendmail -q`: what waits is tried at once.

use std::path::Path;

use super::mailq;
use super::options::{Failure, Status};
use crate::store::Selection;

/// Has it tried by the daemon, which takes it up within half a minute. That nothing waits is no failure.
pub async fn run(named: Option<&Path>, what: Option<Selection>) -> Result<Status, Failure> {
    let context = mailq::open(named).await?;
    let what = what.unwrap_or(Selection::All);
    let retried = context.store.retry(what, context.now()).await;
    match retried {
        Ok(_) => Ok(Status::Ok),
        Err(error) => Err(Failure::new(Status::TempFail, error.to_string())),
    }
}
