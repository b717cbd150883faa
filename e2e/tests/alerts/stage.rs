//! What the faults happen to: the three programs, sending spans to nobody yet, with certificates that end soon; a second scaler
//! that may scrape nothing, and that KEDA does not know; a Prometheus that scrapes them all; and two InferenceSets whose HPAs
//! take the value for a total.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use keda_kaito_core::names;
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::documents::{InferenceSet, swift_scaled_object, trigger};
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::cases::{expect, running};
use keda_kaito_e2e::collector::Collector;
use keda_kaito_e2e::fake_clock::FakeClock;
use keda_kaito_e2e::fault_proxy::FaultProxy;
use keda_kaito_e2e::programs::{Name, Program, Start};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::prometheus::Prometheus;

const READY: Duration = Duration::from_secs(60);
const COLLECTOR: &str = "127.0.0.1:4317";
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 254, 11));
/// Lost and found within seconds.
const LEASE: [&str; 3] = [
    "--lease-duration=3s",
    "--lease-renew-deadline=2s",
    "--lease-retry-period=500ms",
];

pub(crate) struct Stage {
    pub(crate) bed: Bed,
    pub(crate) namespace: String,
    pub(crate) proxy: FaultProxy,
    pub(crate) prometheus: Prometheus,
    logs: PathBuf,
    certmgr: Option<Program>,
    scaler: Option<Program>,
    second: Option<Program>,
    /// Of certmgr.
    pub(crate) clock: FakeClock,
    provisioner: Option<Program>,
}

impl Stage {
    pub(crate) async fn set(bed: Bed, namespace: String) -> Result<Self> {
        let logs = bed.directory.join("logs");
        let clock = FakeClock::new(&bed.directory.join("tmp"), "certmgr")?;
        let proxy = FaultProxy::start(&bed.directory.join("tmp")).await?;
        let short = ["--leaf-lifetime=10d", "--leaf-renew-after=5d", "--leaf-renew-jitter=0s"];
        let certmgr = short.into_iter().fold(traced(Name::Certmgr), Start::argument);
        let mut provisioner = LEASE.into_iter().fold(traced(Name::Provisioner), Start::argument);
        provisioner.kubeconfig = Some(proxy.kubeconfig("provisioner", None)?);
        let mut certmgr = Program::spawn(&logs, certmgr)?;
        let mut scaler = Program::spawn(&logs, scaler())?;
        let mut provisioner = Program::spawn(&logs, provisioner)?;
        let second = Program::spawn(&logs, second().argument("--max-targets=0"))?;
        let programs = running::ALL.iter().map(|name| (name.as_str(), running::start(*name)));
        let targets: Vec<(&str, SocketAddr)> = programs
            .map(|(pod, start)| (pod, start.metrics_address()))
            .chain([("second", second.start.metrics_address())])
            .collect();
        let prometheus = Prometheus::start(&bed.directory, &targets)?;
        for program in [&mut certmgr, &mut scaler, &mut provisioner] {
            program.ready(READY).await?;
        }
        for name in ["swift", "late"] {
            InferenceSet::new(&namespace, name).create(&bed).await?;
            expect::serving(&bed, &namespace, name, 1).await?;
            let metadata = json!({"metricName": "vllm:num_requests_waiting", "threshold": "10"});
            let mut trigger = trigger(&namespace, name, &metadata);
            if name == "swift" {
                say(&mut trigger, "", "metricType", json!("Value"));
            }
            let mut object = swift_scaled_object(&namespace, name, 1, 5, &[trigger]);
            if name == "late" {
                // Nobody but the test changes its count, and it is asked about seldom.
                let paused = json!({"autoscaling.keda.sh/paused": "true"});
                say(&mut object, "/metadata", "annotations", paused);
            }
            bed.create(Kind::SCALED_OBJECT, &namespace, &object).await?;
        }
        prometheus.scrapes(targets.len()).await?;
        Ok(Self {
            bed,
            namespace,
            proxy,
            prometheus,
            logs,
            certmgr: Some(certmgr),
            scaler: Some(scaler),
            second: Some(second),
            clock,
            provisioner: Some(provisioner),
        })
    }

    /// From now on certificates last as long as usual, and certmgr looks at its clock every second.
    pub(crate) async fn lasting_certificates(&mut self) -> Result<()> {
        if let Some(certmgr) = self.certmgr.take() {
            certmgr.stop().await?;
        }
        let start = LEASE.into_iter().fold(traced(Name::Certmgr), Start::argument);
        let mut start = self.clock.over(start.argument("--poll-interval=1s"));
        start.kubeconfig = Some(self.proxy.kubeconfig("certmgr", None)?);
        let mut certmgr = Program::spawn(&self.logs, start)?;
        for secret in [names::SERVER_SECRET, names::CLIENT_SECRET] {
            self.bed.delete(Kind::SECRET, "keda", secret).await?;
        }
        certmgr.ready(READY).await?;
        self.certmgr = Some(certmgr);
        Ok(())
    }

    /// The second scaler scrapes as the first does from now on, and reaches the API server through the proxy.
    pub(crate) async fn open_eyes(&mut self) -> Result<()> {
        self.stop_second().await?;
        let mut start = second();
        start.kubeconfig = Some(self.proxy.kubeconfig("second", None)?);
        let mut program = Program::spawn(&self.logs, start)?;
        program.ready(READY).await?;
        self.second = Some(program);
        Ok(())
    }

    pub(crate) async fn stop_second(&mut self) -> Result<()> {
        match self.second.take() {
            Some(program) => program.stop().await.map(|_status| ()),
            None => Ok(()),
        }
    }

    /// Somebody listens to spans for as long as this lives.
    pub(crate) async fn collect(&self) -> Result<Collector> {
        Collector::start(&self.bed.directory, COLLECTOR.parse()?).await
    }

    pub(crate) async fn kill_scaler(&mut self) -> Result<()> {
        match self.scaler.take() {
            Some(scaler) => scaler.kill().await,
            None => Ok(()),
        }
    }

    /// All three end at once; returns how they were started.
    pub(crate) async fn kill_all(&mut self) -> Result<Vec<Start>> {
        let mut starts = Vec::new();
        for program in [&mut self.certmgr, &mut self.scaler, &mut self.provisioner] {
            if let Some(program) = program.take() {
                starts.push(program.start.clone());
                program.kill().await?;
            }
        }
        Ok(starts)
    }

    pub(crate) async fn revive(&mut self, starts: Vec<Start>) -> Result<()> {
        for start in starts {
            let own = match start.name {
                Name::Certmgr => &mut self.certmgr,
                Name::Scaler => &mut self.scaler,
                Name::Provisioner => &mut self.provisioner,
            };
            own.insert(Program::spawn(&self.logs, start)?).ready(READY).await?;
        }
        Ok(())
    }

    /// Says something that is no TLS where KEDA calls.
    pub(crate) async fn call_without_tls(&self) -> Result<()> {
        let mut stream = TcpStream::connect((scaler().address, 10450)).await?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        // Until it is turned away, with or without a word.
        let _refused = stream.read_to_end(&mut Vec::new()).await;
        Ok(())
    }

    pub(crate) async fn start_scaler(&mut self) -> Result<()> {
        let mut program = Program::spawn(&self.logs, scaler())?;
        program.ready(READY).await?;
        self.scaler = Some(program);
        Ok(())
    }
}

/// Puts a value below what is at `pointer`.
fn say(object: &mut Value, pointer: &str, key: &str, value: Value) {
    if let Some(map) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
        map.insert(key.to_owned(), value);
    }
}

fn scaler() -> Start {
    scraping(traced(Name::Scaler))
}

fn second() -> Start {
    scraping(Start::new(Name::Scaler, SECOND))
}

fn scraping(start: Start) -> Start {
    start.argument("--scrape-interval=1s").argument("--replica-deadline=5s")
}

fn traced(name: Name) -> Start {
    let mut start = running::start(name).argument(format!("--otlp-endpoint=http://{COLLECTOR}"));
    start.environment = vec![
        ("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "200".to_owned()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT".to_owned(), "1000".to_owned()),
    ];
    start
}
