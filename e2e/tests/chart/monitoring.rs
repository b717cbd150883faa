//! Alerts and dashboard speak of metrics that the programs have.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::chart::{folder, root};

const PROGRAMS: [&str; 3] = ["provisioner", "scaler", "certmgr"];
/// What is put behind a name by its kind or unit.
const SUFFIXES: [&str; 3] = ["_total", "_bucket", "_seconds"];

#[test]
fn alerts_and_dashboard_name_only_metrics_that_programs_register() -> Result<()> {
    let mut checked = 0;
    for file in ["alerts.yaml", "dashboard.json"] {
        let text = fs::read_to_string(folder().join("files").join(file))?;
        for name in names(&text) {
            let program = PROGRAMS
                .into_iter()
                .find(|program| name.starts_with(&format!("keda_kaito_{program}_")));
            let program = program.with_context(|| format!("{file}: {name} is no program's"))?;
            let mut base = name
                .trim_start_matches("keda_kaito_")
                .trim_start_matches(program)
                .trim_start_matches('_');
            for suffix in SUFFIXES {
                base = base.strip_suffix(suffix).unwrap_or(base);
            }
            let quoted = format!("\"{base}\"");
            let places = [program, "runtime"].map(|package| root().join("crates").join(package).join("src"));
            let mut known = false;
            for place in &places {
                known |= spells(place, &quoted)?;
            }
            ensure!(known, "{file} names {name}, but {program} registers no {quoted}");
            checked += 1;
        }
    }
    ensure!(checked > 20, "only {checked} names were found");
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

fn spells(folder: &Path, text: &str) -> Result<bool> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = if path.is_dir() {
            spells(&path, text)?
        } else {
            fs::read_to_string(&path)?.contains(text)
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
