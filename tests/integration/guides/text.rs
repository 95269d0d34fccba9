//! Markdown, as far as the guides use it.

use std::fs;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file, by its path from the top.
pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every guide, by its path from the top, in order.
pub fn guides() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["config", "deploy"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = PathBuf::from(entry.unwrap().file_name());
            if name.extension().is_some_and(|extension| extension == "md") {
                found.push(Path::new(folder).join(name));
            }
        }
    }
    found.sort();
    found
}

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// What stands behind the fence.
    pub kind: String,
    /// What is in it, without the indentation of the fence.
    pub lines: Vec<String>,
}

/// All fenced blocks.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open: Option<usize> = None;
    for line in text.lines() {
        let indented = line.len() - line.trim_start().len();
        match (line.trim_start().strip_prefix("```"), open) {
            (Some(kind), None) => {
                open = Some(indented);
                found.push(Block {
                    kind: kind.to_owned(),
                    lines: Vec::new(),
                });
            }
            (Some(_), Some(_)) => open = None,
            (None, Some(indentation)) => {
                let rest = line.get(indentation..).unwrap_or_default();
                found.last_mut().unwrap().lines.push(rest.to_owned());
            }
            (None, None) => {}
        }
    }
    assert_eq!(open, None, "a block has no end");
    found
}

/// The text without its fenced blocks.
pub fn prose(text: &str) -> String {
    let mut is_open = false;
    let outside = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_open ^= is_fence;
        !is_open && !is_fence
    });
    outside.collect::<Vec<_>>().join("\n")
}

/// What a reader does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Runs a command.
    Run(String),
    /// Looks at what the last one printed: lines, in which `...` stands for anything.
    See(Vec<String>),
}

/// What a guide has a reader do, in its order.
pub fn steps(text: &str) -> Vec<Step> {
    let mut found = Vec::new();
    for block in blocks(text) {
        match block.kind.as_str() {
            "sh" => found.extend(commands(&block.lines.join("\n")).into_iter().map(Step::Run)),
            "output" => found.push(Step::See(block.lines)),
            _ => {}
        }
    }
    found
}

/// The lines that are commands, continued ones joined.
pub fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    let commands = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    commands
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// What stands between backticks in a paragraph, line ends being blanks there. Blocks do not count, be they fenced or indented by four blanks or more.
pub fn code_spans(text: &str) -> Vec<String> {
    let text = prose(text);
    let is_text = |line: &&str| !line.starts_with("    ");
    let lines: Vec<&str> = text.lines().filter(is_text).collect();
    let mut found = Vec::new();
    for paragraph in lines.join("\n").split("\n\n") {
        let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        let parts: Vec<&str> = paragraph.split('`').collect();
        assert!(parts.len() % 2 == 1, "a backtick is missing: {paragraph}");
        found.extend(parts.into_iter().skip(1).step_by(2).map(str::to_owned));
    }
    found
}

/// The targets of all links.
pub fn links(text: &str) -> Vec<String> {
    let text = prose(text);
    // A target has no blanks; what is between `](` and `)` and has some is no link.
    let after = text.split("](").skip(1);
    let targets = after.filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains(char::is_whitespace))
        .map(str::to_owned)
        .collect()
}

/// What a heading is called in links, as GitHub has it.
pub fn anchors(text: &str) -> Vec<String> {
    let text = prose(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let name = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = name
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// Rows of all tables, as cells.
pub fn rows(text: &str) -> Vec<Vec<String>> {
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

#[test]
fn blocks_and_steps_are_read_as_people_read_them() {
    let text = "# Head, it is\n\nSay `a\nb` and [x](y.md#z).\n\n```sh\n# not this\none two \\\n    three\n\nfour\n```\n\n\
                ```output\n!  a ...\n```\n\n1. Item\n\n   ```sh\n   five\n   ```\n";
    let run = |line: &str| Step::Run(line.to_owned());
    let expected = [
        run("one two three"),
        run("four"),
        Step::See(vec!["!  a ...".into()]),
        run("five"),
    ];
    assert_eq!(steps(text), expected);
    assert_eq!(code_spans(text), ["a b"]);
    assert_eq!(links(text), ["y.md#z"]);
    assert_eq!(anchors(text), ["head-it-is"]);
}
