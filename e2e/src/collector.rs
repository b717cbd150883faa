//! An OpenTelemetry Collector of the test bed's own: spans come in by OTLP over gRPC, and what came is read back.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::bed::{Look, eventually};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// A running Collector; killed when dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: PathBuf,
    _child: Child,
}

/// One span as it was sent.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Empty for the first of a trace.
    pub parent: String,
    /// Nanoseconds of Unix time.
    pub start: i128,
    pub end: i128,
    /// Trace and span of what it is linked to.
    pub links: Vec<(String, String)>,
    attributes: Vec<(String, String)>,
}

impl Collector {
    /// Starts it at `address`; files go below `directory`.
    ///
    /// # Errors
    /// When it is not in the bed, or does not listen in time.
    pub async fn start(directory: &Path, address: SocketAddr) -> Result<Self> {
        let folder = directory.join("tmp/collector");
        fs::create_dir_all(&folder)?;
        let (config, spans) = (folder.join("config.yaml"), folder.join("spans.json"));
        let text = serde_json::json!({
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": address.to_string()}}}},
            "exporters": {"file": {"path": spans, "flush_interval": "100ms"}},
            "service": {"pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}}},
        });
        fs::write(&config, text.to_string())?;
        let log = fs::File::create(directory.join("logs/collector.log"))?;
        let child = Command::new("collector")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("starting the Collector")?;
        eventually(READY_WITHIN, "the Collector listens", async || {
            TcpStream::connect(address).await?;
            Ok(Look::Met(()))
        })
        .await?;
        Ok(Self {
            address,
            spans,
            _child: child,
        })
    }

    /// What programs send to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything received so far.
    ///
    /// # Errors
    /// When what it wrote is not OTLP in JSON.
    pub fn spans(&self) -> Result<Vec<Span>> {
        let text = fs::read_to_string(&self.spans).unwrap_or_default();
        let mut spans = Vec::new();
        // The last line may still be being written.
        let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
        for line in whole.lines() {
            let batch: Value = serde_json::from_str(line).context("reading what the Collector wrote")?;
            for resource in items(&batch, "resourceSpans") {
                let service = attribute(resource.pointer("/resource").unwrap_or(&Value::Null), "service.name");
                for scope in items(resource, "scopeSpans") {
                    let read = |span: &Value| Span::read(service.as_deref().unwrap_or_default(), span);
                    spans.extend(items(scope, "spans").map(read));
                }
            }
        }
        Ok(spans)
    }
}

impl Span {
    fn read(service: &str, span: &Value) -> Self {
        let text = |key: &str| span.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let nanos = |key: &str| text(key).parse().unwrap_or(0);
        let links = items(span, "links").map(|link| {
            let part = |key: &str| link.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            (part("traceId"), part("spanId"))
        });
        let pairs = items(span, "attributes").filter_map(|pair| Some((pair.get("key")?.as_str()?.to_owned(), value(pair)?)));
        Self {
            service: service.to_owned(),
            name: text("name"),
            trace: text("traceId"),
            id: text("spanId"),
            parent: text("parentSpanId"),
            start: nanos("startTimeUnixNano"),
            end: nanos("endTimeUnixNano"),
            links: links.collect(),
            attributes: pairs.collect(),
        }
    }

    /// An attribute as text.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn attribute(value: &Value, key: &str) -> Option<String> {
    items(value, "attributes")
        .find(|pair| pair.get("key").and_then(Value::as_str) == Some(key))
        .and_then(self::value)
}

/// Whatever its type; whole numbers come as text.
fn value(pair: &Value) -> Option<String> {
    let (_kind, value) = pair.get("value")?.as_object()?.iter().next()?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}
