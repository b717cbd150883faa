use std::time::Duration;

use clap::Parser;

use super::{CommonArgs, Identity, LeaseArgs, LogFormat, duration};

#[derive(Parser, Debug)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    lease: LeaseArgs,
}

#[test]
fn durations_are_sums_of_numbers_with_units() {
    for (text, millis) in [
        ("60s", 60_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("500ms", 500),
        ("2d", 172_800_000),
        ("0s", 0),
        (" 1m ", 60_000),
        ("1m500ms", 60_500),
    ] {
        assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
}

#[test]
fn durations_without_a_known_unit_are_refused_with_a_reason() {
    for (text, reason) in [
        ("60", "\"60\" has no unit; did you mean \"60s\"?"),
        ("", "empty duration"),
        ("s", "\"s\" is not a duration"),
        ("-5s", "\"-5s\" is not a duration"),
        ("1.5s", "\"1.5s\" has no unit"),
        ("5 m", "\"5 m\" has no unit"),
        ("1h30", "\"1h30\" has no unit"),
        ("3w", "\"3w\" has the unknown unit \"w\""),
        ("99999999999999999999s", "too long a duration"),
        ("4294967296s", "too long a duration"),
    ] {
        let error = duration(text).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn defaults_are_the_documented_ones() {
    let cli = Cli::try_parse_from(["program"]).unwrap();
    assert_eq!(cli.common.log.log_format, LogFormat::Json);
    assert_eq!(cli.common.log.log_level, "info");
    assert_eq!(cli.common.trace.otlp_endpoint, None);
    assert_eq!(cli.common.admin.metrics_address.to_string(), "0.0.0.0:10451");
    assert_eq!(cli.common.admin.health_address.to_string(), "0.0.0.0:10452");
    assert_eq!(cli.lease.lease_duration, Duration::from_secs(15));
    assert_eq!(cli.lease.lease_renew_deadline, Duration::from_secs(10));
    assert_eq!(cli.lease.lease_retry_period, Duration::from_secs(2));
}

#[test]
fn every_flag_has_help_text() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
    for argument in Cli::command().get_arguments() {
        assert!(argument.get_help().is_some(), "{}", argument.get_id());
    }
}

#[test]
fn identity_prefers_the_downward_api() {
    let identity = Identity::from_vars(|key| Some(format!("value of {key}")));
    assert_eq!(identity.name, "value of POD_NAME");
    assert_eq!(identity.namespace.as_deref(), Some("value of POD_NAMESPACE"));
}

#[test]
fn identity_outside_a_cluster_names_host_and_process() {
    let identity = Identity::from_vars(|_key| Some(String::new()));
    assert!(identity.name.ends_with(&format!("-{}", std::process::id())), "{identity:?}");
    assert!(identity.name.len() > std::process::id().to_string().len() + 1, "{identity:?}");
    assert_eq!(identity.namespace, None);
}
