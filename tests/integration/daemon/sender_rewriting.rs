//! Mail that aliases pass on goes under a reverse-path of ours, and what comes back to it goes on to the sender (SRS).

use dimed::config::Config;
use dimed::net::authority::Zone;

use crate::support::loopback::Loopback;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink, Taken};
use crate::support::talk::Talk;
use crate::support::world::{World, domain};

const MESSAGE: &str = "From: carol@plain.test\r\nSubject: passed on\r\n\r\nhello\r\n";
const REPORT: &str = "From: postmaster@third.test\r\nSubject: it failed\r\n\r\nsorry\r\n";

/// Hosts of plain.test and third.test, which take everything.
struct Others {
    plain: Sink,
    third: Sink,
    _hosts: [Loopback; 2],
}

impl Others {
    async fn new(world: &World) -> Self {
        let hosts = [Loopback::take(), Loopback::take()];
        world.plain_domain("plain.test", hosts[0].ip);
        world.plain_domain("third.test", hosts[1].ip);
        Self {
            plain: Sink::start(hosts[0].ip, Behaviour::default()).await,
            third: Sink::start(hosts[1].ip, Behaviour::default()).await,
            _hosts: hosts,
        }
    }
}

async fn organization(world: &World, name: &str, aliases: &[(&str, &str)]) -> Organization {
    let organization = world
        .organization(name)
        .plain()
        .accounts(&["alice"])
        .build()
        .await;
    for (alias, target) in aliases {
        organization
            .cli(&["alias", "add", &organization.address(alias), target])
            .await;
    }
    organization
}

async fn bring(to: &Organization, from: &str, recipient: &str, message: &str) {
    let mut talk = Talk::smtp(to.ip).await;
    let reply = talk.transfer(from, &[recipient], message).await;
    assert!(reply.starts_with("250 "), "{reply}");
}

/// What stood in MAIL FROM, without brackets.
fn reverse_path(taken: &Taken) -> String {
    let path = taken.mail.split(' ').next().unwrap();
    path.strip_prefix('<')
        .unwrap()
        .strip_suffix('>')
        .unwrap()
        .to_owned()
}

async fn refused(at: &Organization, from: &str, to: &str, with: &str) {
    let mut talk = Talk::smtp(at.ip).await;
    talk.ask(&format!("MAIL FROM:<{from}>"), "250").await;
    talk.ask(&format!("RCPT TO:<{to}>"), with).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_find_their_way_back_through_two_forwarders() {
    let world = World::new().await;
    let others = Others::new(&world).await;
    let hermail = organization(&world, "hermail.test", &[("friend", "friend@hismail.test")]).await;
    let hismail = organization(&world, "hismail.test", &[("friend", "dave@third.test")]).await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    bring(&hermail, "carol@plain.test", "friend@hermail.test", MESSAGE).await;
    let path = reverse_path(&others.third.taken(1).await[0]);
    assert!(path.starts_with("SRS1="), "{path}");
    assert!(
        path.contains("=hermail.test==") && path.ends_with("=plain.test=carol@hismail.test"),
        "{path}"
    );

    bring(&hismail, "", &path.to_lowercase(), REPORT).await;
    let report = others.plain.taken(1).await.remove(0);
    assert_eq!(reverse_path(&report), "");
    assert_eq!(report.rcpt, ["<carol@plain.test>"]);
    assert!(report.message.ends_with("\r\nsorry\r\n"), "{}", report.message);

    // Nothing but reports goes that way, and no other address does.
    refused(
        &hismail,
        "eve@plain.test",
        &path,
        "550 5.7.1 This address takes reports alone",
    )
    .await;
    let forged = path.replace("=carol@", "=karol@");
    refused(
        &hismail,
        "",
        &forged,
        "550 5.1.1 This reverse-path was not rewritten here",
    )
    .await;
    refused(&hermail, "", &path.replace("@hismail", "@hermail"), "550 5.1.1 ").await;
    refused(
        &hermail,
        "",
        &path.replace("@hismail", "@third"),
        "550 5.7.1 Relaying denied",
    )
    .await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_mail_and_reports_keep_their_reverse_path() {
    let world = World::new().await;
    let others = Others::new(&world).await;
    let hermail = organization(&world, "hermail.test", &[("friend", "dave@third.test")]).await;
    let served = hermail.start().await;
    let own = MESSAGE.replace("carol@plain.test", "alice@hermail.test");
    hermail.submit("alice", &["friend@hermail.test"], &own).await;
    let taken = others.third.taken(1).await;
    assert_eq!(reverse_path(&taken[0]), "alice@hermail.test");
    bring(&hermail, "", "friend@hermail.test", REPORT).await;
    let taken = others.third.taken(2).await;
    assert_eq!(reverse_path(&taken[1]), "");
    // A sender whose rewritten path would be too long is remembered.
    let long = format!("bounce-{}@plain.test", "x".repeat(50));
    bring(&hermail, &long, "friend@hermail.test", MESSAGE).await;
    let path = reverse_path(&others.third.taken(3).await[2]);
    assert!(path.contains("=stored="), "{path}");
    bring(&hermail, "", &path, REPORT).await;
    let report = others.plain.taken(1).await.remove(0);
    assert_eq!(report.rcpt, [format!("<{long}>")]);
    served.stop().await;
}

/// Mail comes back here under the path that was made here, and fails: the report is ours, and for the sender.
#[tokio::test(flavor = "multi_thread")]
async fn reports_of_our_own_go_to_the_sender_behind_a_rewritten_path() {
    let world = World::new().await;
    let others = Others::new(&world).await;
    let aliases = [("friend", "dave@third.test"), ("gone", "nobody@hismail.test")];
    let hermail = organization(&world, "hermail.test", &aliases).await;
    let hismail = organization(&world, "hismail.test", &[]).await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    // What fails at the next host is told to the sender without a detour.
    bring(&hermail, "carol@plain.test", "gone@hermail.test", MESSAGE).await;
    let report = others.plain.taken(1).await.remove(0);
    assert_eq!(report.rcpt, ["<carol@plain.test>"]);
    assert!(
        report
            .message
            .contains("Final-Recipient: rfc822; nobody@hismail.test"),
        "{}",
        report.message
    );

    bring(&hermail, "carol@plain.test", "friend@hermail.test", MESSAGE).await;
    let path = reverse_path(&others.third.taken(1).await[0]);
    bring(&hermail, &path, "gone@hermail.test", MESSAGE).await;
    let report = others.plain.taken(2).await.remove(1);
    assert_eq!(report.rcpt, ["<carol@plain.test>"]);
    assert!(report.message.contains("Action: failed"), "{}", report.message);
    here.stop().await;
    there.stop().await;
}

/// Everybody who got mail under the path can send to the sender through it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_gets_so_many_reports_in_a_row_and_no_more() {
    let world = World::new().await;
    let others = Others::new(&world).await;
    let hermail = organization(&world, "hermail.test", &[("friend", "dave@third.test")]).await;
    let served = hermail.start().await;
    bring(&hermail, "carol@plain.test", "friend@hermail.test", MESSAGE).await;
    bring(&hermail, "eve@plain.test", "friend@hermail.test", MESSAGE).await;
    let taken = others.third.taken(2).await;
    let path_of = |sender: &str| {
        let mut paths = taken.iter().map(reverse_path);
        paths.find(|path| path.contains(&format!("={sender}@"))).unwrap()
    };
    let (carol, eve) = (path_of("carol"), path_of("eve"));
    let too_many = "450 4.7.1 Too many reports for the sender behind this reverse-path";

    let name = async |talk: &mut Talk, times: usize| {
        talk.ask("MAIL FROM:<>", "250").await;
        for _ in 0..times {
            talk.ask(&format!("RCPT TO:<{carol}>"), "250").await;
        }
    };
    let mut talk = Talk::smtp(hermail.ip).await;
    name(&mut talk, 50).await;
    talk.ask(&format!("RCPT TO:<{carol}>"), too_many).await;
    // Nothing was sent.
    talk.ask("RSET", "250").await;
    name(&mut talk, 50).await;
    talk.data(REPORT).await;
    refused(&hermail, "", &carol, too_many).await;
    refused(&hermail, "", &carol.to_lowercase(), too_many).await;
    bring(&hermail, "", &eve, REPORT).await;
    served.stop().await;
}

/// Mail comes back under a path that was made here and rewritten by somebody else, who names this host as the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_was_rewritten_here_twice_leads_to_the_sender_or_is_refused() {
    let world = World::new().await;
    let others = Others::new(&world).await;
    let hermail = organization(&world, "hermail.test", &[("friend", "dave@third.test")]).await;
    let served = hermail.start().await;
    bring(&hermail, "carol@plain.test", "friend@hermail.test", MESSAGE).await;
    let once = reverse_path(&others.third.taken(1).await[0]);
    let rest = once.strip_prefix("SRS0").unwrap();
    let rest = rest.strip_suffix("@hermail.test").unwrap();
    let again = format!("SRS1=KKKK=hermail.test={rest}@third.test");
    bring(&hermail, &again, "friend@hermail.test", MESSAGE).await;
    let twice = reverse_path(&others.third.taken(2).await[1]);
    assert!(
        twice.starts_with("SRS1=") && twice.ends_with(&format!("=hermail.test={rest}@hermail.test")),
        "{twice}"
    );
    bring(&hermail, "", &twice, REPORT).await;
    let report = others.plain.taken(1).await.remove(0);
    assert_eq!(report.rcpt, ["<carol@plain.test>"]);

    let forged = again.replace("=carol@", "=karol@");
    bring(&hermail, &forged, "friend@hermail.test", MESSAGE).await;
    let path = reverse_path(&others.third.taken(3).await[2]);
    refused(
        &hermail,
        "",
        &path,
        "550 5.1.1 This reverse-path was not rewritten here",
    )
    .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_in_a_relay_domain_is_verified_as_any_recipient_there() {
    let world = World::new().await;
    let others = Others::new(&world).await;
    let hermail = organization(&world, "hermail.test", &[("friend", "dave@third.test")]).await;
    let served = hermail.start().await;
    bring(&hermail, "carol@plain.test", "friend@hermail.test", MESSAGE).await;
    let path = reverse_path(&others.third.taken(1).await[0]);
    hermail
        .cli(&["domain", "add", "plain.test", "--relay", "--verify", "list"])
        .await;
    refused(&hermail, "", &path, "550 5.1.1 No such mailbox here").await;
    hermail
        .cli(&["domain", "recipients", "add", "carol@plain.test"])
        .await;
    bring(&hermail, "", &path, REPORT).await;
    let report = others.plain.taken(1).await.remove(0);
    assert_eq!(report.rcpt, ["<carol@plain.test>"]);
    served.stop().await;
}

/// RFC 3461 §5.2.7.3: whoever passes a message on passes on what its sender wants to be told.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_sender_asks_for_goes_along() {
    let world = World::new().await;
    let others = Others::new(&world).await;
    let dsn = Loopback::take();
    world.plain_domain("fourth.test", dsn.ip);
    let behaviour = Behaviour {
        dsn: true,
        ..Behaviour::default()
    };
    let sink = Sink::start(dsn.ip, behaviour).await;
    let builder = world.organization("hermail.test").plain().accounts(&["alice"]);
    let hermail = builder
        .config(|config: &mut Config| config.server.dsn_for_other_hosts = true)
        .build()
        .await;
    hermail
        .cli(&["alias", "add", "friend@hermail.test", "dave@fourth.test"])
        .await;
    let served = hermail.start().await;
    let mut talk = Talk::smtp(hermail.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test> RET=HDRS ENVID=one", "250")
        .await;
    talk.ask("RCPT TO:<friend@hermail.test> NOTIFY=SUCCESS,FAILURE", "250")
        .await;
    talk.data(MESSAGE).await;
    let taken = sink.taken(1).await.remove(0);
    assert!(
        taken.mail.starts_with("<SRS0=") && taken.mail.contains("plain.test=carol@hermail.test>"),
        "{}",
        taken.mail
    );
    assert!(taken.mail.contains(" RET=HDRS ENVID=one"), "{}", taken.mail);
    assert_eq!(
        taken.rcpt,
        ["<dave@fourth.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;friend@hermail.test"]
    );
    drop(others);
    served.stop().await;
}

/// The next host checks SPF: of the sender's domain, which names only the sender's host, or of ours.
#[tokio::test(flavor = "multi_thread")]
async fn spf_holds_at_the_next_host_because_of_it() {
    for (rewrites, expected) in [
        (false, "spf=fail smtp.mailfrom=plain.test"),
        (true, "spf=pass smtp.mailfrom=hermail.test"),
    ] {
        let world = World::new().await;
        let zone = Zone::unsigned(&domain("plain.test")).unwrap();
        world.put("plain.test", &zone.txt("", "v=spf1 ip4:127.0.0.1 -all"));
        let hismail = world.organization("hismail.test").plain().accounts(&["bob"]);
        let hismail = hismail.build().await;
        let builder = world.organization("hermail.test").plain().accounts(&["alice"]);
        let change = |config: &mut Config| config.forwarding.srs = rewrites;
        let hermail = builder.config(change).build().await;
        hermail.publish_text(&world, &format!("v=spf1 ip4:{} -all", hermail.ip));
        hermail
            .cli(&["alias", "add", "friend@hermail.test", "bob@hismail.test"])
            .await;
        let (here, there) = (hermail.start().await, hismail.start().await);
        bring(&hermail, "carol@plain.test", "friend@hermail.test", MESSAGE).await;
        let mail = hismail.maildir("bob").only().await;
        let unfolded = mail.replace("\r\n\t", " ").replace("  ", " ");
        let of_hismail = unfolded
            .lines()
            .find(|line| line.starts_with("Authentication-Results: mx.hismail.test"));
        assert!(of_hismail.unwrap().contains(expected), "{unfolded}");
        here.stop().await;
        there.stop().await;
    }
}
