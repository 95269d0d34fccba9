//! Links lead somewhere.

use std::path::{Path, PathBuf};

use super::text::{anchors, guides, links, read, root};

fn documents() -> Vec<PathBuf> {
    let mut all = guides();
    all.push("README.md".into());
    all
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = read(&document);
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link
                .split_once('#')
                .map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap_or(Path::new("")).join(file),
            };
            let is_there = root().join(&target).exists();
            let is_in_it = anchor
                .is_none_or(|anchor| is_there && anchors(&read(&target)).iter().any(|one| one == anchor));
            if !is_there || !is_in_it {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn the_readme_leads_to_every_guide() {
    let found = links(&read("README.md"));
    for guide in guides() {
        let guide = guide.to_str().unwrap();
        assert!(
            found.iter().any(|link| link == guide),
            "{guide} is not linked from README.md"
        );
    }
}
