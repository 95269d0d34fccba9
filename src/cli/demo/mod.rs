//! `dimed demo`: two organizations with DIME and one without exchange mail on loopback.
//!
//! Everything is real: signed zones served by a name server, three daemons as `dimed serve` runs them, submission with
//! STARTTLS and AUTH, Maildirs. Nothing that is printed is known beforehand: arrival is seen in Maildirs, routes are
//! told by the daemons, and who can read what is found out by opening the object with the keys in each store.

mod arrive;
mod exchange;
mod home;
mod letters;
mod ports;
mod readable;
mod report;
mod send;
mod verify;
mod watch;
mod world;
mod zones;

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use self::exchange::{How, Task};
use self::home::Home;
use self::letters::Letter;
use self::report::{Message, Object, Report};
use self::world::World;
use super::Exit;

/// File name of the sealed object.
const OBJECT: &str = "message.dmime";

/// What the demo sends, keeps and prints.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Send this message instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    pub eml: Option<PathBuf>,
    /// Leave configurations, spools, Maildirs and the sealed object in this directory.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Print the result for programs.
    #[arg(long)]
    pub json: bool,
}

/// Runs the demo; [`Exit::No`] unless everything arrived, verified, and was hidden from whom it should be.
pub async fn run(arguments: Arguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let own = arguments.eml.as_deref().map(letters::from_file).transpose()?;
    let home = Home::new(arguments.keep.as_deref())?;
    let mut report = tokio::select! {
        report = play(home.path(), own) => report?,
        // The directory goes, too.
        stopped = stopped() => return stopped,
    };
    report.elapsed_ms = started.elapsed().as_millis();
    report.kept_in = home.kept().map(Path::to_owned);
    if report.kept_in.is_none() {
        report.messages.iter_mut().for_each(|message| message.file = None);
    }
    match arguments.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        false => out.write_all(report.text().as_bytes())?,
    }
    Ok(match report.ok {
        true => Exit::Done,
        false => Exit::No,
    })
}

/// Waits for SIGINT or SIGTERM, and tells of it as a failure.
async fn stopped<T>() -> anyhow::Result<T> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be received")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    anyhow::bail!("the demo was stopped before its end")
}

/// The whole scenario in `home`.
async fn play(home: &Path, own: Option<Letter>) -> anyhow::Result<Report> {
    say("setting up three organizations and their DNS");
    let world = World::start(home).await?;
    let result = perform(&world, home, own).await;
    say("stopping");
    world.shutdown().await;
    result
}

async fn perform(world: &World, home: &Path, own: Option<Letter>) -> anyhow::Result<Report> {
    let first = match own {
        Some(letter) => letter,
        None => letters::greeting(&world.hermail.user, &world.hismail.user)?,
    };
    let messages = send_all(world, &first).await?;
    let object = match world.hismail.watch.objects().first() {
        Some(octets) => Some(examine(world, home, octets, &first).await?),
        None => None,
    };
    Ok(Report::new(messages, object))
}

/// Five messages, one after the other.
async fn send_all(world: &World, first: &Letter) -> anyhow::Result<Vec<Message>> {
    let World {
        hermail,
        hismail,
        plain,
        ..
    } = world;
    let (alice, bob, carol) = (&hermail.user, &hismail.user, &plain.user);
    let nobody = format!("nobody@{}", hismail.domain).parse()?;
    let answer = letters::answer(bob, alice)?;
    let to_carol = letters::to_carol(alice, carol)?;
    let from_carol = letters::from_carol(carol, bob)?;
    let lost = letters::to_nobody(alice, &nobody)?;
    let plan = [
        (hermail, hismail, bob, first, How::Dmtp),
        (hismail, hermail, alice, &answer, How::Dmtp),
        (hermail, plain, carol, &to_carol, How::Smtp),
        (plain, hismail, bob, &from_carol, How::Smtp),
        (hermail, hermail, &nobody, &lost, How::Back),
    ];
    let mut messages = Vec::new();
    for (index, (from, watched, to, letter, how)) in plan.into_iter().enumerate() {
        let number = index + 1;
        say(&format!("message {number}: {} to {to}", from.user));
        let task = Task {
            number,
            from,
            watched,
            to: to.clone(),
            letter,
            how,
        };
        messages.push(task.run().await);
    }
    Ok(messages)
}

async fn examine(world: &World, home: &Path, octets: &[u8], first: &Letter) -> anyhow::Result<Object> {
    say("opening the sealed object with everybody's keys");
    fs::write(home.join(OBJECT), octets).context("the sealed object cannot be written")?;
    let findings = readable::examine(world, octets, first).await?;
    Ok(Object {
        size_bytes: octets.len(),
        format: 2,
        suite: findings.suite.name(),
        rows: findings.rows,
        problems: findings.problems,
    })
}

/// Shows progress to people.
fn say(what: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("{what}…");
    }
}
