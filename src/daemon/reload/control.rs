//! How `dimed reload` asks a running daemon, and hears what came of it: a Unix socket in the data directory, for the daemon's own
//! user and root.
//!
//! The question is the word `reload` and LF; the answer is an exit code, a space and a text in one line.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

const NAME: &str = "control.socket";

const QUESTION: &[u8] = b"reload\n";

/// The longest wait for a question, and for room for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest wait for an answer: what a configuration names is read, and DNS is not asked.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);

/// How long to wait after `accept` failed.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Questions read, or waiting for their turn, at the same time.
const MOST_ASKING: usize = 16;

/// Octets of an answer at most.
const MOST: u64 = 64 * 1024;

/// What a daemon says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How the command ends that has asked.
    pub exit: u8,
    /// One line.
    pub text: String,
}

/// Where a daemon is asked. Gone when dropped, and whoever has not been answered then hears of it.
#[derive(Debug)]
pub struct Control {
    requests: mpsc::Receiver<Request>,
    path: PathBuf,
    _listening: AbortOnDropHandle<()>,
}

impl Control {
    /// In a data directory whose only daemon we are.
    pub fn listen(data: &Path) -> io::Result<Self> {
        let path = place(data);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let (asked, requests) = mpsc::channel(MOST_ASKING);
        let listening = tokio::spawn(accept(listener, asked));
        Ok(Self {
            requests,
            path,
            _listening: AbortOnDropHandle::new(listening),
        })
    }

    /// The next one who asks. Nobody is forgotten if this is not waited for to the end.
    pub async fn next(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            // Nobody can ask any more.
            None => std::future::pending().await,
        }
    }
}

/// Reads questions side by side, so that nobody waits for somebody who says nothing.
async fn accept(listener: UnixListener, asked: mpsc::Sender<Request>) {
    let places = Arc::new(Semaphore::new(MOST_ASKING));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let asked = asked.clone();
        tokio::spawn(async move {
            if let Ok(Some(request)) = timeout(PATIENCE, Request::read(stream)).await {
                // In vain where the daemon stops: whoever asks hears that nobody answers.
                let _ = asked.send(request).await;
            }
            drop(place);
        });
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Whoever finds one that is left asks nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Somebody who waits for an answer.
#[derive(Debug)]
pub struct Request(UnixStream);

impl Request {
    /// `None` for anybody who may not ask, and for other questions.
    async fn read(mut stream: UnixStream) -> Option<Self> {
        let user = stream.peer_cred().ok()?.uid();
        if user != 0 && user != rustix::process::geteuid().as_raw() {
            return None;
        }
        let mut question = [0; QUESTION.len()];
        stream.read_exact(&mut question).await.ok()?;
        (question == QUESTION).then_some(Self(stream))
    }

    /// Tells what came of it. Whoever does not wait for that goes without.
    pub async fn answer(mut self, answer: &Answer) {
        let line = format!("{} {}\n", answer.exit, answer.text.replace('\n', " "));
        let _ = timeout(PATIENCE, self.0.write_all(line.as_bytes())).await;
    }
}

/// Asks the daemon of a data directory to read its configuration again.
///
/// Errors: of kind `NotFound` or `ConnectionRefused` if none is running.
pub async fn ask(data: &Path) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(place(data)).await?;
    let asking = async {
        stream.write_all(QUESTION).await?;
        let mut line = String::new();
        BufReader::new(stream.take(MOST)).read_line(&mut line).await?;
        Ok::<_, io::Error>(line)
    };
    let line = timeout(ANSWERED_WITHIN, asking).await??;
    read(&line).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn read(line: &str) -> Option<Answer> {
    let (exit, text) = line.strip_suffix('\n')?.split_once(' ')?;
    Some(Answer {
        exit: exit.parse().ok()?,
        text: text.to_owned(),
    })
}

fn place(data: &Path) -> PathBuf {
    data.join(NAME)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn whoever_asks_is_answered_and_others_are_not_heard() {
        let home = tempfile::tempdir().unwrap();
        let none = ask(home.path()).await.unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
        drop(Control::listen(home.path()).unwrap());
        assert!(!place(home.path()).exists());
        drop(std::os::unix::net::UnixListener::bind(place(home.path())).unwrap());
        let gone = ask(home.path()).await.unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::ConnectionRefused);

        // What a daemon that was killed has left is no obstacle.
        let mut control = Control::listen(home.path()).unwrap();
        let answer = Answer {
            exit: 78,
            text: "line 3: no".to_owned(),
        };
        let answering = async {
            control.next().await.answer(&answer).await;
        };
        let others = async {
            let mut other = UnixStream::connect(place(home.path())).await.unwrap();
            other.write_all(b"forget\n").await.unwrap();
            let mut rest = Vec::new();
            other.read_to_end(&mut rest).await.unwrap();
            assert!(rest.is_empty());
            ask(home.path()).await.unwrap()
        };
        let ((), asked) = tokio::join!(answering, others);
        assert_eq!(asked, answer);
    }

    #[tokio::test]
    async fn nobody_waits_for_those_who_say_nothing() {
        let home = tempfile::tempdir().unwrap();
        let mut control = Control::listen(home.path()).unwrap();
        let mut silent = Vec::new();
        for _ in 0..MOST_ASKING - 1 {
            silent.push(UnixStream::connect(place(home.path())).await.unwrap());
        }
        let answer = Answer {
            exit: 0,
            text: "done".to_owned(),
        };
        let asking = async {
            let (asked, ()) = tokio::join!(ask(home.path()), async {
                control.next().await.answer(&answer).await;
            });
            asked.unwrap()
        };
        // One after the other they would be waited for longer.
        let within = PATIENCE * u32::try_from(silent.len() / 2).unwrap();
        assert_eq!(timeout(within, asking).await.unwrap(), answer);
    }

    /// Signals come while somebody asks.
    #[tokio::test]
    async fn a_question_is_kept_though_nobody_waits_for_it_and_its_end_is_told() {
        let home = tempfile::tempdir().unwrap();
        let mut control = Control::listen(home.path()).unwrap();
        let mut stream = UnixStream::connect(place(home.path())).await.unwrap();
        let early = timeout(Duration::from_millis(200), control.next()).await;
        assert!(early.is_err());
        stream.write_all(QUESTION).await.unwrap();
        let answer = Answer {
            exit: 78,
            text: "no".to_owned(),
        };
        let request = timeout(PATIENCE * 10, control.next()).await.unwrap();
        request.answer(&answer).await;
        let mut line = String::new();
        stream.read_to_string(&mut line).await.unwrap();
        assert_eq!(line, "78 no\n");

        let asking = ask(home.path());
        let stopping = async {
            drop(control.next().await);
            drop(control);
        };
        let (asked, ()) = tokio::join!(asking, stopping);
        assert_eq!(asked.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
