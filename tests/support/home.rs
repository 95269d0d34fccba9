//! The machine of a user who keeps the private keys there, and runs the tools.

use serde_json::Value;
use tokio::task::block_in_place;

use super::loopback::SUBMISSION;
use super::organization::{Organization, PASSWORD};
use super::talk::Talk;
use super::tool::Desk;

/// Files with the user's keys, the signets of others, and the login password.
pub struct Home {
    /// Where the files are.
    pub desk: Desk,
    /// The user.
    pub address: String,
    server: String,
}

impl Home {
    /// Makes keys, and an account for them with [`PASSWORD`]. The signet has a key set.
    pub async fn join(organization: &Organization, local: &str, trust: &str) -> Self {
        let home = Self::join_without_key_set(organization, local, trust).await;
        home.publish_key_set(organization).await;
        home
    }

    /// The same, and nobody has signed a key set.
    pub async fn join_without_key_set(organization: &Organization, local: &str, trust: &str) -> Self {
        Self::add(organization, local, trust, true).await
    }

    /// The same, and nobody has handed in a request: there is no signet.
    pub async fn without_signet(organization: &Organization, local: &str, trust: &str) -> Self {
        Self::add(organization, local, trust, false).await
    }

    async fn add(organization: &Organization, local: &str, trust: &str, asks: bool) -> Self {
        let desk = Desk::new();
        let address = organization.address(local);
        block_in_place(|| {
            desk.done(&format!(
                "signet new-request {address} --key my.key --kem my.kem --request my.ssr --key-set my.keyset"
            ))
        });
        desk.write("login.txt", PASSWORD);
        let certificate = organization.folder.join("data/tls/certificate.pem");
        std::fs::copy(certificate, desk.path("ca.pem")).unwrap();
        let (request, password) = (desk.path("my.ssr"), desk.path("login.txt"));
        let (request, password) = (request.to_str().unwrap(), password.to_str().unwrap());
        let mut add = vec![
            "account",
            "add",
            &address,
            "--trust",
            trust,
            "--password-file",
            password,
        ];
        if asks {
            add.extend(["--request", request]);
        }
        organization.cli(&add).await;
        let server = format!(
            "--submit mx.{}:{SUBMISSION} --address {} --ca-file ca.pem --password-file login.txt",
            organization.name, organization.ip
        );
        Self {
            desk,
            address,
            server,
        }
    }

    /// Hands the key set in to be published.
    pub async fn publish_key_set(&self, organization: &Organization) {
        let file = self.desk.path("my.keyset");
        let arguments = ["key", "set", "import", &self.address, file.to_str().unwrap()];
        organization.cli(&arguments).await;
    }

    /// Asks the domain's own host for a signet, and keeps it under the name.
    pub async fn fetch(&self, from: &Organization, name: &str) {
        let mut talk = Talk::dmtp(from.ip, "home.test").await;
        let reply = talk.ask(&format!("SGNT <{name}>"), "250 OK [").await;
        self.desk.write(name, &reply["250 OK ".len()..]);
    }

    /// Fetches all signets that sealing needs.
    pub async fn fetch_all(&self, own: &Organization, theirs: &Organization, recipient: &str) {
        self.fetch(own, own.name.as_str()).await;
        self.fetch(own, &self.address).await;
        self.fetch(theirs, theirs.name.as_str()).await;
        self.fetch(theirs, recipient).await;
    }

    /// Seals a letter with the signets fetched, into a file of that name.
    pub fn seal(&self, recipient: &str, letter: &str, options: &str, out: &str) -> Value {
        let domain = |address: &str| address.split_once('@').unwrap().1.to_owned();
        let (from, origin, destination) = (&self.address, domain(&self.address), domain(recipient));
        self.desk.write("letter.eml", letter);
        block_in_place(|| {
            self.desk.json(
                0,
                &format!(
                    "message seal {options} --from {from} --to {recipient} --author-key my.key --author-key my.kem \
                     --author-signet {from} --origin-signet {origin} --destination-signet {destination} \
                     --recipient-signet {recipient} letter.eml --force --out {out}"
                ),
            )
        })
    }

    /// Runs a command that logs in; what it says for programs.
    pub fn online(&self, code: i32, command: &str) -> Value {
        self.hand_in(code, &format!("{command} --user {}", self.address))
    }

    /// The same of a command that names the user itself.
    pub fn hand_in(&self, code: i32, command: &str) -> Value {
        let line = format!("{command} {}", self.server);
        block_in_place(|| self.desk.json(code, &line))
    }

    /// Submits a file for a domain.
    pub fn send(&self, code: i32, file: &str, destination: &str) -> Value {
        self.online(
            code,
            &format!("message send --sealed {file} --destination {destination}"),
        )
    }

    /// Runs a line of a shell that calls the tool.
    pub fn shell(&self, line: &str) -> std::process::Output {
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_dimed"))
            .parent()
            .unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let mut shell = std::process::Command::new("sh");
        shell.args(["-e", "-c", line]).current_dir(self.desk.0.path());
        shell
            .env("PATH", path)
            .env("DIMED_CONFIG", "/nonexistent/dimed.toml");
        block_in_place(|| shell.output().unwrap())
    }

    /// What is in a file.
    pub fn octets(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.desk.path(name)).unwrap()
    }
}
