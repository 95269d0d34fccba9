//! `dimed man` and `dimed completions`: manual pages and completions from the definitions that are the help, too. Packages
//! install them.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::json;

use super::answer::Answer;
use super::{Arguments, Exit, reference};

/// No date, for pages that are the same whenever they are made. Without the quotes, what follows would be taken for it.
pub const NO_DATE: &str = "\"\"";

/// What the pages are about.
pub const VERSION: &str = concat!("dimed ", env!("CARGO_PKG_VERSION"));

/// Where to.
#[derive(Debug, Args)]
pub struct Pages {
    /// The folder, which is made if it is not there. Pages that are in it are replaced.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// For which shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// A page by the name of its file.
type Page = (String, Vec<u8>);

/// Writes every page into a file of its own.
pub fn write(arguments: &Pages, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let folder = &arguments.folder;
    let pages = all()?;
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for (name, page) in &pages {
        let path = folder.join(name);
        fs::write(&path, page).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let text = format!("{} pages in {}.\n", pages.len(), folder.display());
    let json = json!({ "result": "done", "pages": pages.len() });
    Answer { text, json }.write(arguments.json, out)?;
    Ok(Exit::Done)
}

/// Prints what the shell is to read.
pub fn complete(arguments: &Completions, out: &mut dyn Write) -> anyhow::Result<Exit> {
    // The generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "dimed", &mut script);
    out.write_all(&script)?;
    Ok(Exit::Done)
}

fn all() -> anyhow::Result<Vec<Page>> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut pages = vec![(String::from("dimed.toml.5"), reference::page()?.into_bytes())];
    add(&command, &mut pages)?;
    Ok(pages)
}

/// Adds the page of a command, and those of the commands below it.
fn add(command: &clap::Command, pages: &mut Vec<Page>) -> io::Result<()> {
    let man = Man::new(command.clone()).date(NO_DATE).source(VERSION);
    let mut page = Vec::new();
    man.render(&mut page)?;
    pages.push((man.get_filename(), page));
    let shown = command.get_subcommands().filter(|below| !below.is_hide_set());
    for below in shown {
        add(below, pages)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The names of all commands that the help shows, as the pages are called.
    fn names(command: &clap::Command, above: &str, found: &mut Vec<String>) {
        found.push(above.to_owned());
        let shown = command
            .get_subcommands()
            .filter(|below| !below.is_hide_set() && below.get_name() != "help");
        for below in shown {
            names(below, &format!("{above}-{}", below.get_name()), found);
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let mut expected = Vec::new();
        names(&Arguments::command(), "dimed", &mut expected);
        let pages = all().unwrap();
        for name in &expected {
            let page = pages.iter().find(|(file, _)| *file == format!("{name}.1"));
            let (_, page) = page.unwrap_or_else(|| panic!("{name} has none"));
            let page = String::from_utf8_lossy(page);
            assert!(
                page.contains(&format!("\n.TH {name} 1 \"\" \"{VERSION}\"")),
                "{page}"
            );
            let about = format!("\n.SH NAME\n{} \\- ", name.replace('-', "\\-"));
            assert!(page.contains(&about), "{page}");
        }
        // And the file's.
        assert_eq!(pages.len(), expected.len() + 1);
        assert!(
            expected.contains(&String::from("dimed-queue-list")),
            "{expected:?}"
        );
    }
}
