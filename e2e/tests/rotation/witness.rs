//! What KEDA and the scaler themselves say about calls: KEDA's error counters, its log, its Events, the HPAs, and the
//! scaler's counters of calls and connections.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::objects::{Kind, text};
use keda_kaito_e2e::http_get;
use keda_kaito_e2e::programs::Program;
use serde_json::Value;

use crate::caller::NUDGE;

const KEDA_METRICS: &str = "127.0.0.1:16080";
/// What may become of a connection while all goes well. KEDA does not close connections it has given up: they come back
/// with certificates that are retired by then, or no longer know ours. Go shows no certificate at all to a server that does
/// not name its issuer among those it accepts.
const FINE: [&str; 4] = [
    "accepted",
    "certificate_missing",
    "certificate_unknown_issuer",
    "refused_by_peer",
];

/// With each new generation of a ScaledObject KEDA throws away what it has built for it, and answers an HPA that asks in
/// that very moment like this, without a call to the scaler. The HPA keeps its count and asks again.
const REBUILDING: &str = "no matching metrics found";

/// Counters at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Witness {
    at: Timestamp,
    log: u64,
    /// KEDA's counters of errors.
    errors: BTreeMap<String, f64>,
    /// The scaler replicas' counters, by replica and series.
    scaler: BTreeMap<String, f64>,
}

/// What has happened since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Testimony {
    /// Calls the scaler has answered well, whoever called.
    pub(crate) answered: f64,
    /// Calls told to come again with a new certificate.
    pub(crate) nudged: f64,
    /// Connections of KEDA's that came back with what is retired.
    pub(crate) abandoned: f64,
}

impl Witness {
    pub(crate) async fn now(bed: &Bed, scalers: &[Program]) -> Result<Self> {
        let at = Timestamp::now();
        let log = fs::metadata(bed.directory.join("logs/keda-operator.log"))?.len();
        let keda = http_get::get(KEDA_METRICS.parse()?, "/metrics").await?.text();
        ensure!(
            series(&keda).any(|(name, _)| name.starts_with("keda_")),
            "KEDA counts nothing of its own"
        );
        let errors = series(&keda).filter(|(name, _)| name.starts_with("keda_") && name.contains("_errors"));
        let errors = errors.collect();
        let mut scaler = BTreeMap::new();
        for program in scalers {
            let text = program.metrics().await?;
            for (name, value) in series(&text) {
                scaler.insert(format!("{} {name}", program.start.pod), value);
            }
        }
        Ok(Self { at, log, errors, scaler })
    }

    /// Nobody has said anything bad between `self` and `later`.
    pub(crate) async fn until(&self, later: &Self, bed: &Bed, namespace: &str) -> Result<Testimony> {
        self.keda_until(later, bed, namespace).await?;
        self.scalers_until(later)
    }

    /// KEDA has no complaint about anything but another namespace: it counts and logs errors of those that are being deleted.
    pub(crate) async fn keda_until(&self, later: &Self, bed: &Bed, namespace: &str) -> Result<()> {
        let elsewhere = |name: &str| name.contains("namespace=\"") && !name.contains(&format!("namespace=\"{namespace}\""));
        for (name, value) in later.errors.iter().filter(|(name, _)| !elsewhere(name)) {
            let before = self.errors.get(name).copied().unwrap_or(0.0);
            ensure!(*value <= before, "KEDA counts errors: {name} went from {before} to {value}");
        }
        let log = fs::read(bed.directory.join("logs/keda-operator.log"))?;
        let new = log.get(usize::try_from(self.log)?..).unwrap_or_default();
        let new = String::from_utf8_lossy(new);
        let bad: Vec<_> = new.lines().filter(|line| is_complaint(line, namespace)).take(5).collect();
        ensure!(bad.is_empty(), "KEDA's operator complains:\n{}", bad.join("\n"));
        for event in bed.list(Kind::EVENT, namespace).await? {
            let reason = text(&event, "/reason");
            let message = text(&event, "/message");
            let bad = reason == "KEDAScalerFailed" || reason.starts_with("FailedGet") || reason == "FailedComputeMetricsReplicas";
            let earlier = last_seen(&event).is_some_and(|seen| seen < self.at);
            ensure!(earlier || !bad || message.contains(REBUILDING), "{reason}: {message}");
        }
        Ok(())
    }

    /// The scaler replicas have turned away nobody who is not retired.
    pub(crate) fn scalers_until(&self, later: &Self) -> Result<Testimony> {
        let mut testimony = Testimony::default();
        let mut unavailable = 0.0;
        for (name, value) in &later.scaler {
            let more = value - self.scaler.get(name).copied().unwrap_or(0.0);
            if name.contains("_calls_total{") {
                if name.contains("code=\"OK\"") {
                    testimony.answered += more;
                } else if name.contains("code=\"Unavailable\"") {
                    unavailable += more;
                } else {
                    ensure!(more == 0.0, "calls have failed: {name} rose by {more}");
                }
            } else if name.contains("_callers_nudged_total") {
                testimony.nudged += more;
            } else if name.contains("_connections_total{") && !name.contains("\"accepted\"") {
                let fine = FINE.iter().any(|outcome| name.contains(&format!("\"{outcome}\"")));
                ensure!(fine || more == 0.0, "connections have failed: {name} rose by {more}");
                testimony.abandoned += more;
            }
        }
        ensure!(
            unavailable <= testimony.nudged,
            "{unavailable} calls were refused, of which {} to have the certificate replaced",
            testimony.nudged
        );
        Ok(testimony)
    }
}

fn last_seen(event: &Value) -> Option<Timestamp> {
    let times = ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times.iter().find_map(|time| text(event, time).parse().ok())
}

/// Series and values of a page.
fn series(page: &str) -> impl Iterator<Item = (String, f64)> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    })
}

/// A line of KEDA's that is worse than information. That a ScaledObject without an epoch was told to read its credentials
/// again is none, as long as the call it repeats then succeeds: else another line says so.
fn is_complaint(line: &str, namespace: &str) -> bool {
    let Ok(line) = serde_json::from_str::<Value>(line) else {
        return false;
    };
    let names = |(key, value): (&String, &Value)| {
        let named = value.as_str().filter(|_| key.to_lowercase().ends_with("namespace"));
        named.is_some_and(|named| ![namespace, "keda", ""].contains(&named))
    };
    if line.as_object().is_some_and(|fields| fields.iter().any(names)) {
        return false;
    }
    let told = text(&line, "/logger") == "external_scaler" && text(&line, "/error").contains(NUDGE);
    text(&line, "/level") != "info" && !told
}
