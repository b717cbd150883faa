//! Says what decisions warn of, and which way they turn, as Events, and how they move in the log. It reads reports of rounds and decides nothing.

use std::collections::HashMap;

use keda_kaito_runtime::events::Recorder;
use tokio::sync::{mpsc, watch};

use crate::engine::RoundReport;
use crate::registry::SetKey;
use crate::registry::decided::Decided;
use crate::warnings::{news_notice, notice};

/// InferenceSets whose last wish is remembered for the log.
const MAX_REMEMBERED: usize = 50_000;

/// Reads reports until the engine is gone.
pub struct Reporter {
    pub reports: mpsc::Receiver<RoundReport>,
    pub recorder: Recorder,
    /// The version spoken for InferenceSets, which Events must name.
    pub api_version: watch::Receiver<String>,
}

impl Reporter {
    /// Runs until the sender is dropped.
    pub async fn run(mut self) {
        let mut last: HashMap<SetKey, Vec<Option<u32>>> = HashMap::new();
        while let Some(report) = self.reports.recv().await {
            let wishes: Vec<_> = report.decisions.iter().map(|decided| decided.record.desired).collect();
            if last.get(&report.key) != Some(&wishes) {
                log(&report);
                if last.len() >= MAX_REMEMBERED {
                    last.clear();
                }
                last.insert(report.key.clone(), wishes);
            }
            let api_version = self.api_version.borrow().clone();
            for warning in report.decisions.iter().flat_map(|decided| &decided.record.warnings) {
                let notice = notice(&report.key, &report.object.uid, &api_version, warning);
                self.recorder.publish(notice).await;
            }
            if report.dropped > 0 {
                self.recorder.dropped(report.dropped, &report.key.namespace, &report.key.name);
            }
            for news in &report.news {
                let notice = news_notice(&report.key, &report.object.uid, &api_version, news);
                self.recorder.publish(notice).await;
            }
        }
    }
}

fn log(report: &RoundReport) {
    for Decided { id, record, .. } in &report.decisions {
        tracing::info!(
            namespace = %report.key.namespace,
            name = %report.key.name,
            replicas = report.object.spec_replicas,
            desired = record.desired,
            reason = record.reason,
            decision = %id,
            "wanted replica count changed"
        );
    }
}
