//! The file `/etc/aliases`, as Sendmail and Postfix have it (aliases(5)): `name: target, target …`.
//!
//! | Line | Meaning |
//! |---|---|
//! | `# …`, also behind white space | a comment |
//! | `name: targets` | an alias; the name may be in quotes, and its case does not count |
//! | white space first | more of the line before |
//!
//! | Target | Meaning |
//! |---|---|
//! | `name` | another name of this host; `\name` is the same |
//! | `user@domain`, also in brackets or with quotes | an address |
//! | `:include:/path` | addresses from a file, separated by commas or line ends |
//! | `/dev/null` alone | the mail goes nowhere |
//! | `\|command`, `/path` | refused: running programs and writing files is for mailbox servers |
//!
//! Blanks separate targets, too, where they are all names or all addresses: `Pat pat@example.org` could be one. A line that
//! cannot be used leaves the others.

use std::collections::{BTreeMap, BTreeSet};

use super::address::Mailbox;
use super::specs::{Spec, specs};

/// Octets of the file, and of one that it includes, at most.
pub const MAX_OCTETS: usize = 4 << 20;

/// The file of which nothing is ever read again.
const NOWHERE: &str = "/dev/null";

/// Where an alias leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A name of this host.
    Name(String),
    /// An address.
    Address(Mailbox),
    /// The addresses in a file.
    Include(String),
    /// Nobody.
    Discard,
}

/// Something in a line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// What.
    pub fault: Fault,
}

/// What cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Neither an alias nor a comment.
    #[error("not of the form `name: target, target`")]
    NoAlias,
    /// A continuation of nothing.
    #[error("white space at its start continues the line before, and there is none")]
    NothingToContinue,
    /// The targets cannot be read.
    #[error("`{0}` is no address or name")]
    Target(String),
    /// A program is to be run.
    #[error("`{0}` would run a program, which dimed does not do: name an address")]
    Command(String),
    /// A file is to be written.
    #[error("`{0}` would write to a file, which dimed does not do: name an address")]
    File(String),
    /// The file holds an alias twice: the first counts.
    #[error("`{0}` stands in an earlier line, which counts")]
    Repeated(String),
    /// An alias of one domain alone.
    #[error("`{0}` has a domain, and only names of this host stand here: use `dimed alias`")]
    Foreign(String),
    /// Octets that are no text.
    #[error("not UTF-8")]
    Damaged,
}

impl Fault {
    /// Whether the line is understood, and asks for what is not done here.
    pub fn is_refused(&self) -> bool {
        matches!(
            self,
            Self::Command(_) | Self::File(_) | Self::Repeated(_) | Self::Foreign(_)
        )
    }
}

/// The aliases of a file by their names in lower case, and what cannot be used of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases {
    /// Those with at least one target.
    pub entries: BTreeMap<String, Vec<Target>>,
    /// Those with targets that are all refused.
    pub unserved: BTreeSet<String>,
    /// In the order of lines.
    pub problems: Vec<Problem>,
}

impl Aliases {
    /// Reads the text of a file, with U+FFFD for what is not UTF-8.
    pub fn parse(text: &str) -> Self {
        let mut aliases = Self::default();
        let mut open: Option<(usize, String)> = None;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let line = without_comment(line);
            if line.is_empty() {
                continue;
            }
            match (&mut open, line.starts_with([' ', '\t'])) {
                (Some((_, logical)), true) => {
                    logical.push(' ');
                    logical.push_str(line.trim());
                }
                (None, true) => aliases.complain(number, Fault::NothingToContinue),
                (_, false) => {
                    aliases.take(open.take());
                    open = Some((number, line.to_owned()));
                }
            }
        }
        aliases.take(open);
        aliases
    }

    fn complain(&mut self, line: usize, fault: Fault) {
        self.problems.push(Problem { line, fault });
    }

    fn take(&mut self, logical: Option<(usize, String)>) {
        let Some((line, text)) = logical else {
            return;
        };
        if is_damaged(&text) {
            return self.complain(line, Fault::Damaged);
        }
        let Some((name, rest)) = name(&text) else {
            return self.complain(line, Fault::NoAlias);
        };
        if name.contains('@') {
            return self.complain(line, Fault::Foreign(name));
        }
        if self.entries.contains_key(&name) {
            return self.complain(line, Fault::Repeated(name));
        }
        let (mut targets, faults) = targets(rest);
        if targets.is_empty() && faults.is_empty() {
            return self.complain(line, Fault::NoAlias);
        }
        // Beside others it says nothing. Mail that was for somebody who cannot be reached is not thrown away.
        if targets.len() > 1 || !faults.is_empty() {
            targets.retain(|target| *target != Target::Discard);
        }
        let are_refused = faults.iter().all(Fault::is_refused);
        for fault in faults {
            self.complain(line, fault);
        }
        if !targets.is_empty() {
            self.entries.insert(name, targets);
        } else if are_refused {
            self.unserved.insert(name);
        }
    }
}

/// The targets in an included file: addresses and names, separated by commas or line ends. It includes no others.
pub fn included(text: &str) -> (Vec<Target>, Vec<Problem>) {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line = without_comment(line);
        let (targets, mut faults) = match is_damaged(line) {
            true => (Vec::new(), vec![Fault::Damaged]),
            false => targets(line),
        };
        for target in targets {
            match target {
                Target::Include(path) => faults.push(Fault::Target(format!(":include:{path}"))),
                Target::Discard => faults.push(Fault::File(NOWHERE.to_owned())),
                target => all.push(target),
            }
        }
        problems.extend(faults.into_iter().map(|fault| Problem {
            line: index + 1,
            fault,
        }));
    }
    (all, problems)
}

/// The line up to a `#` that stands at its start or behind white space, and not in quotes.
fn without_comment(line: &str) -> &str {
    let (mut quoted, mut escaped, mut is_apart) = (false, false, true);
    for (at, c) in line.char_indices() {
        if c == '#' && is_apart && !quoted {
            return line[..at].trim_end();
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        is_apart = c.is_whitespace();
    }
    line.trim_end()
}

fn is_damaged(text: &str) -> bool {
    text.contains(char::REPLACEMENT_CHARACTER)
}

/// The name before the colon, in lower case, and what follows that.
fn name(text: &str) -> Option<(String, &str)> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(quoted) => {
            let (name, rest) = quoted.split_once('"')?;
            (name, rest.trim_start().strip_prefix(':')?)
        }
        None => text.split_once(':')?,
    };
    let name = name.trim();
    let fits = !name.is_empty() && !name.contains(|c: char| c.is_control() || c == '"');
    fits.then(|| (name.to_ascii_lowercase(), rest))
}

fn targets(text: &str) -> (Vec<Target>, Vec<Fault>) {
    let (mut targets, mut faults) = (Vec::new(), Vec::new());
    for item in items(text) {
        match target(&item) {
            Ok(found) => targets.extend(found),
            Err(fault) => faults.push(fault),
        }
    }
    (targets, faults)
}

/// Splits at commas outside quotes.
fn items(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            ',' if !quoted => items.push(String::new()),
            c => items.iter_mut().last().into_iter().for_each(|item| item.push(c)),
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
    }
    items.retain(|item| !item.trim().is_empty());
    items
}

fn target(item: &str) -> Result<Vec<Target>, Fault> {
    let item = item.trim();
    let bare = item.trim_matches('"').trim();
    let shown = || bare.chars().take(80).collect::<String>();
    if bare.starts_with('|') {
        return Err(Fault::Command(shown()));
    }
    if bare == NOWHERE {
        return Ok(vec![Target::Discard]);
    }
    if bare.starts_with('/') {
        return Err(Fault::File(shown()));
    }
    if let Some(path) = bare.strip_prefix(":include:") {
        let path = path.trim();
        return match path.starts_with('/') {
            true => Ok(vec![Target::Include(path.to_owned())]),
            false => Err(Fault::Target(shown())),
        };
    }
    let specs = specs(item.strip_prefix('\\').unwrap_or(item)).filter(|specs| !specs.is_empty());
    let found = specs.and_then(|specs| specs.iter().map(of).collect());
    found
        .or_else(|| words(item))
        .ok_or_else(|| Fault::Target(shown()))
}

/// Names alone or addresses alone, with blanks between them: of both, one could be the full name to the other.
fn words(item: &str) -> Option<Vec<Target>> {
    if item.contains(['"', '<', '>', '(', ')', ':', ';', '\\']) {
        return None;
    }
    let found = item.split_whitespace().map(word).collect::<Option<Vec<_>>>()?;
    let names = found
        .iter()
        .filter(|target| matches!(target, Target::Name(_)))
        .count();
    (!found.is_empty() && (names == 0 || names == found.len())).then_some(found)
}

fn word(text: &str) -> Option<Target> {
    match specs(text)?.as_slice() {
        [spec] => of(spec),
        _ => None,
    }
}

fn of(spec: &Spec) -> Option<Target> {
    match spec.has_domain() {
        true => Mailbox::parse(&spec.text).ok().map(Target::Address),
        false => {
            let parsed = Mailbox::parse(&format!("{}@localhost", spec.text)).ok()?;
            Some(Target::Name(parsed.local().to_ascii_lowercase()))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn address(text: &str) -> Target {
        Target::Address(text.parse().unwrap())
    }

    fn named(text: &str) -> Target {
        Target::Name(text.to_owned())
    }

    #[test]
    fn what_debian_and_people_write_is_read() {
        let text = "# See man 5 aliases for format\n\
                    postmaster:    root\n\
                    ROOT: Admin@example.org,\n\
                    \t\"Pat, P\" <pat@example.org>,\n\
                    \n\
                    # in between\n\
                    \x20 carol\n\
                    \"ops team\" : \\ops, bob@example.net,\n\
                    list: :include:/etc/mail/list, \":include:/etc/mail/o t\"\n\
                    end:last@example.org";
        let aliases = Aliases::parse(text);
        assert_eq!(aliases.problems, []);
        let expected = [
            ("end", vec![address("last@example.org")]),
            (
                "list",
                vec![
                    Target::Include("/etc/mail/list".into()),
                    Target::Include("/etc/mail/o t".into()),
                ],
            ),
            ("ops team", vec![named("ops"), address("bob@example.net")]),
            ("postmaster", vec![named("root")]),
            (
                "root",
                vec![
                    address("Admin@example.org"),
                    address("pat@example.org"),
                    named("carol"),
                ],
            ),
        ];
        let expected = expected.map(|(name, targets)| (name.to_owned(), targets));
        assert_eq!(aliases.entries, BTreeMap::from(expected));
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_line() {
        for (text, told) in [
            (
                "a: |/usr/bin/procmail",
                "line 1: `|/usr/bin/procmail` would run a program, which dimed does not do: name an address",
            ),
            (
                "\na: \"|x, y\"",
                "line 2: `|x, y` would run a program, which dimed does not do: name an address",
            ),
            (
                "a: /dev/full",
                "line 1: `/dev/full` would write to a file, which dimed does not do: name an address",
            ),
            ("a b c", "line 1: not of the form `name: target, target`"),
            ("a:", "line 1: not of the form `name: target, target`"),
            (": b", "line 1: not of the form `name: target, target`"),
            (
                "X@y.test: b",
                "line 1: `x@y.test` has a domain, and only names of this host stand here: use `dimed alias`",
            ),
            ("a: b\n\u{fffd}: c", "line 2: not UTF-8"),
            ("a: b\nc: b\u{fffd} # c", "line 2: not UTF-8"),
            (
                " a: b",
                "line 1: white space at its start continues the line before, and there is none",
            ),
            ("a: b c@c.test", "line 1: `b c@c.test` is no address or name"),
            ("a: b @c.test", "line 1: `b @c.test` is no address or name"),
            ("a: b@", "line 1: `b@` is no address or name"),
            (
                "a: :include:list",
                "line 1: `:include:list` is no address or name",
            ),
            (
                "a: b\nA: c",
                "line 2: `a` stands in an earlier line, which counts",
            ),
        ] {
            let problems = Aliases::parse(text).problems;
            let told_of: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(told_of, [told], "{text}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_used_leaves_the_others() {
        let aliases = Aliases::parse("a: b\nno alias\nx@y.test: b\nA: c\n\u{fffd}: b\nd: e\n");
        let expected = [("a", vec![named("b")]), ("d", vec![named("e")])];
        let expected = expected.map(|(name, targets)| (name.to_owned(), targets));
        assert_eq!(aliases.entries, BTreeMap::from(expected));
        let of_line = |problem: &Problem| (problem.line, problem.fault.is_refused());
        let lines: Vec<_> = aliases.problems.iter().map(of_line).collect();
        assert_eq!(lines, [(2, false), (3, true), (4, true), (5, false)]);
    }

    #[test]
    fn targets_may_have_comments_behind_and_blanks_between_them() {
        for (line, targets) in [
            ("root: a@x.test # the boss", vec![address("a@x.test")]),
            ("root: a#b", vec![named("a#b")]),
            ("root: b c", vec![named("b"), named("c")]),
            (
                "root: b@b.test\tc@c.test,d # e",
                vec![address("b@b.test"), address("c@c.test"), named("d")],
            ),
            ("root: # who?\n  b \u{fffd}# \u{fffd}\n", Vec::new()),
            (
                "root: b # \u{fffd}\n  # more\n  , c",
                vec![named("b"), named("c")],
            ),
        ] {
            let found = Aliases::parse(line).entries.remove("root");
            assert_eq!(found.unwrap_or_default(), targets, "{line}");
        }
    }

    #[test]
    fn mail_goes_nowhere_only_where_nothing_else_is_said() {
        let text = "a: /dev/null\nb: \"/dev/null\", c\nd: |x, /dev/null\n";
        let expected = [("a", vec![Target::Discard]), ("b", vec![named("c")])];
        let expected = expected.map(|(name, targets)| (name.to_owned(), targets));
        assert_eq!(Aliases::parse(text).entries, BTreeMap::from(expected));
    }

    #[test]
    fn a_refused_target_leaves_the_others() {
        let aliases = Aliases::parse("a: |x, b\nc: /y\n");
        assert_eq!(
            aliases.entries,
            BTreeMap::from([("a".to_owned(), vec![named("b")])])
        );
        assert_eq!(aliases.unserved, BTreeSet::from(["c".to_owned()]));
        assert!(aliases.problems.iter().all(|problem| problem.fault.is_refused()));
    }

    #[test]
    fn included_files_have_lines_of_addresses_and_include_no_others() {
        let (targets, problems) = included("# list\nbob@example.org\n\nalice, carol\n:include:/x\n|y\n");
        assert_eq!(
            targets,
            [address("bob@example.org"), named("alice"), named("carol")]
        );
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [5, 6]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[ -~\t\n\"\\\\:,@#|/]{0,80}") {
            let _ = (Aliases::parse(&text), included(&text));
        }
    }
}
