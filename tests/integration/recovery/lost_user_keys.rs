//! Users who have lost their keys: kept here, at home, or in both places.

use tokio::task::block_in_place;

use crate::support::eventually;
use crate::support::home::Home;
use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::tool::Desk;
use crate::support::world::World;

use super::{Drill, RECOVERY, alerts, hermail, hismail, waiting, write};

/// The arguments of the tool in a command of the guide, without where the server is, which a home knows.
fn at_home(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    let place = words.iter().position(|word| *word == "--submit");
    words[..place.unwrap_or(words.len())].join(" ")
}

/// The files of keys that the tools make for Pat, and those of [`Home`].
const MADE: &str = "--key pat-hismail.test.key --key pat-hismail.test.kem";
const FIRST: &str = "--key my.key --key my.kem";

const SIGNETS: [&str; 4] = [
    "hermail.test",
    "alice@hermail.test",
    "hismail.test",
    "pat@hismail.test",
];

async fn fetch_signets(pat: &Home, hermail: &Organization, hismail: &Organization) {
    for (place, name) in SIGNETS.iter().enumerate() {
        let from = if place < 2 { hermail } else { hismail };
        pat.fetch(from, name).await;
    }
}

/// Whether Pat can open a mail of Alice's with the signets fetched and those keys.
fn opens(pat: &Home, mail: &str, keys: &str) -> bool {
    pat.desk.write("mail.eml", mail);
    let [origin, author, destination, recipient] = SIGNETS;
    let open = format!(
        "message open --as recipient {keys} --from {author} --to {recipient} --author-signet {author} --origin-signet {origin} \
         --destination-signet {destination} --recipient-signet {recipient} mail.eml --out opened.eml --force"
    );
    let output = block_in_place(|| pat.desk.dimed(&open).output().unwrap());
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_keys_were_kept_here_gets_new_ones_and_others_ask_first() {
    let world = World::new().await;
    let (hermail, hismail) = (hermail(&world).await, hismail(&world, &["bob"]).await);
    let (here, there) = (hermail.spawn().await, hismail.spawn().await);
    write(&hermail, "alice", "bob@hismail.test", 1).await;
    hismail.maildir("bob").expect(1).await;
    for sql in [
        "UPDATE signets SET private_keys = NULL WHERE name = 'bob@hismail.test'",
        "DELETE FROM kem_keys WHERE name = 'bob@hismail.test'",
    ] {
        hismail.change_database(sql).await;
    }
    let mut drill = Drill::of(RECOVERY, "A user's keys were kept here", &world);
    let said = drill.done(&hismail, "dimed signet revoke bob@example.org");
    assert!(said.contains("signets taken out of service: 1"), "{said}");
    drill.done(&hismail, "dimed signet publish bob@example.org");
    forget_signets(&hermail).await;
    write(&hermail, "alice", "bob@hismail.test", 2).await;
    eventually("the alert", || (!alerts(&here).is_empty()).then_some(())).await;
    waiting(&hermail, 1).await;
    assert_eq!(hismail.maildir("bob").count(), 1);
    drill.done(&hermail, "dimed key set accept bob@example.org");
    drill.end();
    let mail = hismail.maildir("bob").expect(2).await;
    // What was delivered before is as it was.
    for text in ["letter 1\r\n", "letter 2\r\n"] {
        assert!(mail.iter().any(|mail| split(mail).1 == text), "{mail:?}");
    }
    drop(there);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_kept_the_keys_alone_begins_anew_and_cannot_open_what_came_before() {
    let world = World::new().await;
    let (hermail, hismail) = (hermail(&world).await, hismail(&world, &[]).await);
    let mut pat = Home::join(&hismail, "pat", "paranoid").await;
    let (here, there) = (hermail.spawn().await, hismail.spawn().await);
    write(&hermail, "alice", "pat@hismail.test", 1).await;
    let first = hismail.maildir("pat").only().await;
    fetch_signets(&pat, &hermail, &hismail).await;
    assert!(opens(&pat, &first, FIRST));

    // Another machine, with all that was on the first but the keys.
    let kept = ["login.txt", "ca.pem"].iter().chain(&SIGNETS);
    let kept: Vec<_> = kept.map(|name| (*name, pat.octets(name))).collect();
    pat.desk = Desk::new();
    for (name, octets) in kept {
        pat.desk.write(name, octets);
    }
    let mut drill = Drill::of(RECOVERY, "A user kept the keys alone", &world);
    let line = drill.take(&hismail, "dimed signet new-request pat@example.org");
    block_in_place(|| pat.desk.done(&at_home(&line)));
    let early = pat
        .hand_in(1, "signet request pat@hismail.test pat-hismail.test.ssr")
        .to_string();
    assert!(early.contains("the predecessor did not sign"), "{early}");
    drill.done(&hismail, "dimed signet revoke pat@example.org");
    let line = drill.take(
        &hismail,
        "dimed signet request pat@example.org pat-example.org.ssr",
    );
    let asked = pat.hand_in(0, &at_home(&line));
    let print = asked["request"].as_str().unwrap().to_owned();
    let mut drill = drill.meaning("FINGERPRINT", &print);
    drill.done(
        &hismail,
        "dimed signet approve pat@example.org --request FINGERPRINT",
    );

    forget_signets(&hermail).await;
    write(&hermail, "alice", "pat@hismail.test", 2).await;
    eventually("the alert", || (!alerts(&here).is_empty()).then_some(())).await;
    waiting(&hermail, 1).await;
    drill.done(&hermail, "dimed key set accept pat@example.org");
    drill.end();
    let mail = hismail.maildir("pat").expect(2).await;
    let second = mail.iter().find(|mail| **mail != first).unwrap();
    assert!(!opens(&pat, &first, MADE), "nobody can open it any more");
    fetch_signets(&pat, &hermail, &hismail).await;
    assert!(opens(&pat, second, MADE));
    drop(there);
}

/// Makes the sender ask again at once, as it would after a few minutes.
async fn forget_signets(organization: &Organization) {
    let store = organization.services().await.store;
    for name in ["hismail.test", "bob@hismail.test", "pat@hismail.test"] {
        store.forget_remote_signets(name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cautious_user_gets_the_keys_back_with_the_passphrase_and_nobody_notices() {
    let world = World::new().await;
    let (hermail, hismail) = (hermail(&world).await, hismail(&world, &[]).await);
    let pat = Home::join(&hismail, "pat", "cautious").await;
    let (here, there) = (hermail.spawn().await, hismail.spawn().await);
    write(&hermail, "alice", "pat@hismail.test", 1).await;
    let first = hismail.maildir("pat").only().await;
    pat.desk.write("passphrase", "osmium passphrase");
    pat.online(
        0,
        "key upload my.key my.kem --passphrase-file passphrase --memory-kib 64 --passes 1",
    );
    for name in ["my.key", "my.kem"] {
        std::fs::remove_file(pat.desk.path(name)).unwrap();
    }

    let mut drill = Drill::of(RECOVERY, "A cautious user has left a copy here", &world);
    let line = drill.take(&hismail, "dimed key download --out pat.wrapped");
    pat.online(0, &at_home(&line));
    let line = drill.take(&hismail, "dimed key unwrap pat.wrapped --out pat.keys");
    block_in_place(|| {
        pat.desk
            .done(&format!("{} --passphrase-file passphrase", at_home(&line)))
    });
    drill.end();
    fetch_signets(&pat, &hermail, &hismail).await;
    assert!(opens(&pat, &first, "--key pat.keys"));
    write(&hermail, "alice", "pat@hismail.test", 2).await;
    hismail.maildir("pat").expect(2).await;
    assert_eq!(alerts(&here), [""; 0]);
    drop(there);
}
