//! CONFORMANCE.md is made of the rules in `conformance/rules.txt` and the tests that show each. It is current, and every
//! test it names exists. `UPDATE_CONFORMANCE=1 cargo test -p keda-kaito-provisioner --test conformance` writes it anew.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const RULES: &str = include_str!("conformance/rules.txt");
const HEAD: &str = "# Conformance\n\nWhat the provisioner promises, and the tests that show it. Generated from \
                    `crates/provisioner/tests/conformance/rules.txt`; a test keeps it current.\n";

/// One promise with the names of its tests.
struct Rule {
    section: String,
    says: String,
    tests: Vec<String>,
}

fn rules() -> Vec<Rule> {
    let (mut rules, mut section) = (Vec::<Rule>::new(), String::new());
    for line in RULES.lines().filter(|line| !line.is_empty()) {
        if let Some(title) = line.strip_prefix("# ") {
            title.clone_into(&mut section);
        } else if let Some(test) = line.strip_prefix("  ") {
            rules.last_mut().unwrap().tests.push(test.to_owned());
        } else {
            rules.push(Rule {
                section: section.clone(),
                says: line.to_owned(),
                tests: Vec::new(),
            });
        }
    }
    rules
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every test of the workspace with the files it is in, as paths below the checkout.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let mut folders = vec![root().join("crates"), root().join("e2e")];
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(root()).unwrap().display().to_string();
                for name in tests_in(&fs::read_to_string(&path).unwrap()) {
                    tests.entry(name).or_default().insert(file.clone());
                }
            }
        }
    }
    tests
}

/// Names of functions with a test's attribute, which other attributes may follow.
fn tests_in(source: &str) -> Vec<String> {
    let (mut names, mut marked) = (Vec::new(), false);
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if marked && !line.starts_with("#[") && !line.starts_with("//") {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            names.extend(function.and_then(|rest| rest.split('(').next()).map(str::to_owned));
            marked = false;
        }
    }
    names
}

fn document(rules: &[Rule], tests: &BTreeMap<String, BTreeSet<String>>) -> String {
    let (mut text, mut section) = (HEAD.to_owned(), String::new());
    for rule in rules {
        if rule.section != section {
            section.clone_from(&rule.section);
            writeln!(text, "\n## {section}\n\n| rule | shown by |\n|---|---|").unwrap();
        }
        let shown = rule.tests.iter().map(|test| {
            let files = tests.get(test).into_iter().flatten();
            let files: Vec<String> = files.map(|file| format!("[{test}]({file})")).collect();
            files.join(", ")
        });
        writeln!(text, "| {} | {} |", rule.says, shown.collect::<Vec<_>>().join("<br>")).unwrap();
    }
    text
}

#[test]
fn every_rule_has_tests_and_all_of_them_exist() {
    let tests = tests();
    let rules = rules();
    assert!(rules.len() > 40, "{} rules", rules.len());
    for rule in rules {
        assert!(!rule.tests.is_empty(), "nothing shows: {}", rule.says);
        for test in rule.tests {
            let files = tests.get(&test);
            assert!(
                files.is_some_and(|files| files.len() == 1),
                "{test} is in {files:?}: {}",
                rule.says
            );
        }
    }
}

#[test]
fn conformance_table_is_current() {
    let file = root().join("CONFORMANCE.md");
    let wanted = document(&rules(), &tests());
    if std::env::var_os("UPDATE_CONFORMANCE").is_some() {
        fs::write(&file, &wanted).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap();
    assert!(
        found == wanted,
        "CONFORMANCE.md is outdated: run this test with UPDATE_CONFORMANCE=1"
    );
}
