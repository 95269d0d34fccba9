//! Secrets that are typed at the terminal, which shows none of them, and is afterwards as it was: also if it ends with Ctrl-C.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::thread;
use std::time::Duration;

use rpassword::ConfigBuilder;
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::base::secret::Secret;

/// The terminal of this process.
const TERMINAL: &str = "/dev/tty";

/// What Ctrl-C sends where it is no signal.
const INTERRUPT: u8 = 3;

/// Asks for a secret. Ctrl-C ends this process.
pub fn typed(question: &str) -> io::Result<Secret<String>> {
    let answer = ask(question);
    if answer.as_ref().is_err_and(is_interrupted) {
        // The terminal is as it was. Whoever called us is told as ever, unless we are to go on without signals of terminals.
        kill_process(getpid(), Signal::INT)?;
        thread::sleep(Duration::from_secs(1));
    }
    answer
}

fn ask(question: &str) -> io::Result<Secret<String>> {
    let mut terminal = OpenOptions::new().read(true).write(true).open(TERMINAL)?;
    let _quiet = Quiet::new(terminal.try_clone()?)?;
    terminal.write_all(question.as_bytes())?;
    let keys = Keys(terminal.try_clone()?);
    let config = ConfigBuilder::new().input_reader(keys).output_discard().build();
    let answer = rpassword::read_password_with_config(config);
    terminal.write_all(b"\n")?;
    answer.map(Secret::new)
}

/// A terminal that shows nothing of what is typed, and hands it over key by key. Dropped, it is as it was.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut now = before.clone();
        // Ctrl-C is a key as well: as a signal, it would end us before the terminal is as it was.
        let shown = LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        now.local_modes.remove(shown);
        now.special_codes[SpecialCodeIndex::VMIN] = 1;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Now, &now)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// What is typed, up to Ctrl-C.
struct Keys(File);

/// Whoever should type does not want to.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

impl Read for Keys {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(octets)?;
        match octets.iter().take(count).any(|octet| *octet == INTERRUPT) {
            true => Err(io::Error::other(Interrupted)),
            false => Ok(count),
        }
    }
}

fn is_interrupted(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Interrupted>())
}
