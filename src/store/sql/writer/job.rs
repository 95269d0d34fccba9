//! What is handed to the writer: work whose result type only its caller knows.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::oneshot;

use super::Work;
use crate::store::Error;
use crate::store::sql::connection::Connection;

/// A job whose result type only its caller knows.
pub(super) trait Job: Send {
    /// Does the work; its caller hears of it through [`Done`].
    fn run<'c>(self: Box<Self>, connection: &'c mut Connection) -> DoneFuture<'c>;
    /// Answers without having run.
    fn refuse(self: Box<Self>, error: Error);
}

pub(super) type DoneFuture<'c> = Pin<Box<dyn Future<Output = Box<dyn Done>> + Send + 'c>>;

/// A finished job, whose caller is still waiting.
pub(super) trait Done: Send {
    /// Whether its changes are to be kept.
    fn succeeded(&self) -> bool;
    /// Answers: with the job's own result, or the error of the transaction.
    fn answer(self: Box<Self>, transaction: Result<(), Error>);
}

pub(super) struct Pending<F, T> {
    pub(super) job: F,
    pub(super) answer: oneshot::Sender<Result<T, Error>>,
}

struct Finished<T> {
    result: Result<T, Error>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Job for Pending<F, T>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send,
{
    fn run<'c>(self: Box<Self>, connection: &'c mut Connection) -> DoneFuture<'c> {
        let Self { job, answer } = *self;
        let work = job(connection);
        Box::pin(async move {
            let result = work.await;
            Box::new(Finished { result, answer }) as Box<dyn Done>
        })
    }

    fn refuse(self: Box<Self>, error: Error) {
        // If nobody listens any more, the caller was cancelled.
        drop(self.answer.send(Err(error)));
    }
}

impl<T: Send> Done for Finished<T> {
    fn succeeded(&self) -> bool {
        self.result.is_ok()
    }

    fn answer(self: Box<Self>, transaction: Result<(), Error>) {
        let result = transaction.and(self.result);
        // As above.
        drop(self.answer.send(result));
    }
}
