//! One transaction: jobs run in it, one after the other, each behind a savepoint.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::job::{Done, Job};
use super::syncs::Syncs;
use super::{Durable, GROUP_JOBS, Message};
use crate::store::Error;
use crate::store::sql::connection::Connection;
use crate::store::sql::query::query;

/// What was done, or, with the fault that ended the transaction, what of it has to be answered.
pub(super) type Ran = Result<Vec<Box<dyn Done>>, (Vec<Box<dyn Done>>, Arc<sqlx::Error>)>;

/// A transaction that is open, and where its jobs come from.
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) gathered: &'a mut VecDeque<Box<dyn Job>>,
    pub(super) queue: &'a mut mpsc::Receiver<Message>,
    /// Whether it is synced.
    pub(super) syncs: bool,
    /// Then it is not committed before these are over.
    pub(super) under_way: Option<&'a mut Syncs>,
}

impl Transaction<'_> {
    /// Runs jobs until nothing more waits, what comes has to be synced and this is not, the group is full, or the transaction itself
    /// fails.
    pub(super) async fn run_jobs(mut self, first: Box<dyn Job>) -> (Ran, Option<Message>) {
        let mut done = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            if let Err(error) = self.run(job, &mut done).await {
                return (Err((done, error)), None);
            }
            if done.len() as u64 >= GROUP_JOBS {
                break;
            }
            next = self.gathered.pop_front();
            if next.is_some() {
                continue;
            }
            match self.next_message().await {
                Some(Message::Job(job, durable)) if self.syncs || durable != Durable::AtOnce => {
                    next = Some(job)
                }
                Some(other) => return (Ok(done), Some(other)),
                None => break,
            }
        }
        (Ok(done), None)
    }

    /// What waits, or comes until the syncs are over.
    async fn next_message(&mut self) -> Option<Message> {
        if let Ok(message) = self.queue.try_recv() {
            return Some(message);
        }
        let under_way = self.under_way.as_mut().filter(|syncs| !syncs.are_over())?;
        tokio::select! {
            biased;
            () = under_way.over() => None,
            message = self.queue.recv() => message,
        }
    }

    /// Errors: those of the transaction.
    async fn run(
        &mut self,
        job: Box<dyn Job>,
        done: &mut Vec<Box<dyn Done>>,
    ) -> Result<(), Arc<sqlx::Error>> {
        if let Err(error) = query("SAVEPOINT job").execute(&mut *self.connection).await {
            let error = Arc::new(error);
            job.refuse(Error::NotCommitted(Arc::clone(&error)));
            return Err(error);
        }
        // A panic ends its transaction, and its own caller hears of nothing; the writer goes on.
        let ran = AssertUnwindSafe(job.run(self.connection)).catch_unwind().await;
        let finished = ran.map_err(|_| Arc::new(sqlx::Error::WorkerCrashed))?;
        let kept = finished.succeeded();
        done.push(finished);
        leave_savepoint(self.connection, kept).await.map_err(Arc::new)
    }
}

async fn leave_savepoint(connection: &mut Connection, keep: bool) -> Result<(), sqlx::Error> {
    if !keep {
        query("ROLLBACK TO job").execute(&mut *connection).await?;
    }
    query("RELEASE job").execute(connection).await?;
    Ok(())
}
