//! A real Prometheus with the chart's rules, sped up: what takes minutes takes seconds.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::bed::{Look, eventually};
use keda_kaito_e2e::{chart, http_get};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::WITHIN;

const ADDRESS: &str = "127.0.0.1:9390";

/// Running; killed when dropped.
pub(crate) struct Prometheus {
    address: SocketAddr,
    _child: Child,
}

/// One alert as Prometheus shows it.
type Labels = BTreeMap<String, String>;

impl Prometheus {
    /// Scrapes these, each a pod's name with its address, every second.
    pub(crate) fn start(directory: &Path, targets: &[(&str, SocketAddr)]) -> Result<Self> {
        let folder = directory.join("tmp/prometheus");
        fs::create_dir_all(&folder)?;
        let rules = fs::read_to_string(chart::folder().join("files/alerts.yaml"))?;
        fs::write(folder.join("alerts.yaml"), faster(&rules)?)?;
        let targets: Vec<Value> = targets
            .iter()
            // As the chart's PodMonitor has them.
            .map(|(pod, address)| json!({"targets": [address.to_string()], "labels": {"namespace": "keda", "pod": pod}}))
            .collect();
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [{"job_name": "keda-kaito-scaler", "honor_labels": true, "static_configs": targets}],
        });
        fs::write(folder.join("config.yaml"), config.to_string())?;
        let log = fs::File::create(directory.join("logs/prometheus.log"))?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("config.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={ADDRESS}"))
            .arg("--enable-feature=exemplar-storage")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("starting prometheus")?;
        Ok(Self {
            address: ADDRESS.parse()?,
            _child: child,
        })
    }

    /// Waits until all are scraped.
    pub(crate) async fn scrapes(&self, count: usize) -> Result<()> {
        eventually(WITHIN, &format!("Prometheus scrapes all {count}"), async || {
            let found = self.get("query?query=up%3D%3D1").await?;
            let up = found.pointer("/result").and_then(Value::as_array).map_or(0, Vec::len);
            Ok(Look::when(up == count, up))
        })
        .await?;
        Ok(())
    }

    /// Waits until the alert fires, some label of it saying `about`.
    pub(crate) async fn fires(&self, alert: &str, about: &str) -> Result<()> {
        self.fires_within(WITHIN, alert, about).await
    }

    pub(crate) async fn fires_within(&self, within: Duration, alert: &str, about: &str) -> Result<()> {
        eventually(within, &format!("{alert} fires about {about:?}"), async || {
            let firing = self.firing().await?;
            let fits = firing.iter().any(|labels| {
                labels.get("alertname").is_some_and(|name| name == alert) && labels.values().any(|value| value.contains(about))
            });
            Ok(Look::when(fits, firing))
        })
        .await?;
        Ok(())
    }

    /// Waits until it does not fire.
    pub(crate) async fn clears(&self, alert: &str) -> Result<()> {
        eventually(WITHIN, &format!("{alert} clears"), async || {
            let firing = self.firing().await?;
            let fires = firing
                .iter()
                .any(|labels| labels.get("alertname").is_some_and(|name| name == alert));
            Ok(Look::when(!fires, firing))
        })
        .await?;
        Ok(())
    }

    /// Waits until nothing fires.
    pub(crate) async fn quiet(&self) -> Result<()> {
        eventually(WITHIN, "no alert fires", async || {
            let firing = self.firing().await?;
            Ok(Look::when(firing.is_empty(), firing))
        })
        .await?;
        Ok(())
    }

    /// Names and types of all our families, as understood.
    pub(crate) async fn families(&self) -> Result<BTreeMap<String, String>> {
        let found = self.get("targets/metadata?limit=10000").await?;
        let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let families = found.as_array().context("no metadata")?.iter();
        let families = families.map(|entry| (text(entry, "metric"), text(entry, "type")));
        Ok(families.filter(|(name, _)| name.starts_with("keda_kaito_")).collect())
    }

    /// Labels of all our series.
    pub(crate) async fn series(&self) -> Result<Vec<Labels>> {
        let found = self.get("series?match[]=%7B__name__%3D~%22keda_kaito_.%2B%22%7D").await?;
        Ok(serde_json::from_value(found)?)
    }

    /// Labels of the exemplars of one metric.
    pub(crate) async fn exemplars(&self, metric: &str) -> Result<Vec<Value>> {
        let found = self
            .get(&format!("query_exemplars?query={metric}&start=0&end=9999999999"))
            .await?;
        let series = found.as_array().context("no series")?.iter();
        let exemplars = series.filter_map(|series| series.get("exemplars")?.as_array()).flatten();
        Ok(exemplars.filter_map(|exemplar| exemplar.get("labels").cloned()).collect())
    }

    async fn firing(&self) -> Result<Vec<Labels>> {
        let found = self.get("alerts").await?;
        let alerts = found.get("alerts").and_then(Value::as_array).context("no alerts")?.iter();
        let firing = alerts.filter(|alert| alert.get("state").and_then(Value::as_str) == Some("firing"));
        let labels = firing.filter_map(|alert| alert.get("labels").cloned());
        Ok(labels.map(serde_json::from_value).collect::<Result<_, _>>()?)
    }

    async fn get(&self, what: &str) -> Result<Value> {
        let reply = http_get::get(self.address, &format!("/api/v1/{what}")).await?;
        ensure!(reply.status.is_success(), "{what}: {} {}", reply.status, reply.text());
        let answer: Value = serde_json::from_slice(&reply.body)?;
        answer.get("data").cloned().context("an answer without data")
    }
}

/// Minutes of patience become fifths of a second, and rates look back over as many scrapes as they need.
fn faster(rules: &str) -> Result<String> {
    let mut all: Value = serde_yaml::from_str(rules)?;
    let rules = all
        .pointer_mut("/groups/0/rules")
        .and_then(Value::as_array_mut)
        .context("no rules")?;
    for rule in rules {
        let patience = rule.get("for").and_then(Value::as_str).context("an alert without patience")?;
        let minutes: u64 = match (patience.strip_suffix('m'), patience.strip_suffix('h')) {
            (Some(minutes), _) => minutes.parse()?,
            (_, Some(hours)) => 60 * hours.parse::<u64>()?,
            _ => anyhow::bail!("{patience:?} is neither minutes nor hours"),
        };
        let expression = rule
            .get("expr")
            .and_then(Value::as_str)
            .context("an alert without expression")?;
        let expression = expression.replace("[5m]", "[8s]").replace("[15m]", "[30s]");
        let faster = [("for", format!("{}ms", minutes * 200)), ("expr", expression)];
        let rule = rule.as_object_mut().context("a rule that is no object")?;
        rule.extend(faster.map(|(key, value)| (key.to_owned(), json!(value))));
    }
    Ok(serde_yaml::to_string(&all)?)
}
