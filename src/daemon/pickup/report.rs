//! What one pass over the drop folder tells the log, however many files others put there.

use std::error::Error;

use crate::base::observe;

/// Files of each kind that get a line of their own.
const LINES: usize = 10;

/// Files that were not taken.
#[derive(Debug, Default)]
pub struct Report {
    left: usize,
    refused: usize,
    /// Of another version of `sendmail`.
    later: usize,
    /// Whose the last of them was.
    later_of: Option<u32>,
}

impl Report {
    /// A file stays, for a fault that is not its own.
    pub fn left(&mut self, uid: u32, error: &(dyn Error + 'static)) {
        self.left += 1;
        if self.left <= LINES {
            tracing::error!(
                event = observe::LOCAL_MESSAGE_LEFT,
                user.id = uid,
                error,
                "a message in the drop folder cannot be taken now"
            );
        }
    }

    /// A file goes.
    pub fn refused(&mut self, uid: u32, error: &(dyn Error + 'static)) {
        self.refused += 1;
        if self.refused <= LINES {
            tracing::warn!(
                event = observe::LOCAL_FILE_REFUSED,
                count = 1,
                user.id = uid,
                error,
                "a file in the drop folder was removed"
            );
        }
    }

    /// A file of another version stays for a day.
    pub fn later(&mut self, uid: u32) {
        self.later += 1;
        self.later_of = Some(uid);
    }

    /// The pass is over.
    pub fn end(self) {
        if self.later > 0 {
            tracing::warn!(
                event = observe::LOCAL_MESSAGE_LEFT,
                count = self.later,
                user.id = self.later_of,
                "what another version of sendmail left stays in the drop folder, for a day at most"
            );
        }
        let more = self.left.saturating_sub(LINES);
        if more > 0 {
            tracing::error!(
                event = observe::LOCAL_MESSAGE_LEFT,
                count = more,
                "more messages in the drop folder cannot be taken now"
            );
        }
        let more = self.refused.saturating_sub(LINES);
        if more > 0 {
            tracing::warn!(
                event = observe::LOCAL_FILE_REFUSED,
                count = more,
                "more files in the drop folder were removed"
            );
        }
    }
}
