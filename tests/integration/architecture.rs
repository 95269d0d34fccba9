//! Imports point one way, and pure modules stay pure. The map is the table in the documentation of `src/lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// What pure modules have no part in: runtime, sockets, files, the time of day, chance, logging.
const IMPURE: &[&str] = &[
    "tokio::",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::fs",
    "std::io::std",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "SystemClock",
    "rand::",
    "use tracing",
    "tracing::error!",
    "tracing::warn!",
    "tracing::info!",
    "tracing::debug!",
    "tracing::trace!",
    "println!",
    "sqlx::",
    "async fn",
    "metrics::",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules in the order of the map, lowest first.
fn map(lib: &str) -> Vec<&str> {
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | [`"));
    rows.filter_map(|row| row.split('`').next()).collect()
}

/// The modules that the documentation calls synchronous and deterministic.
fn pure(lib: &str) -> Vec<String> {
    let (list, _) = lib.split_once("are synchronous and").unwrap();
    let (_, list) = list.rsplit_once("\n//!\n").unwrap();
    list.split('`')
        .skip(1)
        .step_by(2)
        .map(|name| name.replace("::", "/"))
        .collect()
}

/// Every Rust file below `folder`, by its path from there, without unit tests.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let below = path.strip_prefix(folder).unwrap();
            if path.extension().is_some_and(|extension| extension == "rs") && !is_test(below) {
                found.push((below.to_owned(), code(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    found
}

fn is_test(path: &Path) -> bool {
    ["tests", "testing"].iter().any(|name| {
        path.file_stem().is_some_and(|stem| stem == *name) || path.iter().any(|part| part == *name)
    })
}

/// The text without comments and without the unit tests at its foot.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that a text imports or names: what follows `crate::`, one or several in braces.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.push(head(rest)),
        }
    }
    found
}

/// The first name of every member of a group, nested ones left out.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut member) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(head(&std::mem::take(&mut member))),
            _ if depth == 0 => member.push(c),
            _ => {}
        }
    }
    heads.push(head(&member));
    heads.retain(|head| !head.is_empty());
    heads
}

fn head(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The module of the map that a file belongs to.
fn module_of(file: &Path) -> String {
    let first = file.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn the_map_names_every_module_once() {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let mut declared: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let mut mapped = map(&lib);
    declared.sort_unstable();
    mapped.sort_unstable();
    assert_eq!(mapped, declared);
}

#[test]
fn modules_use_only_modules_listed_above_them() {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let map = map(&lib);
    let place = |name: &str| map.iter().position(|known| *known == name);
    let mut upward = Vec::new();
    for (file, text) in files(&source()) {
        let Some(own) = place(&module_of(&file)) else {
            continue;
        };
        for import in imports(&text) {
            if place(&import).is_none_or(|place| place > own) {
                upward.push(format!("{} uses crate::{import}", file.display()));
            }
        }
    }
    assert!(
        upward.is_empty(),
        "against the map in src/lib.rs:\n{}",
        upward.join("\n")
    );
}

#[test]
fn pure_modules_do_not_wait_look_or_log() {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let pure = pure(&lib);
    assert!(pure.len() >= 7, "{pure:?}");
    let mut found = Vec::new();
    let mut seen = vec![false; pure.len()];
    for (file, text) in files(&source()) {
        let module = file.with_extension("");
        let Some(index) = pure.iter().position(|name| module.starts_with(name)) else {
            continue;
        };
        seen[index] = true;
        for word in IMPURE.iter().filter(|word| text.contains(*word)) {
            found.push(format!("{}: {word}", file.display()));
        }
    }
    assert!(
        found.is_empty(),
        "in modules that src/lib.rs calls pure:\n{}",
        found.join("\n")
    );
    let missing: Vec<_> = pure.iter().zip(seen).filter(|(_, seen)| !seen).collect();
    assert!(missing.is_empty(), "no files of {missing:?}");
}

/// The reader of imports is itself held to what it must see.
#[test]
fn imports_are_seen_in_every_form() {
    let text = "use crate::mail::address::Domain;\nuse crate::{\n    dmtp::{client, server},\n    smtp,\n};\nlet x = crate::store::fold();";
    assert_eq!(imports(text), ["mail", "dmtp", "smtp", "store"]);
    assert_eq!(
        code("a // crate::cli\n#[cfg(test)]\nmod tests {\n crate::cli"),
        "a "
    );
}
