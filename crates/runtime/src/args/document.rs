//! A program's flags as a table for its README, so that a test can compare the two.

use clap::{Arg, Command};

/// Every long flag of `command` (not of its subcommands) as a Markdown table: flag, default, environment variable,
/// meaning. Sorted by name; `--help` and `--version` are left out.
pub fn document(command: &Command) -> String {
    let mut flags: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| arg.get_long().is_some_and(|long| long != "help" && long != "version"))
        .collect();
    flags.sort_by_key(|arg| arg.get_long());
    let mut table = "| flag | default | environment | meaning |\n|---|---|---|---|\n".to_owned();
    for arg in flags {
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = if defaults.is_empty() || !arg.get_action().takes_values() {
            String::new()
        } else {
            quoted(&defaults.join(","))
        };
        let environment = arg.get_env().map(|name| quoted(&name.to_string_lossy())).unwrap_or_default();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let meaning = help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let long = arg.get_long().unwrap_or_default();
        table.push_str(&format!("| `--{long}` | {default} | {environment} | {meaning} |\n"));
    }
    table
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command};

    use super::document;

    #[test]
    fn every_long_flag_has_a_row() {
        let command = Command::new("program")
            .arg(Arg::new("b").long("beta").help("Second | of two").default_value("2"))
            .arg(Arg::new("a").long("alpha").help("First\nof two").action(ArgAction::SetTrue));
        assert_eq!(
            document(&command),
            "| flag | default | environment | meaning |\n|---|---|---|---|\n\
             | `--alpha` |  |  | First of two |\n\
             | `--beta` | `2` |  | Second \\| of two |\n"
        );
    }
}
