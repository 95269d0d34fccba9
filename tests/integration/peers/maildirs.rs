//! Dovecot serves the Maildirs that we deliver into.

use super::dovecot::Dovecot;
use super::imap::Fetched;
use super::{bring, hard_messages, large_message};
use crate::support::maildir::Maildir;
use crate::support::organization::Organization;
use crate::support::world::World;

/// Octets of the large message.
const LARGE: usize = 5 << 20;
const SENDER: &str = "carol@plain.test";

/// An organization that delivers to where Dovecot reads.
async fn hismail(world: &World, dovecot: &Dovecot, accounts: &[&str]) -> Organization {
    let pattern = dovecot.pattern();
    let change = move |config: &mut dimed::config::Config| {
        config.delivery.maildir = pattern.parse().unwrap();
    };
    let builder = world.organization("hismail.test").plain().accounts(accounts);
    builder.config(change).build().await
}

/// The names of the files of a folder of a Maildir.
fn names(maildir: &Maildir, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(maildir.0.join(folder)).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The sizes that names of files tell.
fn sizes(names: &[String]) -> Vec<usize> {
    let size = |name: &String| name.split(",S=").nth(1).unwrap().parse().unwrap();
    names.iter().map(size).collect()
}

fn sorted(mut sizes: Vec<usize>) -> Vec<usize> {
    sizes.sort_unstable();
    sizes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_deliver_is_read_by_imap_octet_for_octet() {
    let world = World::new().await;
    let dovecot = Dovecot::start(&["bob@hismail.test"]).await;
    let hismail = hismail(&world, &dovecot, &["bob"]).await;
    let served = hismail.start().await;
    let mut sent = hard_messages(SENDER).to_vec();
    sent.push(large_message(SENDER, LARGE));
    for octets in &sent {
        bring(hismail.ip, SENDER, "bob@hismail.test", octets).await;
    }
    hismail.idle().await;
    let told = sizes(&names(&dovecot.maildir("bob@hismail.test"), "new"));
    dovecot.take_over();
    let mut imap = dovecot.imap("bob@hismail.test").await;
    let read = imap.read("INBOX").await;
    assert_eq!(read.len(), sent.len());
    for octets in &sent {
        let is_it = |fetched: &&Fetched| fetched.octets.ends_with(octets);
        let fetched = read.iter().find(is_it).expect("every octet as it was sent");
        assert!(fetched.octets.starts_with(b"Return-Path: <carol@plain.test>\r\n"));
        assert_eq!(fetched.size, fetched.octets.len());
        assert_eq!(fetched.flags, "\\Recent");
    }
    assert_eq!(
        sorted(told),
        sorted(read.iter().map(|fetched| fetched.size).collect())
    );
    let log = dovecot.log();
    assert!(!log.contains("Error") && !log.contains("Warning"), "{log}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_comes_while_a_mail_program_works_disturbs_nothing() {
    let world = World::new().await;
    let dovecot = Dovecot::start(&["bob@hismail.test"]).await;
    let hismail = hismail(&world, &dovecot, &["bob"]).await;
    let served = hismail.start().await;
    let maildir = dovecot.maildir("bob@hismail.test");
    let [plain, .., utf8] = hard_messages(SENDER);
    bring(hismail.ip, SENDER, "bob@hismail.test", &plain).await;
    maildir.expect(1).await;
    dovecot.take_over();
    let mut imap = dovecot.imap("bob@hismail.test").await;
    imap.ask("SELECT INBOX").await;
    imap.ask("STORE 1 +FLAGS (\\Seen \\Flagged)").await;
    let kept = names(&maildir, "cur");
    assert!(kept[0].ends_with(":2,FS"), "{kept:?}");

    bring(hismail.ip, SENDER, "bob@hismail.test", &utf8).await;
    maildir.expect(1).await;
    dovecot.take_over();
    let read = imap.read("INBOX").await;
    let flags: Vec<&str> = read.iter().map(|fetched| fetched.flags.as_str()).collect();
    assert_eq!(flags, ["\\Flagged \\Seen", "\\Recent"]);
    assert!(read[1].octets.ends_with(&utf8));
    served.stop().await;
}

/// An account whose name is not ASCII, and one with a name that a folder cannot have.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_any_name_have_maildirs_of_their_own() {
    let world = World::new().await;
    let users = ["jürgen@hismail.test", "a/b@hismail.test"];
    let dovecot = Dovecot::start(&users).await;
    let hismail = hismail(&world, &dovecot, &["jürgen", "a/b"]).await;
    let served = hismail.start().await;
    let [plain, ..] = hard_messages(SENDER);
    for user in users {
        bring(hismail.ip, SENDER, user, &plain).await;
        dovecot.maildir(user).expect(1).await;
    }
    dovecot.take_over();
    for user in users {
        let read = dovecot.imap(user).await.read("INBOX").await;
        assert_eq!(read.len(), 1, "{user}");
        assert!(read[0].octets.ends_with(&plain));
    }
    served.stop().await;
}
