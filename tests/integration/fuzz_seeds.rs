//! The fuzz targets without a fuzzer: every property over every seed, and over neighbours of the seeds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::fuzz::message2::sent;
use super::fuzz::returned::signed;
use super::fuzz::{Property, TARGETS};

/// How many neighbours of each kind a seed gets.
const NEIGHBOURS: usize = 16;

#[test]
fn every_target_holds_for_its_seeds_and_their_neighbours() {
    for (name, property) in TARGETS {
        for seed in files(&folder("corpus").join(name)) {
            let octets = std::fs::read(&seed).unwrap();
            check(*property, &octets, &seed);
            for neighbour in neighbours(&octets) {
                check(*property, &neighbour, &seed);
            }
        }
    }
}

#[test]
fn every_target_has_a_property_seeds_and_a_file() {
    let named: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(stems(&folder("fuzz_targets")), named);
    assert_eq!(stems(&folder("corpus")), named);
    for name in &named {
        assert!(
            files(&folder("corpus").join(name)).len() > 4,
            "few seeds for {name}"
        );
    }
}

#[test]
fn objects_that_are_accepted_are_among_the_seeds() {
    for (name, accepted) in [("dmime2", sent().concat()), ("returned", signed().to_vec())] {
        let seeds = files(&folder("corpus").join(name));
        let seeds: Vec<_> = seeds.iter().map(|seed| std::fs::read(seed).unwrap()).collect();
        assert!(accepted.iter().all(|object| seeds.contains(object)), "{name}");
    }
}

fn check(property: Property, octets: &[u8], seed: &Path) {
    // The panic itself has been printed by now; this says which input it was.
    let held = std::panic::catch_unwind(|| property(octets)).is_ok();
    assert!(
        held,
        "{} or a neighbour of it ({} octets)",
        seed.display(),
        octets.len()
    );
}

/// The seed cut short, longer, and with one bit changed, at places spread over it.
fn neighbours(seed: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let places = move |count: usize| (0..count).map(move |number| number * seed.len() / count);
    let cut = places(NEIGHBOURS).map(|place| seed[..place].to_vec());
    let flipped = places(NEIGHBOURS.min(seed.len())).map(|place| {
        let mut octets = seed.to_vec();
        octets[place] ^= 1 << (place % 8);
        octets
    });
    let longer = [&b"\0"[..], b"\r\n", seed].map(|end| [seed, end].concat());
    cut.chain(flipped).chain(longer)
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz")
        .join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn stems(folder: &Path) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files(folder).into_iter().map(stem).collect()
}
