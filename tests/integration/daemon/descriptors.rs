//! Few files that may be open, and strangers who take as many connections as they can get.

use std::ffi::OsString;
use std::num::NonZeroUsize;

use tokio::net::TcpStream;

use crate::support::child::{Launch, Process};
use crate::support::eventually;
use crate::support::loopback::{Loopback, SMTP};
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::world::World;

const LIMIT: usize = 160;

fn limited() -> Launch {
    let script = format!("ulimit -n {LIMIT} && exec \"$@\"");
    Launch {
        before: ["sh", "-c", &script, "sh"].map(OsString::from).into(),
        ..Launch::default()
    }
}

fn open(process: &Process) -> usize {
    let folder = format!("/proc/{}/fd", process.id());
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_strangers_leave_enough_to_deliveries() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let many = NonZeroUsize::new(1000).unwrap();
    let hismail = hismail.config(|config| config.limits.connections_per_address = many);
    let hismail = hismail.build().await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let process = hismail.spawn_with(&limited()).await;
    assert!(process.log().contains("\"daemon.few_files\""));

    let mut talk = Talk::submission(hismail.ip, "bob@hismail.test").await;
    // With what is open already, more than may be. Those for whom there is no room wait in the kernel.
    let mut strangers = Vec::new();
    for _ in 0..LIMIT {
        strangers.push(TcpStream::connect((hismail.ip, SMTP)).await.unwrap());
    }
    // A quarter is left, some of which is in use.
    let almost_all = LIMIT - LIMIT / 4 - 10;
    eventually("the strangers to be served", || {
        (open(&process) >= almost_all).then_some(())
    })
    .await;
    let message = "From: bob@hismail.test\r\nSubject: hi\r\n\r\nhello\r\n";
    let to = ["bob@hismail.test", "carol@plain.test"];
    let reply = talk.transfer("bob@hismail.test", &to, message).await;
    assert!(reply.starts_with("250"), "{reply}");
    hismail.maildir("bob").only().await;
    sink.taken(1).await;
    hismail.idle().await;
    let log = process.log();
    assert!(!log.contains("\"listener.accept_failed\""), "{log}");
}
