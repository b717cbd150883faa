//! README.md and the program say the same about its flags.

use clap::CommandFactory;
use keda_kaito_provisioner::args::Cli;
use keda_kaito_runtime::args::document;

#[test]
fn the_readme_lists_every_flag_as_it_is() {
    let readme = include_str!("../../../README.md");
    let table = document(&Cli::command());
    assert!(readme.contains(&table), "README.md should hold this table:\n{table}");
}

#[test]
fn readme_explains_every_reason() {
    let readme = include_str!("../../../README.md");
    for reason in keda_kaito_provisioner::events::reasons() {
        assert!(readme.contains(&format!("`{reason}`")), "README.md should explain {reason}");
    }
}
