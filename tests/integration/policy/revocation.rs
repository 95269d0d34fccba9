//! Certificates that their issuer has revoked, by DMTP and by SMTP.

use crate::support::child::Process;
use crate::support::eventually;

use super::*;

/// A folder of revocation lists.
struct Lists(std::path::PathBuf);

impl Lists {
    fn new(scene: &Scene) -> Self {
        let folder = scene.world.home().join("crl");
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// Puts a list there, and waits until the daemon has read it.
    async fn put(&self, text: &str, daemon: &Process) {
        let read = || daemon.log().matches("\"tls.revocation_lists_read\"").count();
        let before = read();
        std::fs::write(self.0.join("authority.crl"), text).unwrap();
        eventually("the list to be read", || (read() > before).then_some(())).await;
        let log = daemon.log();
        let last = log
            .lines()
            .rfind(|line| line.contains("\"tls.revocation_lists_read\""))
            .unwrap();
        assert!(last.contains("\"count\":1"), "{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_a_delivery_host_whose_certificate_is_revoked_though_the_record_signs_it() {
    let scene = Scene::new().await;
    let lists = Lists::new(&scene);
    let certificate = scene.authority.issue("mx.hismail.test");
    let hismail = scene.world.organization("hismail.test").accounts(&["bob"]);
    let hismail = hismail.policy("mixed").config(|config| {
        let [chain, key] = certificate.files.clone();
        (config.tls.certificate, config.tls.key) = (Some(chain), Some(key));
    });
    let hismail = hismail.build().await;
    let hermail = scene
        .hermail(|config| config.outbound.revocation_lists = Some(lists.0.clone()))
        .await;
    let there = hismail.start().await;
    let here = hermail.spawn().await;
    let letter = || hermail.submit("alice", &["bob@hismail.test"], MESSAGE);
    letter().await;
    hismail.maildir("bob").expect(1).await;

    assert!(here.log().contains("\"count\":0"), "none so far");
    lists.put(&scene.authority.revoking(&[&certificate]), &here).await;
    letter().await;
    is_listed(&hermail, "the certificate has been revoked").await;
    assert_eq!(hismail.maildir("bob").count(), 1);
    lists.put(&scene.authority.revoking(&[]), &here).await;
    hismail.maildir("bob").expect(2).await;
    hermail.idle().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_a_host_of_an_mta_sts_policy_whose_certificate_is_revoked() {
    let plain = sts::Plain::new(&sts::policy("enforce", "mx.plain.test")).await;
    let scene = &plain.scene;
    let lists = Lists::new(scene);
    let certificate = scene.authority.issue("mx.plain.test");
    let sink = plain.sink(Behaviour::with_certificate(&certificate)).await;
    let other = scene.authority.issue("mx.plain.test");
    std::fs::write(
        lists.0.join("authority.crl"),
        scene.authority.revoking(&[&other, &certificate]),
    )
    .unwrap();
    let hermail = scene
        .hermail(|config| config.outbound.revocation_lists = Some(lists.0.clone()))
        .await;
    let here = hermail.spawn().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    waits(&hermail, &sink, "its certificate was revoked").await;
    // A list that cannot be read changes nothing.
    std::fs::write(lists.0.join("broken.crl"), "no list").unwrap();
    eventually("the alert", || {
        here.log()
            .contains("\"tls.revocation_lists_unreadable\"")
            .then_some(())
    })
    .await;
    std::fs::remove_file(lists.0.join("broken.crl")).unwrap();
    assert!(sink.attempts().is_empty());
    lists.put(&scene.authority.revoking(&[&other]), &here).await;
    assert!(only(&sink).await.tls);
    hermail.idle().await;
}
