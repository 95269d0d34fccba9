//! `dimed store verify` and `repair`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::cli::answer::printable;
use crate::cli::context::Context;
use crate::cli::{Exit, audit};
use crate::config::Config;
use crate::store::{Fault, Mark, Part, Repair as Repaired};

/// How to answer.
#[derive(Debug, Args)]
pub struct Verify {
    /// JSON: an object for each fault, one on a line, and one with the counts at the end.
    #[arg(long)]
    json: bool,
}

/// How to repair.
#[derive(Debug, Args)]
pub struct Repair {
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// JSON: an object for each fault, one on a line, and one with the counts at the end.
    #[arg(long)]
    json: bool,
}

/// Reads everything; what is wrong is told as it is found. What is set aside already is counted.
pub async fn run(arguments: &Verify, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let mut told = Told::new(arguments.json, out);
    for problem in context.store.check_file().await? {
        told.file(&problem)?;
    }
    for part in Part::ALL {
        let mut mark = Some(Mark::default());
        while let Some(after) = mark.take() {
            let checked = context.store.check(part, &after).await?;
            told.rows += checked.rows;
            for fault in &checked.faults {
                told.fault(fault, None)?;
            }
            mark = checked.next;
        }
    }
    told.end(false, context.store.count_set_aside().await?)
}

/// Reads everything and repairs what can be; without rows, nothing is remembered between two of them.
pub async fn repair(arguments: &Repair, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let mut told = Told::new(arguments.json, out);
    let done = repair_all(&context, arguments.dry_run, &mut told).await;
    if !arguments.dry_run {
        audit::repaired(&context, told.set_aside + told.rebuilt);
    }
    done?;
    // Last: rows that were set aside break no rules of the database any more.
    for problem in context.store.check_file().await? {
        told.file(&problem)?;
    }
    told.end(true, context.store.count_set_aside().await?)
}

async fn repair_all(context: &Context, dry_run: bool, told: &mut Told<'_>) -> anyhow::Result<()> {
    if !dry_run {
        context.store.rebuild_indexes().await?;
    }
    for part in Part::ALL {
        let mut mark = Some(Mark::default());
        while let Some(after) = mark.take() {
            let checked = context.store.check(part, &after).await?;
            told.rows += checked.rows;
            for fault in &checked.faults {
                let done = match dry_run {
                    false => context.store.repair(fault, context.now()).await?,
                    true => context.store.foresee_repair(fault, context.now()).await?,
                };
                told.fault(fault, Some(done))?;
            }
            mark = checked.next;
        }
    }
    Ok(())
}

/// What has been said.
struct Told<'a> {
    json: bool,
    out: &'a mut dyn Write,
    rows: u64,
    faults: u64,
    set_aside: u64,
    rebuilt: u64,
    left: u64,
}

impl<'a> Told<'a> {
    fn new(json: bool, out: &'a mut dyn Write) -> Self {
        Self {
            json,
            out,
            rows: 0,
            faults: 0,
            set_aside: 0,
            rebuilt: 0,
            left: 0,
        }
    }

    fn file(&mut self, problem: &str) -> anyhow::Result<()> {
        self.faults += 1;
        self.left += 1;
        match self.json {
            true => writeln!(self.out, "{}", json!({ "part": "file", "what": problem }))?,
            false => writeln!(self.out, "the file: {}", printable(problem))?,
        }
        Ok(())
    }

    fn fault(&mut self, fault: &Fault, repaired: Option<Repaired>) -> anyhow::Result<()> {
        self.faults += 1;
        let done = match repaired {
            Some(Repaired::SetAside(count)) => {
                self.set_aside += count;
                Some("set_aside")
            }
            Some(Repaired::Rebuilt) => {
                self.rebuilt += 1;
                Some("rebuilt")
            }
            Some(Repaired::None) => {
                self.left += 1;
                Some("left")
            }
            None => None,
        };
        let part = fault.part.name();
        match self.json {
            true => {
                let object = json!({ "part": part, "row": fault.row, "what": fault.what, "repair": done });
                writeln!(self.out, "{object}")?;
            }
            false => {
                let done = done.map_or(String::new(), |done| format!(" ({})", done.replace('_', " ")));
                writeln!(
                    self.out,
                    "{part}: {}: {}{done}",
                    printable(&fault.row),
                    fault.what
                )?;
            }
        }
        Ok(())
    }

    fn end(self, is_repair: bool, quarantined: u64) -> anyhow::Result<Exit> {
        let Self { rows, faults, .. } = self;
        if self.json {
            let object = json!({
                "result": if faults == 0 { "done" } else { "faults" }, "rows": rows, "faults": faults,
                "set_aside": self.set_aside, "rebuilt": self.rebuilt, "left": self.left, "quarantined": quarantined,
            });
            writeln!(self.out, "{object}")?;
        } else {
            match faults {
                0 => writeln!(self.out, "{rows} rows read, all of them right.")?,
                _ if is_repair => writeln!(
                    self.out,
                    "{rows} rows read, {faults} faults: {} recipients set aside, {} rebuilt, {} left.",
                    self.set_aside, self.rebuilt, self.left
                )?,
                _ => writeln!(self.out, "{rows} rows read, {faults} faults.")?,
            }
            if quarantined > 0 {
                writeln!(
                    self.out,
                    "{quarantined} recipients are set aside (`dimed queue list --status quarantined`), and not counted as faults."
                )?;
            }
        }
        let is_right = if is_repair { self.left == 0 } else { faults == 0 };
        Ok(if is_right { Exit::Done } else { Exit::No })
    }
}
