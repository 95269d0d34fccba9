//! A disk that is nearly full: mail is refused for now, what is here goes on, and all is well again by itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dimed::config::Config;

use crate::support::child::{Launch, Process};
use crate::support::eventually;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::watcher::until_reasons;
use crate::support::world::World;

const MIB: usize = 1024 * 1024;
const SIZE_MIB: usize = 64;
const FLOOR_MIB: u64 = 24;

/// Makes the folder a small file system of its own for the program, which needs no rights for that in a name space of its own.
/// What is in the folder is copied into it.
fn small_disk(folder: &Path) -> Launch {
    let script = "cp -a \"$1\" \"$1.copy\" && mount -t tmpfs -o size=64m,nr_inodes=2000 tmpfs \"$1\" && \
        cp -a \"$1.copy/.\" \"$1\" && shift && exec \"$@\"";
    let mut before: Vec<OsString> = ["unshare", "-rm", "sh", "-c", script, "sh"]
        .map(OsString::from)
        .into();
    before.push(folder.into());
    Launch {
        before,
        ..Launch::default()
    }
}

/// The file system as the process sees it.
fn inside(process: &Process, folder: &Path) -> PathBuf {
    let root = format!("/proc/{}/root", process.id());
    Path::new(&root).join(folder.strip_prefix("/").unwrap())
}

async fn hismail(world: &World) -> Organization {
    let mail = world.home().join("mail/{domain}/{local}");
    let config = move |config: &mut Config| {
        config.storage.min_free_mib = FLOOR_MIB;
        config.storage.min_free_inodes = 500;
        config.delivery.maildir = mail.to_str().unwrap().parse().unwrap();
    };
    let builder = world.organization("hismail.test").accounts(&["alice", "bob"]);
    builder.config(config).build().await
}

async fn mail_is_answered(hismail: &Organization, start: &str) {
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.ask("MAIL FROM:<alice@plain.test>", start).await;
}

/// DESIGN.md §7: RFC 5321 §4.2.3 has 452, RFC 3463 §3.4 4.3.1.
#[tokio::test(flavor = "multi_thread")]
async fn mail_is_refused_below_the_floor_and_what_is_here_is_delivered() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let data = hismail.folder.join("data");
    hismail.block_mailbox("bob");
    let process = hismail.spawn_with(&small_disk(&data)).await;
    let mut talk = Talk::smtp(hismail.ip).await;
    let reply = talk
        .transfer(
            "alice@plain.test",
            &["bob@hismail.test"],
            "From: alice@plain.test\r\n\r\nwaits\r\n",
        )
        .await;
    assert!(reply.starts_with("250"), "{reply}");

    let disk = inside(&process, &data);
    let filler = disk.join("filler");
    std::fs::write(&filler, vec![0; (SIZE_MIB - FLOOR_MIB as usize) * MIB]).unwrap();
    talk.ask("MAIL FROM:<alice@plain.test>", "452 4.3.1").await;
    let mut dmtp = Talk::dmtp(hismail.ip, "plain.test").await;
    dmtp.ask("MAIL FROM: <plain.test> [fingerprint] SIZE=1000", "452")
        .await;
    eventually("the log", || {
        process.log().contains("\"space.short\"").then_some(())
    })
    .await;

    until_reasons(hismail.ip, &["space_short"]).await;

    // Delivery goes on.
    let maildir = hismail.maildir("bob");
    std::fs::remove_file(&maildir.0).unwrap();
    assert!(maildir.only().await.ends_with("\r\n\r\nwaits\r\n"));

    std::fs::remove_file(&filler).unwrap();
    until_reasons(hismail.ip, &[]).await;
    mail_is_answered(&hismail, "250").await;
    eventually("the log", || {
        process.log().contains("\"space.enough\"").then_some(())
    })
    .await;

    // Files that can be made count, too.
    let many = disk.join("many");
    std::fs::create_dir(&many).unwrap();
    for number in 0..1600 {
        std::fs::write(many.join(number.to_string()), "").unwrap();
    }
    mail_is_answered(&hismail, "452 4.3.1").await;
    std::fs::remove_dir_all(&many).unwrap();
    mail_is_answered(&hismail, "250").await;
}

/// The floor was too low, or somebody else was quicker: what does not fit is refused for now, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_to_the_last_octet_refuses_for_now_and_loses_nothing() {
    let world = World::new().await;
    let mail = world.home().join("mail/{domain}/{local}");
    let builder = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = builder
        .config(move |config| config.delivery.maildir = mail.to_str().unwrap().parse().unwrap())
        .build()
        .await;
    let data = hismail.folder.join("data");
    let process = hismail.spawn_with(&small_disk(&data)).await;
    let filler = inside(&process, &data).join("filler");
    // Until nothing more fits.
    let _ = std::fs::write(&filler, vec![0; SIZE_MIB * MIB]);
    let message = format!(
        "From: alice@plain.test\r\n\r\n{}",
        "0123456789\r\n".repeat(100_000)
    );
    let mut talk = Talk::smtp(hismail.ip).await;
    let reply = talk
        .transfer("alice@plain.test", &["bob@hismail.test"], &message)
        .await;
    assert!(reply.starts_with("45"), "{reply}");
    std::fs::remove_file(&filler).unwrap();
    let reply = talk
        .transfer("alice@plain.test", &["bob@hismail.test"], &message)
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    let delivered = hismail.maildir("bob").only().await;
    assert!(delivered.ends_with("0123456789\r\n"));
}
