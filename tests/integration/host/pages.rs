//! Manual pages, completions and the reference of the configuration: made from what the program is made of, and usable.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::tool::Desk;

/// Files in a folder, in order.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The commands that a help lists.
fn listed(help: &str) -> Vec<String> {
    let (_, rest) = help.split_once("\nCommands:\n").unwrap();
    let block = rest.split("\n\n").next().unwrap();
    // Continued lines are further indented.
    let lines = block.lines().filter_map(|line| line.strip_prefix("  "));
    let named = lines.filter(|line| !line.starts_with(' '));
    let words = named.filter_map(|line| line.split_whitespace().next());
    words.filter(|word| *word != "help").map(str::to_owned).collect()
}

/// As lintian looks at them.
#[test]
fn every_page_is_without_fault() {
    let desk = Desk::new();
    assert!(desk.done("man pages").ends_with(" pages in pages.\n"));
    let folder = desk.path("pages");
    let names = files(&folder);
    for command in listed(&desk.done("--help")) {
        assert!(
            names.contains(&format!("dimed-{command}.1")),
            "{command}: {names:?}"
        );
    }
    for command in listed(&desk.done("queue --help")) {
        assert!(
            names.contains(&format!("dimed-queue-{command}.1")),
            "{command}: {names:?}"
        );
    }
    // Those that packages use are not for people.
    assert!(!names.contains(&String::from("dimed-man.1")), "{names:?}");
    for name in names {
        let output = Command::new("man")
            .arg("--warnings=mac,char,escape,font,missing,syntax,delim,range,number")
            .args(["-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(folder.join(&name))
            .envs([("LC_ALL", "C.UTF-8"), ("MANROFFSEQ", ""), ("MANWIDTH", "80")])
            .output()
            .unwrap();
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && warnings.is_empty(),
            "{name}: {warnings}"
        );
    }
}

#[test]
fn a_page_reads_as_the_help_does() {
    let desk = Desk::new();
    desk.done("man pages");
    let output = Command::new("man")
        .args(["-P", "cat", "-l"])
        .arg(desk.path("pages/dimed-queue-list.1"))
        .envs([("LC_ALL", "C.UTF-8"), ("MANWIDTH", "200"), ("GROFF_NO_SGR", "1")])
        .output()
        .unwrap();
    // Bold letters are struck twice.
    let mut page = String::new();
    for c in String::from_utf8(output.stdout).unwrap().chars() {
        match c {
            '\u{8}' => drop(page.pop()),
            c => page.push(c),
        }
    }
    let help = desk.done("queue list --help");
    for option in ["--domain", "--older-than", "--json", "--config"] {
        assert!(page.contains(option) && help.contains(option), "{option}\n{page}");
    }
    assert!(page.contains("DIMED_CONFIG"), "{page}");
}

#[test]
fn bash_completes_commands() {
    let desk = Desk::new();
    desk.write("dimed.bash", desk.done("completions bash"));
    let complete = |words: &str| {
        let script = format!(
            "source ./dimed.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _dimed dimed \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &script])
            .current_dir(desk.0.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    assert_eq!(complete("dimed queue li"), "list");
    assert_eq!(complete("dimed que"), "queue");
    assert_eq!(complete("dimed queue list --older"), "--older-than");
    assert_eq!(complete("dimed completions z"), "zsh");
}

#[test]
fn other_shells_have_completions_too() {
    let desk = Desk::new();
    assert!(desk.done("completions zsh").starts_with("#compdef dimed\n"));
    assert!(desk.done("completions fish").contains("complete -c dimed "));
    let error = desk.fails(2, "completions tcsh");
    assert!(error.contains("tcsh"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let desk = Desk::new();
    desk.write("file", "");
    let error = desk.fails(1, "man file/pages");
    assert!(error.contains("file/pages cannot be made"), "{error}");
}

#[test]
fn the_reference_is_for_people_and_for_programs() {
    let desk = Desk::new();
    let text = desk.done("config reference");
    assert!(text.starts_with("# Configuration of dimed\n"), "{text}");
    let said = desk.json(0, "config reference");
    let keys = said["keys"].as_array().unwrap();
    let of = |section: &str, key: &str| -> Value {
        let found = keys
            .iter()
            .find(|one| one["section"] == section && one["key"] == key);
        found.unwrap().clone()
    };
    let runners = of("queue", "runners");
    assert_eq!(
        (&runners["default"], &runners["type"], &runners["required"]),
        (&"20".into(), &"number".into(), &false.into())
    );
    let hostname = of("server", "hostname");
    assert_eq!(
        (&hostname["default"], &hostname["required"]),
        (&Value::Null, &true.into())
    );
    let transports = of("outbound", "transports");
    assert_eq!(
        (&transports["default"], &transports["type"]),
        (&Value::Null, &"list of tables".into())
    );
    for key in keys {
        assert!(!key["explanation"].as_str().unwrap().is_empty(), "{key}");
        assert!(
            text.contains(&format!("\n### `{}`\n", key["key"].as_str().unwrap())),
            "{key}"
        );
    }
}
