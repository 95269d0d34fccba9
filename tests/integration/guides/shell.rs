//! Command lines, each run on a terminal of its own, in a folder.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// What came of a line.
#[derive(Debug)]
pub struct Answer {
    /// How it ended.
    pub code: i32,
    /// What stood on the terminal.
    pub said: String,
}

/// Runs a line of a shell, with `keys` typed, where `dimed` finds that configuration.
pub fn typed(folder: &Path, config: &Path, line: &str, keys: &[u8]) -> Answer {
    let binaries = Path::new(env!("CARGO_BIN_EXE_dimed")).parent().unwrap();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--command", line, "/dev/null"])
        .current_dir(folder)
        .env("PATH", path)
        .env("DIMED_CONFIG", config)
        .env("SHELL", "/bin/sh")
        .env_remove("DIMED_MASTER_KEY")
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Who asks nothing may have ended before it is typed.
    let _ = terminal.stdin.take().unwrap().write_all(keys);
    let output = terminal.wait_with_output().unwrap();
    Answer {
        code: output.status.code().unwrap(),
        said: String::from_utf8_lossy(&output.stdout).replace('\r', ""),
    }
}

/// Holds what a guide shows to what was said: its lines are there in their order. `...` stands for anything in a line, and alone for any
/// lines.
pub fn shows(said: &str, shown: &[String]) -> Result<(), String> {
    let mut rest = said.lines();
    for line in shown.iter().filter(|line| line.trim() != "...") {
        if !rest.any(|said| is_like(said.trim(), line.trim())) {
            return Err(line.clone());
        }
    }
    Ok(())
}

fn is_like(said: &str, pattern: &str) -> bool {
    let pieces: Vec<&str> = pattern.split("...").collect();
    let [first, middle @ .., last] = &pieces[..] else {
        return said == pattern;
    };
    let Some(mut rest) = said.strip_prefix(first) else {
        return false;
    };
    for piece in middle {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn what_is_shown_is_found_in_its_order_and_nothing_else_is() {
    let said = "  a: right (TTL 7)\nb\n! c is wrong, since 12\n";
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        shows(said, &lines("a: right (TTL ...)\n...\n! c ... since ...")),
        Ok(())
    );
    for wrong in ["a: right", "b\na: ...", "! c ... until ...", "...wrong"] {
        assert!(shows(said, &lines(wrong)).is_err(), "{wrong}");
    }
}
