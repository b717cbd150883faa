//! README.md and the program say the same about its flags.

use clap::CommandFactory;
use keda_kaito_runtime::args::document;
use keda_kaito_scaler::args::Cli;

#[test]
fn the_readme_lists_every_flag_as_it_is() {
    let readme = include_str!("../../../README.md");
    let table = document(&Cli::command());
    assert!(readme.contains(&table), "README.md should hold this table:\n{table}");
}
