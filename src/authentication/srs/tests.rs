#![allow(clippy::unwrap_used)]

use super::*;
use crate::base::time::ManualClock;
use crate::crypto::at_rest::Key;
use crate::dime::record::SubdomainPolicy;
use crate::store::MasterKey;
use crate::store::sqlite::SqliteStore;

struct Fixture {
    srs: Srs,
    clock: Arc<ManualClock>,
    _home: tempfile::TempDir,
}

fn local_domain(name: &str, policy: Option<Policy>) -> LocalDomain {
    LocalDomain {
        name: name.parse().unwrap(),
        dime: policy.map(|policy| store::DimeSettings {
            policy,
            subdomain_policy: SubdomainPolicy::Strict,
            delivery_hosts: vec!["mx.hermail.test".parse().unwrap()],
            expiry_days: None,
        }),
        created_at: Timestamp(0),
    }
}

/// mx.hermail.test, which serves those domains.
async fn fixture(domains: &[(&str, Option<Policy>)]) -> Fixture {
    let home = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
    let master = MasterKey::new(Key::from_bytes([5; 32]));
    let store = SqliteStore::open(&home.path().join("dimed.db"), master, clock.clone()).await;
    let store = Arc::new(store.unwrap());
    for (name, policy) in domains {
        use crate::store::Domains as _;
        store.add_domain(local_domain(name, *policy)).await.unwrap();
    }
    let settings = Settings {
        rewrites: true,
        domain: None,
        host: "mx.hermail.test".parse().unwrap(),
    };
    Fixture {
        srs: Srs::new(store, clock.clone(), settings),
        clock,
        _home: home,
    }
}

async fn hermail() -> Fixture {
    fixture(&[("hermail.test", None)]).await
}

fn path(text: &str) -> ReversePath {
    ReversePath(Some(text.parse().unwrap()))
}

impl Fixture {
    async fn rewritten(&self, sender: &str) -> Mailbox {
        self.srs.rewrite(&path(sender)).await.unwrap().0.unwrap()
    }

    async fn read(&self, address: &str) -> Read {
        self.srs.read(&address.parse().unwrap()).await.unwrap()
    }
}

fn sender(text: &str) -> Read {
    Read::Sender(text.parse().unwrap())
}

#[tokio::test]
async fn a_rewritten_path_is_read_as_its_sender_in_whatever_case_it_comes_back() {
    let hermail = hermail().await;
    for original in [
        "carol@plain.test",
        "a=b-c+d@plain.test",
        r#""a b"@plain.test"#,
        "x@xn--bcher-kva.test",
    ] {
        let rewritten = hermail.rewritten(original).await;
        assert_eq!(rewritten.domain().as_str(), "hermail.test");
        assert!(rewritten.local().starts_with("SRS0="), "{}", rewritten.local());
        let text = rewritten.to_string();
        assert_eq!(hermail.read(&text).await, sender(original));
        assert_eq!(hermail.read(&text.to_lowercase()).await, sender(original));
        assert_eq!(
            hermail.read(&text.to_uppercase()).await,
            sender(&original.to_uppercase())
        );
    }
    let rewritten = hermail.rewritten("carol@plain.test").await.to_string();
    let day = day_text(1_800_000_000 / 86_400);
    assert!(
        rewritten.ends_with(&format!("={day}=plain.test=carol@hermail.test")),
        "{rewritten}"
    );
    assert_eq!(
        rewritten.len(),
        "SRS0=HHHHHHHH=TT=plain.test=carol@hermail.test".len()
    );
}

#[tokio::test]
async fn what_is_forged_broken_or_for_another_domain_is_refused() {
    let hermail = fixture(&[("hermail.test", None), ("other.test", None)]).await;
    let good = hermail.rewritten("carol@plain.test").await.to_string();
    let (head, rest) = good.split_at(5);
    let other = if rest.starts_with('A') { "B" } else { "A" };
    for bad in [
        format!("{head}{other}{}", &rest[1..]),
        good.replace("=carol", "=karol"),
        good.replace("plain.test", "blain.test"),
        good.replace("@hermail.test", "@other.test"),
        good.replace("SRS0=", "SRS1="),
        "SRS0=@hermail.test".into(),
        "SRS0=AAAA@hermail.test".into(),
        "SRS0==TT=plain.test=carol@hermail.test".into(),
        "SRS1=AAAAAAAA=plain.test@hermail.test".into(),
        "SRS1=AAAAAAAA=plain.test==@hermail.test".into(),
        "SRS0=AAAAAAAA=\u{e9}=plain.test=carol@hermail.test".into(),
        "srs0+aaaaaaaa=aa=plain.test=carol@hermail.test".into(),
    ] {
        assert_eq!(hermail.read(&bad).await, Read::Invalid, "{bad}");
    }
    for ordinary in [
        "alice",
        "SRS",
        "srs0",
        "SRS0carol",
        "SRS2=a=b=c=d",
        "\u{e9}\u{e9}",
    ] {
        let address = format!("{ordinary}@hermail.test");
        assert_eq!(hermail.read(&address).await, Read::Ordinary, "{address}");
    }
}

#[tokio::test]
async fn a_path_counts_for_three_weeks() {
    let hermail = hermail().await;
    let first = hermail.rewritten("carol@plain.test").await.to_string();
    hermail.clock.advance(DAY * 21);
    assert_eq!(hermail.read(&first).await, sender("carol@plain.test"));
    assert_ne!(hermail.rewritten("carol@plain.test").await.to_string(), first);
    hermail.clock.advance(DAY);
    assert_eq!(hermail.read(&first).await, Read::Invalid);
    // The digits of its day come again, and its hash does not.
    hermail.clock.advance(DAY * 1002);
    assert_eq!(hermail.read(&first).await, Read::Invalid);
}

#[tokio::test]
async fn what_others_have_rewritten_leads_back_to_the_first_of_them() {
    let hermail = hermail().await;
    let once = hermail
        .rewritten("SRS0=Hhhh=TT=plain.test=carol@first.test")
        .await;
    let expected = "=first.test==Hhhh=TT=plain.test=carol@hermail.test";
    assert!(
        once.local().starts_with("SRS1=") && once.to_string().ends_with(expected),
        "{}",
        once.local()
    );
    let first = sender("SRS0=Hhhh=TT=plain.test=carol@first.test");
    assert_eq!(hermail.read(&once.to_string()).await, first);
    let again = hermail
        .rewritten("SRS1=KKKK=first.test==Hhhh=TT=plain.test=carol@second.test")
        .await;
    assert_eq!(again, once, "the second one is left out");
    let plus = hermail
        .rewritten("SRS0+Hhhh=TT=plain.test=carol@first.test")
        .await;
    assert_eq!(
        hermail.read(&plus.to_string()).await,
        sender("SRS0+Hhhh=TT=plain.test=carol@first.test")
    );
    hermail.clock.advance(DAY * 22);
    assert_eq!(hermail.read(&once.to_string()).await, Read::Invalid);
}

#[tokio::test]
async fn paths_that_would_be_too_long_are_kept_and_forgotten_in_time() {
    let hermail = hermail().await;
    let long = format!("{}@plain.test", "b".repeat(64));
    let wrapped = format!("SRS0=HHHH=TT=plain.test={}@first.test", "c".repeat(35));
    for original in [&long, &wrapped, &"carol@stored".to_owned()] {
        let rewritten = hermail.rewritten(original).await.to_string();
        assert!(rewritten.contains("=stored="), "{rewritten}");
        assert_eq!(hermail.rewritten(original).await.to_string(), rewritten);
        assert_eq!(hermail.read(&rewritten.to_lowercase()).await, sender(original));
    }
    let rewritten = hermail.rewritten(&long).await.to_string();
    hermail.clock.advance(DAY * 23);
    let _ = hermail.rewritten(&wrapped).await;
    assert_eq!(hermail.read(&rewritten).await, Read::Invalid);
    assert_eq!(
        hermail.read("SRS0=AAAAAAAA=AA=stored=AAAA@hermail.test").await,
        Read::Invalid
    );
}

#[tokio::test]
async fn nobody_ours_and_off_stay_as_they_are() {
    let mut hermail = hermail().await;
    for same in [ReversePath::NULL, path("alice@hermail.test")] {
        assert_eq!(hermail.srs.rewrite(&same).await.unwrap(), same);
    }
    let made = hermail.rewritten("carol@plain.test").await.to_string();
    hermail.srs.settings.rewrites = false;
    let carol = path("carol@plain.test");
    assert_eq!(hermail.srs.rewrite(&carol).await.unwrap(), carol);
    // What was made before still comes back; what never was may be somebody's name.
    assert_eq!(hermail.read(&made).await, sender("carol@plain.test"));
    let forged = "SRS0=AAAAAAAA=AA=plain.test=carol@hermail.test";
    assert_eq!(hermail.read(forged).await, Read::Ordinary);
}

#[tokio::test]
async fn the_domain_is_one_that_takes_reports_by_smtp() {
    const STRICT: Option<Policy> = Some(Policy::Strict);
    for (domains, named, expected) in [
        (&[("hermail.test", None)][..], None, Some("hermail.test")),
        (
            &[("a.test", None), ("hermail.test", Some(Policy::Mixed))],
            None,
            Some("hermail.test"),
        ),
        (
            &[("a.test", STRICT), ("b.test", None), ("hermail.test", STRICT)],
            None,
            Some("b.test"),
        ),
        (
            &[("hermail.test", None), ("b.test", None)],
            Some("b.test"),
            Some("b.test"),
        ),
        (&[("hermail.test", None)], Some("b.test"), None),
        (&[("hermail.test", STRICT)], None, None),
    ] {
        let mut fixture = fixture(domains).await;
        fixture.srs.settings.domain = named.map(|name: &str| name.parse().unwrap());
        let found = fixture.srs.domain().await.unwrap();
        assert_eq!(found.as_ref().map(Domain::as_str), expected, "{domains:?}");
        if expected.is_none() {
            let carol = path("carol@plain.test");
            assert_eq!(fixture.srs.rewrite(&carol).await.unwrap(), carol);
        }
    }
}

proptest::proptest! {
    #[test]
    fn nothing_that_a_peer_names_makes_it_panic(local in "(?i)(SRS[01][=+-])?[=A-Za-z2-7.\u{e9}@+-]{0,60}") {
        let _ = (Form::of(&local), first_of(&local), day_from(&local, 20_000), day_from(&local, 0));
    }
}
