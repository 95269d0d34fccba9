//! What the real binary asks of the operating system, recorded by strace.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::support::child::{Launch, Process};
use crate::support::eventually;

/// Everything that changes files, makes them durable, or leaves the process.
const CALLS: &str = "trace=open,openat,creat,read,recvfrom,recvmsg,readv,write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync,\
    sync_file_range,msync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,truncate,ftruncate,\
    fallocate";

/// Strings are recorded whole up to this length; none is longer.
const LONGEST: &str = "4000000";

/// Records one process.
pub struct Recorder(PathBuf);

impl Recorder {
    /// Into a file in that folder.
    pub fn new(folder: &Path) -> Self {
        Self(folder.join("trace"))
    }

    /// How the process is to be started.
    pub fn launch(&self) -> Launch {
        // -D: the process is the daemon, and strace is beside it. -yy: what descriptors stand for.
        let options = [
            "-D",
            "-f",
            "--seccomp-bpf",
            "-yy",
            "-xx",
            "-q",
            "-s",
            LONGEST,
            "-e",
            CALLS,
        ];
        let mut before: Vec<OsString> = vec!["strace".into()];
        before.extend(options.map(OsString::from));
        before.extend([
            "-e".into(),
            "signal=none".into(),
            "-o".into(),
            self.0.clone().into(),
        ]);
        Launch {
            before,
            ..Launch::default()
        }
    }

    /// Stops the process with SIGTERM; what it did.
    pub async fn stop(self, mut process: Process) -> Vec<Call> {
        process.terminate();
        process.ended().await;
        // The first thread is the last to end.
        let first = process.id().to_string();
        let is_over = |text: &str| {
            let mut words = text.lines().last().unwrap_or_default().split_whitespace();
            words.next() == Some(&first) && words.next() == Some("+++")
        };
        let text = eventually("the end of the record", || {
            let text = std::fs::read_to_string(&self.0).unwrap();
            is_over(&text).then_some(text)
        })
        .await;
        parse(&text)
    }
}

/// One call that succeeded.
#[derive(Debug)]
pub struct Call {
    /// When it was made, in lines of the record.
    pub begun: usize,
    /// When it returned; the same line if nothing happened in between.
    pub ended: usize,
    pub name: String,
    /// What its first descriptor stands for: a path, or a socket such as `TCP:[127.0.0.1:25->127.0.0.1:4000]`.
    pub target: String,
    /// All string arguments: octets sent, or paths.
    pub strings: Vec<Vec<u8>>,
    /// What stands behind the last string: flags and numbers.
    pub rest: String,
    pub result: i64,
}

impl Call {
    /// The octets that were written, sent or received.
    pub fn octets(&self) -> Vec<u8> {
        let mut all = self.strings.concat();
        all.truncate(usize::try_from(self.result).unwrap());
        all
    }

    /// Whether it makes what was written before durable.
    pub fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync")
    }

    pub fn is_write(&self) -> bool {
        matches!(self.name.as_str(), "write" | "writev" | "pwrite64" | "pwritev")
    }

    /// Octets leave by a socket.
    pub fn is_send(&self) -> bool {
        let sends = matches!(self.name.as_str(), "write" | "writev" | "sendto" | "sendmsg");
        sends && self.is_on_socket()
    }

    /// Octets come from a socket.
    pub fn is_receive(&self) -> bool {
        let receives = matches!(self.name.as_str(), "read" | "readv" | "recvfrom" | "recvmsg");
        receives && self.is_on_socket() && self.result > 0
    }

    fn is_on_socket(&self) -> bool {
        ["TCP", "UNIX"].iter().any(|kind| self.target.starts_with(kind))
    }

    pub fn path(&self, index: usize) -> PathBuf {
        String::from_utf8(self.strings[index].clone()).unwrap().into()
    }

    /// The last argument, a number.
    pub fn last_number(&self) -> u64 {
        let last = self.rest.rsplit([',', ' ']).find(|word| !word.is_empty());
        last.unwrap().parse().unwrap()
    }
}

fn parse(text: &str) -> Vec<Call> {
    let mut open = std::collections::HashMap::new();
    let mut calls = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (thread, event) = line.split_once(' ').unwrap();
        let event = event.trim_start();
        if event.starts_with("+++") || event.starts_with("---") {
            continue;
        }
        if let Some(start) = event.strip_suffix(" <unfinished ...>") {
            open.insert(thread, (number, start.to_owned()));
            continue;
        }
        let (begun, whole) = match event.strip_prefix("<... ") {
            None => (number, event.to_owned()),
            Some(resumed) => {
                let (begun, start) = open.remove(thread).unwrap();
                (begun, start + resumed.split_once(" resumed>").unwrap().1)
            }
        };
        calls.extend(call(begun, number, &whole));
    }
    calls
}

/// `None` for a call that failed, or never returned.
fn call(begun: usize, ended: usize, text: &str) -> Option<Call> {
    let (name, text) = text.split_once('(').unwrap();
    let (arguments, result) = text.rsplit_once(") = ").or_else(|| {
        // strace aligns short ones.
        let (arguments, result) = text.rsplit_once("= ")?;
        Some((arguments.trim_end().strip_suffix(')')?, result))
    })?;
    let result = result.split(['<', ' ']).next().unwrap().parse().ok()?;
    let (strings, rest) = strings(arguments);
    (result >= 0).then(|| Call {
        begun,
        ended,
        name: name.to_owned(),
        target: target(arguments),
        strings,
        rest: rest.to_owned(),
        result,
    })
}

/// What stands in angle brackets behind the first argument, if that is a descriptor.
fn target(arguments: &str) -> String {
    let first = arguments
        .split_once('<')
        .filter(|(number, _)| number.parse::<u32>().is_ok());
    let Some((_, rest)) = first else {
        return String::new();
    };
    match rest.starts_with('\\') {
        // Devices and files that have been removed have a note behind the path; nobody looks at them.
        true => {
            let (path, note) = rest.split_at(rest.find(['<', '>', '(']).unwrap());
            let note = if note.starts_with('>') { "" } else { " (gone)" };
            String::from_utf8(octets(path)).unwrap() + note
        }
        // An arrow stands between the two ends of a socket.
        false => rest.split("]>").next().unwrap().to_owned(),
    }
}

fn strings(arguments: &str) -> (Vec<Vec<u8>>, &str) {
    let mut parts: Vec<&str> = arguments.split('"').collect();
    let rest = parts.pop().unwrap();
    let quoted = parts.iter().skip(1).step_by(2);
    (quoted.map(|quoted| octets(quoted)).collect(), rest)
}

/// Reads `\x41\x42`.
fn octets(text: &str) -> Vec<u8> {
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => octet - b'0',
        b'a'..=b'f' => octet - b'a' + 10,
        other => panic!("{other} is no digit"),
    };
    let codes = text.as_bytes().chunks_exact(4);
    assert!(codes.remainder().is_empty(), "{text}");
    codes.map(|code| digit(code[2]) << 4 | digit(code[3])).collect()
}
