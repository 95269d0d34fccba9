//! Reading what was delivered.

use std::path::{Path, PathBuf};

use super::eventually;

/// The Maildir of one account.
#[derive(Debug, Clone)]
pub struct Maildir(pub PathBuf);

impl Maildir {
    /// All messages, in the order of their delivery as far as their names tell.
    pub fn messages(&self) -> Vec<String> {
        let text = |octets| String::from_utf8(octets).unwrap();
        self.octets().into_iter().map(text).collect()
    }

    /// The same, whatever is in them.
    pub fn octets(&self) -> Vec<Vec<u8>> {
        let mut paths = files(&self.0.join("new"));
        paths.sort();
        paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
    }

    /// How many messages there are.
    pub fn count(&self) -> usize {
        files(&self.0.join("new")).len()
    }

    /// Waits until `count` messages are there, and fails if there are more.
    pub async fn expect(&self, count: usize) -> Vec<String> {
        self.expect_octets(count).await;
        self.messages()
    }

    /// The same, whatever is in them.
    pub async fn expect_octets(&self, count: usize) -> Vec<Vec<u8>> {
        let what = format!("{count} messages in {}", self.0.display());
        eventually(&what, || (self.count() >= count).then_some(())).await;
        let messages = self.octets();
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
