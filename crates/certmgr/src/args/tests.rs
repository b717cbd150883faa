//! Flags, defaults and complaints.

use clap::{CommandFactory, Parser};
use keda_kaito_core::credentials::Config;
use keda_kaito_runtime::args::Identity;

use super::{CertmgrArgs, Cli, Command};

fn parse(flags: &[&str]) -> CertmgrArgs {
    Cli::try_parse_from([&["certmgr"], flags].concat()).unwrap().args
}

fn identity(namespace: Option<&str>) -> Identity {
    Identity {
        name: "certmgr-0".to_owned(),
        namespace: namespace.map(str::to_owned),
    }
}

#[test]
fn defaults_are_valid_and_the_documented_ones() {
    Cli::command().debug_assert();
    let args = parse(&[]);
    args.validate().unwrap();
    assert_eq!(args.pace.config().unwrap(), Config::default());
}

#[test]
fn flags_that_cannot_work_are_named_with_their_values() {
    for (flags, complaint) in [
        (
            &["--leaf-renew-after", "90d"][..],
            "--leaf-renew-after 7776000s must be shorter than leaf-lifetime 7776000s",
        ),
        (
            &["--leaf-renew-jitter", "60d"],
            "--leaf-renew-jitter 5184000s must be shorter than leaf-renew-after 5184000s",
        ),
        (
            &["--authority-lifetime", "100d"],
            "--authority-lifetime 8640000s must be at least twice leaf-lifetime 7776000s",
        ),
        (
            &["--identify-minimum-age", "60d"],
            "--identify-minimum-age 5184000s must be shorter than leaf-renew-after 5184000s: each renewal restarts it",
        ),
        (
            &["--trust-minimum-age", "60d"],
            "--trust-minimum-age 5184000s must be shorter than leaf-renew-after 5184000s: each renewal restarts it",
        ),
        (
            &["--poll-interval", "0s"],
            "--poll-interval 0ns must be above zero and at most 1h",
        ),
        (
            &["--poll-interval", "2h"],
            "--poll-interval 7200s must be above zero and at most 1h",
        ),
        (
            &["--service-name", "Scaler"],
            "--service-name \"Scaler\" is not a DNS name in lower case",
        ),
        (
            &["--working-namespace", "a/b"],
            "--working-namespace \"a/b\" is not a DNS name in lower case",
        ),
        (
            &["--extra-dns-name", "*.x"],
            "--extra-dns-name \"*.x\" is not a DNS name in lower case",
        ),
    ] {
        let error = parse(flags).validate().unwrap_err();
        assert_eq!(error.to_string(), complaint);
    }
}

#[test]
fn leaves_carry_the_service_and_the_extra_names() {
    for (flags, namespace, server, client) in [
        (
            &[][..],
            None,
            "keda-kaito-scaler-svc keda-kaito-scaler-svc.keda keda-kaito-scaler-svc.keda.svc \
             keda-kaito-scaler-svc.keda.svc.cluster.local",
            "spiffe://cluster.local/ns/keda/sa/keda-operator",
        ),
        (
            &[
                "--working-namespace",
                "kube-system",
                "--cluster-domain",
                "x.test",
                "--service-name",
                "s",
            ],
            Some("release"),
            "s s.release s.release.svc s.release.svc.x.test",
            "spiffe://x.test/ns/kube-system/sa/keda-operator",
        ),
        (
            &[
                "--service-namespace",
                "n",
                "--service-name",
                "s",
                "--extra-dns-name",
                "localhost,10.0.0.1",
                "--extra-dns-name",
                "s.n",
            ],
            Some("release"),
            "s s.n s.n.svc s.n.svc.cluster.local localhost 10.0.0.1",
            "spiffe://cluster.local/ns/release/sa/keda-operator",
        ),
    ] {
        let args = parse(flags);
        args.validate().unwrap();
        let names = args.place.leaf_names(&identity(namespace));
        assert_eq!(names.server.join(" "), server);
        assert_eq!(names.client, client);
    }
}

#[test]
fn rotate_needs_a_reason() {
    assert!(Cli::try_parse_from(["certmgr", "rotate"]).is_err());
    let cli = Cli::try_parse_from(["certmgr", "rotate", "--reason", "key leaked"]).unwrap();
    let Some(Command::Rotate(args)) = cli.command else {
        panic!("no command")
    };
    assert_eq!(args.reason, "key leaked");
}
