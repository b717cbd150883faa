//! Alerts and dashboard speak of metrics that the programs have: those of docs/metrics.md, which the programs' own tests hold
//! against what they register.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Result, ensure};
use keda_kaito_e2e::chart::folder;

const PROGRAMS: [&str; 3] = ["provisioner", "scaler", "certmgr"];
const METRICS: &str = include_str!("../../../docs/metrics.md");

#[test]
fn alerts_and_dashboard_name_only_metrics_that_programs_register() -> Result<()> {
    let rows = METRICS
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut known = BTreeSet::new();
    for (name, rest) in rows {
        known.insert(name.to_owned());
        if rest.starts_with("histogram") {
            known.extend(["bucket", "sum", "count"].map(|end| format!("{name}_{end}")));
        }
    }
    let mut checked = 0;
    for file in ["alerts.yaml", "dashboard.json"] {
        // One expression may stand for several programs.
        let text = fs::read_to_string(folder().join("files").join(file))?;
        let texts = PROGRAMS.map(|program| text.replace("(scaler|provisioner|certmgr)", program));
        for name in texts.iter().flat_map(|text| names(text)) {
            ensure!(known.contains(name), "{file} names {name}, which no program registers");
            checked += 1;
        }
    }
    ensure!(checked > 60, "only {checked} names were found");
    Ok(())
}

fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    let wanted = words.filter(|word| {
        PROGRAMS
            .iter()
            .any(|program| word.starts_with(&format!("keda_kaito_{program}_")))
    });
    wanted.collect()
}
