//! Says what decisions warn of as Events, and how they move in the log. It reads reports of rounds and decides nothing.

use std::collections::HashMap;

use keda_kaito_core::record::DecisionRecord;
use keda_kaito_runtime::events::Recorder;
use tokio::sync::{mpsc, watch};

use crate::engine::RoundReport;
use crate::registry::SetKey;
use crate::warnings::notice;

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
            let wishes: Vec<_> = report.records.iter().map(|record| record.desired).collect();
            if last.get(&report.key) != Some(&wishes) {
                log(&report);
                if last.len() >= MAX_REMEMBERED {
                    last.clear();
                }
                last.insert(report.key.clone(), wishes);
            }
            let api_version = self.api_version.borrow().clone();
            for warning in report.records.iter().flat_map(|record| &record.warnings) {
                let notice = notice(&report.key, &report.object.uid, &api_version, warning);
                self.recorder.publish(notice).await;
            }
        }
    }
}

fn log(report: &RoundReport) {
    for DecisionRecord { desired, reason, .. } in &report.records {
        tracing::info!(
            namespace = %report.key.namespace,
            name = %report.key.name,
            replicas = report.object.spec_replicas,
            desired,
            reason,
            "wanted replica count changed"
        );
    }
}
