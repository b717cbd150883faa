use std::time::Duration;

use opentelemetry::trace::TraceId;

use super::config::{TraceConfig, Variables};
use super::filter;
use super::sampling::{Sampling, Upstream};
use super::spans::Parent;
use crate::args::TraceArgs;

/// What is read, and what is complained of.
fn read(flag: Option<&str>, variables: &[(&str, &str)]) -> Result<(Option<TraceConfig>, Vec<String>), String> {
    let args = TraceArgs {
        otlp_endpoint: flag.map(str::to_owned),
    };
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let mut variables = Variables::new(&variable);
    let config = TraceConfig::read(&args, &mut variables).map_err(|error| error.to_string())?;
    Ok((config, variables.complaints))
}

fn understood(flag: Option<&str>, variables: &[(&str, &str)]) -> Option<TraceConfig> {
    let (config, complaints) = read(flag, variables).unwrap();
    assert_eq!(complaints, Vec::<String>::new());
    config
}

fn sampling(variables: &[(&str, &str)]) -> Sampling {
    let endpoint = Some("http://collector:4317");
    understood(endpoint, variables).unwrap().sampling
}

const GENERIC: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://generic:4317");
const TRACES: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317");

#[test]
fn nearest_word_says_where_spans_go() {
    let endpoint = |flag, variables: &[_]| understood(flag, variables).map(|config| config.endpoint);
    assert_eq!(endpoint(None, &[]), None);
    assert_eq!(endpoint(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), None);
    assert_eq!(endpoint(None, &[GENERIC]).unwrap(), GENERIC.1);
    assert_eq!(endpoint(None, &[GENERIC, TRACES]).unwrap(), TRACES.1);
    assert_eq!(endpoint(Some("http://flag:1"), &[GENERIC, TRACES]).unwrap(), "http://flag:1");
    for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert_eq!(endpoint(Some("http://flag:1"), &[off]), None, "{off:?}");
    }
}

#[test]
fn standard_numbers_are_taken_over() {
    let config = understood(
        None,
        &[
            GENERIC,
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "700"),
            ("OTEL_BSP_SCHEDULE_DELAY", "250"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
            ("OTEL_SERVICE_NAME", "mine"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ],
    );
    let config = config.unwrap();
    assert_eq!((config.queue, config.batch), (100, 100), "no batch is larger than the queue");
    assert_eq!(config.delay, Duration::from_millis(250));
    assert_eq!(config.timeout, Duration::from_millis(1500));
    assert_eq!(config.service.as_deref(), Some("mine"));
}

#[test]
fn flag_that_cannot_be_followed_is_refused() {
    for bad in ["collector:4317", "https://collector:4317", "HTTP"] {
        let error = read(Some(bad), &[GENERIC]).unwrap_err();
        assert!(
            error.starts_with(&format!("--otlp-endpoint {bad:?} must start with http://")),
            "{error}"
        );
    }
}

#[test]
fn spans_are_not_sent_where_or_how_they_cannot_be() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
    ] {
        let (config, complaints) = read(None, &[(name, value), GENERIC]).unwrap();
        assert_eq!(config, None, "{name}");
        let [complaint] = &complaints[..] else {
            panic!("{complaints:?}")
        };
        assert!(complaint.starts_with(&format!("{name} {value:?} ")), "{complaint}");
        assert!(complaint.ends_with("; no spans are sent"), "{complaint}");
    }
    let others = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    assert_eq!(understood(None, &[others]), None, "nothing is to be sent");
    let by_flag = understood(Some("http://flag:1"), &[others, ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x")]);
    assert_eq!(by_flag.unwrap().endpoint, "http://flag:1", "the flag says where to and how");
}

#[test]
fn other_variables_that_cannot_be_followed_are_as_if_absent() {
    let usual = understood(None, &[GENERIC]).unwrap();
    for (name, value) in [
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1.5"),
    ] {
        let (config, complaints) = read(None, &[GENERIC, (name, value)]).unwrap();
        assert_eq!(config.as_ref(), Some(&usual), "{name}");
        let [complaint] = &complaints[..] else {
            panic!("{complaints:?}")
        };
        assert!(complaint.starts_with(&format!("{name} {value:?} is no")), "{complaint}");
        assert!(complaint.ends_with("; it is ignored"), "{complaint}");
    }
    let ratio = ("OTEL_TRACES_SAMPLER", "traceidratio");
    for share in ["7", "-0.1", "NaN", "half"] {
        let (config, complaints) = read(None, &[GENERIC, ratio, ("OTEL_TRACES_SAMPLER_ARG", share)]).unwrap();
        assert_eq!(config.unwrap().sampling, sampling(&[ratio]));
        let complaint = format!("OTEL_TRACES_SAMPLER_ARG {share:?} is not a number from 0 to 1; it is ignored");
        assert_eq!(complaints, [complaint]);
    }
    let timeouts = [
        GENERIC,
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "70"),
    ];
    let (config, _) = read(None, &timeouts).unwrap();
    assert_eq!(config.unwrap().timeout, Duration::from_millis(70));
}

#[test]
fn share_of_traces_that_is_kept_is_the_one_asked_for() {
    let ratio = |kind, argument| sampling(&[("OTEL_TRACES_SAMPLER", kind), ("OTEL_TRACES_SAMPLER_ARG", argument)]);
    let kept = |sampling: Sampling| (0..20_000).filter(|_| sampling.pick(None).is_some()).count();
    assert_eq!(kept(sampling(&[])), 20_000);
    assert_eq!(kept(ratio("always_off", "1")), 0);
    assert_eq!(kept(ratio("parentbased_always_off", "1")), 0);
    // Five standard deviations around 200.
    let few = kept(ratio("traceidratio", "0.01"));
    assert!((129..271).contains(&few), "{few}");
}

#[test]
fn caller_decides_unless_every_program_picks_for_itself() {
    let upstream = |sampled| Upstream {
        trace: TraceId::from(1_u128 << 100 | 7),
        sampled,
    };
    let caller = sampling(&[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]);
    assert_eq!(caller.pick(Some(upstream(true))), Some(upstream(true).trace));
    assert_eq!(sampling(&[]).pick(Some(upstream(false))), None);
    let own = sampling(&[("OTEL_TRACES_SAMPLER", "always_on")]);
    assert_eq!(own.pick(Some(upstream(false))), Some(upstream(false).trace));
}

#[test]
fn callers_are_named_as_the_standard_writes_it() {
    let sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert!(Parent::from_traceparent(sampled).is_some());
    assert!(Parent::from_traceparent(&format!("cc{}-later", sampled.trim_start_matches("00"))).is_some());
    for bad in [
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        assert_eq!(Parent::from_traceparent(bad), None, "{bad:?}");
    }
}

#[test]
fn client_that_logs_bodies_stays_quiet_whatever_is_asked_for() {
    for asked in ["info", "trace", "info,kube_client=debug", "kube_client::client=trace"] {
        let filter = filter(asked).unwrap().to_string();
        assert!(filter.contains("kube_client::client=off"), "{asked}: {filter}");
        assert!(!filter.contains("kube_client::client=trace"), "{asked}: {filter}");
    }
}

#[test]
fn filter_that_cannot_be_read_is_quoted() {
    for bad in [
        "",
        " ",
        "warning",
        "verbose",
        "debugg",
        "zzz=",
        "zzz=warning",
        "info,",
        "info,,warn",
        "info,keda_kaito_scaler",
        "lo=ud=er",
        "lo=ud=info",
    ] {
        let error = filter(bad).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--log-level {bad:?} is neither")), "{error}");
    }
}

#[test]
fn usual_filters_are_taken() {
    for (asked, taken) in [
        ("info", "info"),
        ("WARN", "warn"),
        ("Debug", "debug"),
        ("off", "off"),
        ("4", "debug"),
        ("info,keda_kaito_scaler::server=debug", "keda_kaito_scaler::server=debug,info"),
        ("info, kube_runtime=OFF", "kube_runtime=off,info"),
        ("keda_kaito_scaler=trace", "keda_kaito_scaler=trace"),
    ] {
        let filter = filter(asked).unwrap().to_string();
        assert_eq!(filter.replace("kube_client::client=off,", ""), taken, "{asked}");
    }
}
