//! What tests of sealed mail start from: two organizations and a letter from one to the other.

use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::tool::Desk;
use crate::support::world::World;

/// Text, HTML and an attachment, under a subject outside ASCII.
pub const LETTER: &str = "Date: Tue, 3 Jun 2025 10:00:00 +0200\r\n\
    From: Alice <alice@hermail.test>\r\n\
    To: Bob <bob@hismail.test>\r\n\
    Subject: =?UTF-8?B?R3LDvMOfZSBhdXMgS8O2bG4=?=\r\n\
    Message-ID: <letter-1@hermail.test>\r\n\
    MIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=\"outer\"\r\n\
    \r\n\
    --outer\r\n\
    Content-Type: multipart/alternative; boundary=\"inner\"\r\n\
    \r\n\
    --inner\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Transfer-Encoding: 8bit\r\n\
    \r\n\
    Grüße, with\r\n\
    .a dot and trailing blanks  \r\n\
    --inner\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Transfer-Encoding: 8bit\r\n\
    \r\n\
    <p>Grüße</p>\r\n\
    --inner--\r\n\
    --outer\r\n\
    Content-Type: application/octet-stream\r\n\
    Content-Disposition: attachment; filename=\"numbers.bin\"\r\n\
    Content-Transfer-Encoding: base64\r\n\
    \r\n\
    AAECAwQFBgcICQoLDA0ODw==\r\n\
    --outer--\r\n";

/// The tools' arguments for the files of [`hand_out_signets`].
pub const SIGNETS: &str = "--author-signet author.signet --origin-signet origin.signet \
    --destination-signet destination.signet --recipient-signet recipient.signet";

/// The author's organization.
pub async fn hermail(world: &World) -> Organization {
    let builder = world.organization("hermail.test");
    builder.accounts(&["alice", "eve"]).build().await
}

/// The recipient's organization.
pub async fn hismail(world: &World) -> Organization {
    let builder = world.organization("hismail.test");
    builder.accounts(&["bob"]).build().await
}

/// [`LETTER`] in the name of another user of hermail.test.
pub fn letter_of(author: &str) -> String {
    LETTER.replace("Alice <alice@", &format!("{author} <{author}@"))
}

/// Fields of the author's header must come out as they went in, and so must the body.
pub fn assert_same_letter(delivered: &str, sent: &str) {
    let (header, body) = split(delivered);
    for field in split(sent).0.split("\r\n") {
        assert!(
            format!("\r\n{header}\r\n").contains(&format!("\r\n{field}\r\n")),
            "{field} is not in {header}"
        );
    }
    assert_eq!(body, split(sent).1);
}

/// Whether the octets show any of that.
pub fn shows(octets: &[u8], hidden: &[&str]) -> Option<String> {
    let found = |text: &&&str| octets.windows(text.len()).any(|at| at == text.as_bytes());
    hidden.iter().find(found).map(|text| (*text).to_owned())
}

/// Puts the current signets of both parties of a message, and of their organizations, on a desk.
pub async fn hand_out_signets(desk: &Desk, from: (&Organization, &str), to: (&Organization, &str)) {
    for ((organization, local), [domain, user]) in [
        (from, ["origin.signet", "author.signet"]),
        (to, ["destination.signet", "recipient.signet"]),
    ] {
        let store = organization.services().await.store;
        for (name, file) in [
            (organization.name.to_string(), domain),
            (organization.address(local), user),
        ] {
            let signet = store.current_signet(&name).await.unwrap().unwrap();
            desk.write(file, &signet.object);
        }
    }
}
