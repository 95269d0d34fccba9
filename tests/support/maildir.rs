//! Reading what was delivered.

use std::path::{Path, PathBuf};

use super::eventually;

/// The Maildir of one account.
#[derive(Debug, Clone)]
pub struct Maildir(pub PathBuf);

impl Maildir {
    /// All messages, in the order of their delivery as far as their names tell.
    pub fn messages(&self) -> Vec<String> {
        let mut paths = files(&self.0.join("new"));
        paths.sort();
        paths
            .iter()
            .map(|path| String::from_utf8(std::fs::read(path).unwrap()).unwrap())
            .collect()
    }

    /// How many messages there are.
    pub fn count(&self) -> usize {
        files(&self.0.join("new")).len()
    }

    /// Waits until `count` messages are there, and fails if there are more.
    pub async fn expect(&self, count: usize) -> Vec<String> {
        let what = format!("{count} messages in {}", self.0.display());
        eventually(&what, || (self.count() >= count).then_some(())).await;
        let messages = self.messages();
        assert_eq!(messages.len(), count, "more than {what}");
        messages
    }

    /// Waits for the only message.
    pub async fn only(&self) -> String {
        self.expect(1).await.remove(0)
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    }
}

/// The header block and the body of a message.
pub fn split(message: &str) -> (&str, &str) {
    message.split_once("\r\n\r\n").unwrap_or((message, ""))
}
