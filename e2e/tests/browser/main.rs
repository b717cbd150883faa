//! The scaler's page in a real browser, Debian's chromium without a screen. Where there is none, `cargo xtask test` says so.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keda_kaito_core::explain::Explanation;
use keda_kaito_e2e::cases::documents::{InferenceSet, swift_scaled_object, trigger};
use keda_kaito_e2e::cases::expect;
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::cases::running::{self, EXPLAIN};
use keda_kaito_e2e::http_get;
use serde_json::json;
use tokio::process::Command;

const WAITING: &str = "vllm:num_requests_waiting";
/// A first start of the browser on a busy machine.
const OPENED_WITHIN: Duration = Duration::from_secs(60);

/// A page as it is once its script has run, and what the browser complained of.
struct Page {
    document: String,
    complaints: String,
}

async fn open(url: &str) -> Result<Page> {
    let profile = tempfile::tempdir()?;
    let run = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--no-first-run", "--disable-background-networking", "--no-proxy-server"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom"])
        // A name that somebody else made mean this machine.
        .arg("--host-resolver-rules=MAP rebound.example 127.0.0.1")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(OPENED_WITHIN, run).await??;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "chromium: {}: {complaints}", output.status);
    Ok(Page {
        document: String::from_utf8(output.stdout)?,
        complaints: complaints.lines().filter(|line| line.contains("CONSOLE")).collect(),
    })
}

/// Opens the page until it shows all of that.
async fn shows(url: &str, parts: &[&str]) -> Result<()> {
    let begun = Instant::now();
    loop {
        let seen = open(url).await;
        let Err(problem) = seen.and_then(|page| page.shows(parts)) else {
            return Ok(());
        };
        let late = begun.elapsed() >= OPENED_WITHIN;
        ensure!(!late, "{url}: {problem:#}");
    }
}

impl Page {
    fn shows(&self, parts: &[&str]) -> Result<()> {
        let Self { document, complaints } = self;
        ensure!(complaints.is_empty(), "{complaints}");
        let missing = parts.iter().find(|part| !document.contains(**part));
        ensure!(missing.is_none(), "{missing:?} is not in {document}");
        Ok(())
    }
}

#[tokio::test]
async fn the_page_shows_the_fleet_and_each_inferencesets_timeline() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("page", async |namespace| {
        InferenceSet::new(&namespace, "phi").create(&bed).await?;
        bed.fleet.set(&namespace, "phi", json!({"waiting": 4})).await?;
        let ours = trigger(&namespace, "phi", &json!({"metricName": WAITING, "threshold": "10"}));
        let object = swift_scaled_object(&namespace, "phi", 1, 2, &[ours]);
        bed.create(Kind::SCALED_OBJECT, &namespace, &object).await?;
        expect::metric(&bed, &namespace, "phi", &format!("s0-{WAITING}"), 4.0).await?;
        let path = format!("/explain/{namespace}/phi");
        let told: Explanation = serde_json::from_slice(&http_get::get(EXPLAIN, &path).await?.body)?;
        let first = told.triggers.iter().find_map(|trigger| trigger.decisions.last());
        let id = first.map(|entry| entry.id.to_string()).unwrap_or_default();
        ensure!(!id.is_empty(), "nothing was decided: {told:#?}");

        let name = format!("{namespace}/phi");
        let here = format!("http://{EXPLAIN}/");
        shows(&here, &[&name, &format!("#/{name}"), "the sum over 1 replicas is 4"]).await?;
        let parts = [&id, "phi-", "serving", "KEDA was told 4", "output=svg"];
        shows(&format!("{here}#/{name}"), &parts).await?;
        // The picture by itself is one a browser draws.
        shows(&format!("http://{EXPLAIN}{path}?output=svg"), &["<svg", WAITING, "up 10"]).await
    })
    .await
}

#[tokio::test]
async fn a_page_under_a_strangers_name_is_told_nothing() -> Result<()> {
    running::bed().await?;
    let Page { document, .. } = open(&format!("http://rebound.example:{}/explain", EXPLAIN.port())).await?;
    ensure!(
        document.contains("must be localhost") && !document.contains("inferenceSets"),
        "{document}"
    );
    Ok(())
}
