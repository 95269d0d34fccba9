//! Passwords that Dovecot checks: the client's side of its authentication protocol, version 1.
//!
//! Lines of fields separated by tabs go over a Unix socket. Each side says which version it speaks; the server lists its
//! mechanisms up to `DONE`. Then one request is made:
//!
//! | Line | Meaning |
//! |---|---|
//! | `AUTH id PLAIN service=smtp secured nologin resp=base64` | from us: authorization identity (empty), NUL, name, NUL, password |
//! | `OK id user=name …` | the password is right |
//! | `FAIL id user=name …` | it is not; with `temp`, Dovecot could not find out |
//! | `CONT id …` | another question, which PLAIN does not have |
//!
//! Whatever is unexpected, and whatever takes too long, is a failure of the service and never a login. Each login has a
//! connection of its own, so that none waits for another. Source:
//! <https://doc.dovecot.org/2.3/developer_manual/design/auth_protocol/>.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::Error;
use crate::base::encoding::base64;
use crate::base::secret::Secret;
use crate::mail::address::Mailbox;
use crate::store::fold;

/// All of one login: Dovecot lets refusals wait, for some seconds where many were refused.
const DEADLINE: Duration = Duration::from_secs(60);

/// Octets that Dovecot may say for one login, at most.
const MOST_OCTETS: u64 = 64 << 10;

/// Octets of a password that are sent on; longer ones are nobody's.
const LONGEST_PASSWORD: usize = 1024;

/// Logins that Dovecot is asked about at the same time; more wait.
const CONCURRENT: usize = 100;

const MECHANISM: &str = "PLAIN";

/// What Dovecot says.
type Lines = BufReader<Take<OwnedReadHalf>>;

/// Dovecot, at its socket for authentication clients.
#[derive(Debug, Clone)]
pub struct Dovecot {
    socket: PathBuf,
    permits: Arc<Semaphore>,
}

impl Dovecot {
    /// The Dovecot that listens at that Unix socket.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            permits: Arc::new(Semaphore::new(CONCURRENT)),
        }
    }

    /// Whether the password is that of the user whom Dovecot knows by that whole address.
    ///
    /// Errors: [`Error::Unavailable`] if Dovecot cannot be asked or does not know.
    pub async fn verify(&self, address: &Mailbox, password: &Secret<String>) -> Result<bool, Error> {
        if password.expose().contains('\0') || password.expose().len() > LONGEST_PASSWORD {
            return Ok(false);
        }
        let asked = timeout(DEADLINE, self.ask(address, password)).await;
        asked.unwrap_or(Err(Error::Unavailable("Dovecot takes too long")))
    }

    /// Whether Dovecot is there and takes passwords. Errors: [`Error::Unavailable`].
    pub async fn probe(&self) -> Result<(), Error> {
        let connected = timeout(DEADLINE, self.connect()).await;
        connected
            .unwrap_or(Err(Error::Unavailable("Dovecot takes too long")))
            .map(drop)
    }

    /// A connection on which Dovecot has introduced itself.
    async fn connect(&self) -> Result<(Lines, OwnedWriteHalf), Error> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|_| Error::Unavailable("Dovecot's socket cannot be opened"))?;
        let (reading, writing) = stream.into_split();
        let mut lines = BufReader::new(reading.take(MOST_OCTETS));
        greet(&mut lines).await?;
        Ok((lines, writing))
    }

    async fn ask(&self, address: &Mailbox, password: &Secret<String>) -> Result<bool, Error> {
        let _permit = self.permits.acquire().await.map_err(|_| broken())?;
        let (mut lines, mut writing) = self.connect().await?;
        let request = request(address, password);
        writing
            .write_all(request.as_bytes())
            .await
            .map_err(|_| broken())?;
        let verdict = line(&mut lines).await?;
        judge(&verdict, address)
    }
}

/// Reads what Dovecot says first: it must speak our version and have our mechanism.
async fn greet(lines: &mut Lines) -> Result<(), Error> {
    let (mut speaks, mut has_mechanism) = (false, false);
    loop {
        let line = line(lines).await?;
        let mut fields = line.split('\t');
        match (fields.next(), fields.next()) {
            (Some("VERSION"), Some(major)) => speaks = major == "1",
            (Some("MECH"), Some(name)) => has_mechanism |= name == MECHANISM,
            (Some("DONE"), _) => break,
            _ => {}
        }
    }
    match (speaks, has_mechanism) {
        (true, true) => Ok(()),
        (false, _) => Err(Error::Unavailable("Dovecot speaks another protocol")),
        (_, false) => Err(Error::Unavailable(
            "Dovecot does not take passwords (auth_mechanisms = plain)",
        )),
    }
}

/// Our version and process, and the one request.
fn request(address: &Mailbox, password: &Secret<String>) -> Zeroizing<String> {
    let response = Zeroizing::new(format!("\0{}\0{}", fold(address), password.expose()));
    let response = Zeroizing::new(base64(response.as_bytes()));
    let process = std::process::id();
    Zeroizing::new(format!(
        "VERSION\t1\t1\nCPID\t{process}\nAUTH\t1\t{MECHANISM}\tservice=smtp\tsecured\tnologin\tresp={}\n",
        response.as_str()
    ))
}

/// What the answer to our one request says.
fn judge(line: &str, address: &Mailbox) -> Result<bool, Error> {
    let mut fields = line.split('\t');
    let (kind, id) = (fields.next(), fields.next());
    match (kind, id) {
        (Some("FAIL"), Some("1")) => match fields.any(|field| field == "temp") {
            true => Err(Error::Unavailable("Dovecot could not check the password")),
            false => Ok(false),
        },
        // Somebody else than whom we asked about, or a name that could be of another domain, too.
        (Some("OK"), Some("1")) => {
            let user = fields.find_map(|field| field.strip_prefix("user="));
            let user = user.and_then(|user| Mailbox::parse(user).ok());
            match user {
                Some(user) if fold(&user) == fold(address) => Ok(true),
                _ => Err(Error::Unavailable(
                    "Dovecot names the user otherwise: its names must be whole addresses (auth_username_format = %Lu)",
                )),
            }
        }
        _ => Err(broken()),
    }
}

async fn line(lines: &mut Lines) -> Result<String, Error> {
    let mut line = String::new();
    lines.read_line(&mut line).await.map_err(|_| broken())?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err(broken()),
    }
}

fn broken() -> Error {
    Error::Unavailable("Dovecot's answer broke off")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::net::UnixListener;

    use super::*;

    const GREETING: &str = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t7\nCUID\t1\nCOOKIE\tc\nDONE\n";

    /// What comes of asking about a right password a Dovecot that says that.
    async fn asked(greeting: &str, answer: &str) -> String {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("auth");
        let listener = UnixListener::bind(&path).unwrap();
        let (greeting, answer) = (greeting.to_owned(), answer.to_owned());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(greeting.as_bytes()).await.unwrap();
            let mut request = vec![0; 1024];
            let count = stream.read(&mut request).await.unwrap_or(0);
            // The client may have had enough.
            let _ = stream.write_all(answer.as_bytes()).await;
            String::from_utf8(request[..count].to_vec()).unwrap()
        });
        let address = "Bob@hismail.test".parse().unwrap();
        let password = Secret::new("correct horse".to_owned());
        let verdict = Dovecot::new(path).verify(&address, &password).await;
        let request = server.await.unwrap();
        if !request.is_empty() {
            let response = base64(b"\0bob@hismail.test\0correct horse");
            assert!(request.ends_with(&format!("\tresp={response}\n")), "{request}");
        }
        match verdict {
            Ok(right) => right.to_string(),
            Err(Error::Unavailable(text)) => text.to_owned(),
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn only_a_plain_yes_about_the_one_asked_for_is_a_yes() {
        assert_eq!(
            asked(GREETING, "OK\t1\tuser=bob@hismail.test\tnologin\n").await,
            "true"
        );
        assert_eq!(asked(GREETING, "FAIL\t1\tuser=bob@hismail.test\n").await, "false");
        for (answer, told) in [
            ("OK\t1\tuser=eve@hismail.test\n", "whole addresses"),
            ("OK\t1\tuser=bob\n", "whole addresses"),
            ("OK\t1\n", "whole addresses"),
            ("OK\t2\tuser=bob@hismail.test\n", "broke off"),
            ("OK\t1\tuser=bob@hismail.test", "broke off"),
            ("FAIL\t1\tuser=bob@hismail.test\ttemp\n", "could not check"),
            ("CONT\t1\t\n", "broke off"),
            ("", "broke off"),
        ] {
            let said = asked(GREETING, answer).await;
            assert!(said.contains(told), "{answer:?}: {said}");
        }
    }

    #[tokio::test]
    async fn another_protocol_is_not_guessed_at() {
        let yes = "OK\t1\tuser=bob@hismail.test\n";
        for (greeting, told) in [
            (GREETING.replace("VERSION\t1", "VERSION\t2"), "another protocol"),
            (GREETING.replace("VERSION", "VERSIO"), "another protocol"),
            (
                GREETING.replace("MECH\tPLAIN", "MECH\tLOGIN"),
                "does not take passwords",
            ),
            ("x".repeat(70_000), "broke off"),
            ("SPID\t1\n".repeat(10_000), "broke off"),
        ] {
            let said = asked(&greeting, yes).await;
            assert!(said.contains(told), "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dovecot_that_says_nothing_is_not_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("auth");
        let _listener = UnixListener::bind(&path).unwrap();
        let address = "bob@hismail.test".parse().unwrap();
        let password = Secret::new("correct horse".to_owned());
        let verdict = Dovecot::new(path.clone()).verify(&address, &password).await;
        assert!(matches!(
            verdict,
            Err(Error::Unavailable("Dovecot takes too long"))
        ));
        let gone = Dovecot::new(home.path().join("none"))
            .verify(&address, &password)
            .await;
        assert!(matches!(gone, Err(Error::Unavailable(text)) if text.contains("cannot be opened")));
    }
}
