//! Mail in format 2, and where it goes in format 1 or comes back.

use dimed::dime::dmime2::{Limits, Outline, returned};

use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::world::World;

const LETTER: &str = "Date: Tue, 3 Jun 2025 10:00:00 +0200\r\n\
    From: Alice <alice@hermail.test>\r\n\
    To: Bob <bob@hismail.test>\r\n\
    Subject: planted subject\r\n\
    Message-ID: <letter-1@hermail.test>\r\n\
    MIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Transfer-Encoding: 8bit\r\n\
    \r\n\
    Gr\u{fc}\u{df}e\r\n";

async fn hermail(world: &World) -> Organization {
    let builder = world.organization("hermail.test");
    builder.accounts(&["alice"]).build().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_goes_in_format_2_to_the_best_suite_of_all() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    let delivered = hismail.maildir("bob").only().await;
    let (header, body) = split(&delivered);
    assert_eq!(body, split(LETTER).1);
    assert!(
        header.contains("\r\nDIME-Verification: mx.hismail.test; result=pass; format=2; suite=xwing;\r\n"),
        "{header}"
    );
    assert!(header.contains("\r\n\tfrom=match;\r\n\tcreated="), "{header}");
    let object = there.objects(1).await.remove(0);
    let outline = Outline::read(&object[..], &Limits::default()).unwrap();
    assert!(!outline.is_blank());
    assert!(
        header.contains(&format!("\tid={}", outline.message_id())),
        "{header}"
    );
    for hidden in ["alice", "bob", "planted"] {
        assert!(!object.windows(hidden.len()).any(|at| at == hidden.as_bytes()));
    }
    hermail.idle().await;
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_that_has_opted_out_gets_format_1() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world
        .organization("hismail.test")
        .opted_out()
        .accounts(&["bob"])
        .build()
        .await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    let delivered = hismail.maildir("bob").only().await;
    assert!(delivered.contains("result=pass; format=1; suite=legacy"));
    here.stop().await;
    there.stop().await;
}

/// `dmime2.md` §12: the mailbox cannot be written for so long that the destination gives up.
#[tokio::test(flavor = "multi_thread")]
async fn mail_that_fails_after_the_250_comes_back_to_its_author_as_a_report() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .config(|config| config.queue.lifetime_secs = std::num::NonZeroU64::new(1).unwrap())
        .build()
        .await;
    // A file where the Maildir would be.
    let maildir = hismail.maildir("bob").0;
    std::fs::create_dir_all(maildir.parent().unwrap()).unwrap();
    std::fs::write(&maildir, "").unwrap();
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;

    let report = hermail.maildir("alice").only().await;
    assert!(
        report.contains("Final-Recipient: rfc822; bob@hismail.test\r\n"),
        "{report}"
    );
    assert!(report.contains("Action: failed\r\nStatus: 5."), "{report}");
    assert!(report.contains("Subject: planted subject"), "{report}");
    // It went over DMTP, and nobody on the way could read it.
    let object = here.objects(1).await.remove(0);
    let limits = Limits::default();
    let returned = returned::Returned::decode(object.clone(), &limits).unwrap();
    assert_eq!(returned.scope(), returned::Scope::Headers);
    for hidden in ["alice", "bob", "planted"] {
        assert!(!object.windows(hidden.len()).any(|at| at == hidden.as_bytes()));
    }
    hermail.idle().await;
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}
