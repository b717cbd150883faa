//! The frame of a program, seen from outside: exit codes, signals, probes. Starts itself as that program.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test without the test harness, which clippy does not take for one"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use keda_kaito_runtime::args::CommonArgs;
use keda_kaito_runtime::error::ConfigError;
use keda_kaito_runtime::program::{About, Essential, ProcessContext, main_with};
use keda_kaito_runtime::telemetry;

const LIMIT: Duration = Duration::from_secs(20);
const ANY: [&str; 4] = ["--metrics-address", "127.0.0.1:0", "--health-address", "127.0.0.2:0"];

#[derive(Parser)]
struct Args {
    behaviour: String,
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    if std::env::var_os("BEHAVE").is_some() {
        let args = Args::parse();
        let about = About {
            name: "till",
            product: "shop",
            version: "1.2.3",
            metric_prefix: "shop",
        };
        return main_with(about, &args.common, |ctx| behave(args.behaviour.clone(), ctx));
    }
    let cases: [(&str, fn()); 11] = [
        ("serves_until_terminated", serves_until_terminated),
        (
            "essential_task_that_fails_ends_the_process",
            essential_task_that_fails_ends_the_process,
        ),
        ("program_that_just_returns_has_failed", program_that_just_returns_has_failed),
        ("bad_configuration_exits_with_2", bad_configuration_exits_with_2),
        (
            "variables_of_others_are_warned_of_and_stop_nothing",
            variables_of_others_are_warned_of_and_stop_nothing,
        ),
        ("second_signal_ends_at_once", second_signal_ends_at_once),
        ("taken_port_is_a_failure", taken_port_is_a_failure),
        (
            "missing_collector_delays_the_end_little",
            missing_collector_delays_the_end_little,
        ),
        (
            "collector_that_says_nothing_costs_spans_that_are_counted",
            collector_that_says_nothing_costs_spans_that_are_counted,
        ),
        (
            "trace_goes_on_below_the_callers_span_as_the_caller_samples",
            trace_goes_on_below_the_callers_span_as_the_caller_samples,
        ),
        (
            "lines_name_the_span_they_were_written_in",
            lines_name_the_span_they_were_written_in,
        ),
    ];
    for (name, case) in cases {
        case();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

async fn behave(behaviour: String, ctx: ProcessContext) -> anyhow::Result<()> {
    match behaviour.as_str() {
        "return" => Ok(()),
        "refuse" => Err(anyhow::Error::new(ConfigError::new("--tea \"none\" is not a tea")).context("failed to brew")),
        "stuck" => {
            ctx.readiness.gate("kettle", "boiling").open();
            std::future::pending().await
        }
        "fail" => {
            let mut tasks = Essential::new(ctx.shutdown.clone());
            tasks.spawn("kettle", async { Err::<(), _>(anyhow::anyhow!("boiled dry")) });
            tasks.join(Duration::from_secs(1)).await
        }
        _ => {
            let gate = ctx.readiness.gate("kettle", "boiling");
            let (cups, begun) = (std::env::var("CUPS").map_or(1, |cups| cups.parse().unwrap()), Instant::now());
            for _ in 0..cups {
                telemetry::root(|| tracing::info_span!(target: telemetry::SPANS, parent: None, "brew")).in_scope(|| gate.open());
            }
            let caller = std::env::var("TRACEPARENT").ok();
            let caller = caller.and_then(|caller| telemetry::Parent::from_traceparent(&caller));
            let brew = telemetry::root_below(caller, || tracing::info_span!(target: telemetry::SPANS, parent: None, "brew"));
            let leaf = telemetry::child_numbered(
                &brew,
                0xbad_cafe,
                |brew| tracing::info_span!(target: telemetry::SPANS, parent: brew, "leaf"),
            );
            leaf.in_scope(|| tracing::info!("steeped"));
            brew.in_scope(|| tracing::info!(spans = ?telemetry::ids(&brew), took = ?begun.elapsed(), "brewed"));
            let mut tasks = Essential::new(ctx.shutdown.clone());
            tasks.spawn("kettle", async move { ctx.shutdown.cancelled().await });
            tasks.join(Duration::from_secs(1)).await
        }
    }
}

fn serves_until_terminated() {
    let mut program = Program::start("serve", &ANY);
    let [metrics, health] = program.addresses()[..] else {
        panic!("two addresses")
    };
    assert_eq!(get(health, "/livez"), (200, "ok\n".to_owned()));
    eventually(|| get(health, "/readyz") == (200, "ok\n".to_owned()));
    let (status, body) = get(metrics, "/metrics");
    assert_eq!(status, 200);
    assert!(
        body.contains("shop_build_info{program=\"till\",version=\"1.2.3\"} 1"),
        "{body}"
    );
    assert_eq!(get(metrics, "/livez").0, 404);
    program.signal();
    let (code, log) = program.end();
    assert_eq!(code, 0, "{log}");
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
    assert!(log.contains("\"asked to stop\"") && log.contains("SIGTERM"), "{log}");
}

fn essential_task_that_fails_ends_the_process() {
    let (code, log) = Program::start("fail", &ANY).end();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("kettle") && log.contains("boiled dry"), "{log}");
}

fn program_that_just_returns_has_failed() {
    let (code, log) = Program::start("return", &ANY).end();
    assert_eq!(code, 1, "{log}");
}

fn bad_configuration_exits_with_2() {
    let (code, log) = Program::start("refuse", &ANY).end();
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("is not a tea"), "{log}");
    for (flag, value) in [
        ("--log-level", "lo=ud=er"),
        ("--log-level", "warning"),
        ("--otlp-endpoint", "collector:4317"),
        ("--otlp-endpoint", "http://"),
        ("--metrics-address", "everywhere"),
    ] {
        let (code, log) = Program::start("serve", &[flag, value]).end();
        assert_eq!(code, 2, "{log}");
        assert!(log.contains(flag) && log.contains(value), "{log}");
        assert!(!log.contains("serving"), "{log}");
    }
}

/// They are filled for a whole cluster at once.
fn variables_of_others_are_warned_of_and_stop_nothing() {
    let plain = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    for (variables, sends) in [
        (
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317"), ("CUPS", "1")],
            false,
        ),
        ([("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"), ("CUPS", "1")], false),
        ([("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"), ("CUPS", "1")], false),
        ([("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), plain], false),
        ([("OTEL_TRACES_SAMPLER", "foo"), plain], true),
    ] {
        let mut program = Program::start_with("serve", &ANY, &variables);
        let health = program.addresses()[1];
        eventually(|| get(health, "/readyz").0 == 200);
        program.signal();
        let (code, log) = program.end();
        assert_eq!(code, 0, "{log}");
        let warned: Vec<&str> = log.lines().filter(|line| line.contains("cannot be followed")).collect();
        let [warned] = warned[..] else { panic!("{log}") };
        let [(name, value), _] = variables;
        assert!(
            warned.contains("WARN") && warned.contains(name) && warned.contains(value),
            "{warned}"
        );
        assert_eq!(log.contains("sending spans"), sends, "{log}");
    }
}

fn second_signal_ends_at_once() {
    let mut program = Program::start("stuck", &ANY);
    let health = program.addresses()[1];
    eventually(|| get(health, "/readyz").0 == 200);
    program.signal();
    eventually(|| get(health, "/readyz") == (503, "shutdown: the process is stopping\n".to_owned()));
    program.signal();
    let (code, log) = program.end();
    assert_eq!(code, 1, "{log}");
}

fn taken_port_is_a_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, log) = Program::start("serve", &["--metrics-address", &address]).end();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains(&format!("failed to bind the admin address {address}")), "{log}");
}

fn missing_collector_delays_the_end_little() {
    let mut flags = ANY.to_vec();
    flags.extend(["--otlp-endpoint", "http://127.0.0.1:1"]);
    let mut program = Program::start("serve", &flags);
    let health = program.addresses()[1];
    eventually(|| get(health, "/readyz").0 == 200);
    program.signal();
    let asked = Instant::now();
    let (code, log) = program.end();
    assert_eq!(code, 0, "{log}");
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

/// It takes connections and never answers. Whoever ends a span does not wait for it.
fn collector_that_says_nothing_costs_spans_that_are_counted() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut flags = ANY.to_vec();
    flags.extend(["--otlp-endpoint", &endpoint]);
    let variables = [
        ("CUPS", "5000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "300"),
    ];
    let mut program = Program::start_with("serve", &flags, &variables);
    let metrics = program.addresses()[0];
    let count = |outcome: &str| -> u64 {
        let page = get(metrics, "/metrics").1;
        let begins = format!("shop_spans_total{{outcome=\"{outcome}\"}} ");
        page.lines()
            .find_map(|line| line.strip_prefix(&begins))
            .unwrap()
            .parse()
            .unwrap()
    };
    eventually(|| count("failed") >= 100 && count("queue_full") + count("failed") >= 4_900);
    assert_eq!(count("sent"), 0);
    program.signal();
    let asked = Instant::now();
    let (code, log) = program.end();
    assert_eq!(code, 0, "{log}");
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    assert_eq!(log.matches("the collector does not take spans").count(), 1, "{log}");
}

fn lines_name_the_span_they_were_written_in() {
    for (format, ends) in [("json", r#""trace_id":""#), ("text", " trace_id=")] {
        let mut flags = ANY.to_vec();
        flags.extend(["--otlp-endpoint", "http://127.0.0.1:1", "--log-format", format]);
        for (sampler, kept) in [("always_on", true), ("always_off", false)] {
            let mut program = Program::start_with("serve", &flags, &[("OTEL_TRACES_SAMPLER", sampler)]);
            let health = program.addresses()[1];
            eventually(|| get(health, "/readyz").0 == 200);
            program.signal();
            let (_, log) = program.end();
            let line = log.lines().find(|line| line.contains("brewed")).unwrap();
            assert_eq!(line.contains(ends), kept, "{line}");
            assert_eq!(line.contains("span_id"), kept, "{line}");
            let inside = |line: &str| line.contains("brewed") || line.contains("steeped");
            let others = log.lines().filter(|line| !inside(line));
            assert!(others.into_iter().all(|line| !line.contains("trace_id")), "{log}");
            assert!(format == "text" || line.starts_with('{') && line.ends_with('}'), "{line}");
        }
    }
}

fn trace_goes_on_below_the_callers_span_as_the_caller_samples() {
    let mut flags = ANY.to_vec();
    flags.extend(["--otlp-endpoint", "http://127.0.0.1:1"]);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    for (flag, kept) in [("01", true), ("00", false)] {
        let caller = format!("00-{trace}-b7ad6b7169203331-{flag}");
        let mut program = Program::start_with("serve", &flags, &[("TRACEPARENT", &caller)]);
        let health = program.addresses()[1];
        eventually(|| get(health, "/readyz").0 == 200);
        program.signal();
        let (_, log) = program.end();
        let line = |what: &str| log.lines().find(|line| line.contains(what)).unwrap();
        let whole = format!(r#""trace_id":"{trace}""#);
        assert_eq!(line("brewed").contains(&whole), kept, "{log}");
        assert_eq!(line("steeped").contains(&whole), kept, "{log}");
        // What has a number of its own goes by it.
        assert_eq!(line("steeped").contains(r#""span_id":"000000000badcafe""#), kept, "{log}");
    }
}

struct Program {
    child: Child,
    log: BufReader<ChildStderr>,
    seen: String,
}

impl Program {
    fn start(behaviour: &str, flags: &[&str]) -> Self {
        Self::start_with(behaviour, flags, &[])
    }

    fn start_with(behaviour: &str, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env("BEHAVE", "yes")
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .envs(variables.iter().copied())
            .arg(behaviour)
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            log,
            seen: String::new(),
        }
    }

    fn addresses(&mut self) -> Vec<SocketAddr> {
        while !self.seen.lines().any(|line| line.contains("addresses")) {
            assert!(self.log.read_line(&mut self.seen).unwrap() > 0, "{}", self.seen);
        }
        let line = self.seen.lines().find(|line| line.contains("addresses")).unwrap();
        line.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
            .filter_map(|word| word.parse().ok())
            .collect()
    }

    fn signal(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    fn end(mut self) -> (i32, String) {
        let deadline = Instant::now() + LIMIT;
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                panic!("did not end: {}", self.seen);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.log.read_to_string(&mut self.seen).unwrap();
        (self.child.wait().unwrap().code().unwrap(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails when it has ended, as it should have.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: till\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "it never came true");
        std::thread::sleep(Duration::from_millis(10));
    }
}
