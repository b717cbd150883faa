//! What the control API takes and answers, shared by its server and its client.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::answer::Form;
use super::lifecycle::Phase;
use super::settings::Settings;
use crate::queue::Totals;

/// One pod, as `GET /pods` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PodReport {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub ip: Option<Ipv4Addr>,
    pub inferenceset: Option<String>,
    pub workspace: Option<String>,
    /// Place in its Workspace; only 0 serves.
    pub index: u32,
    pub phase: Phase,
    pub terminating: bool,
    pub restarts: u32,
    pub waiting: f64,
    pub running: f64,
    pub kv_usage: f64,
    pub queue_time_sum: f64,
    pub queue_time_count: u64,
    pub requests: BTreeMap<Form, u64>,
    /// RFC 3339, to the millisecond.
    pub last_scrape: Option<String>,
    /// Connections accepted since the pod began.
    pub connections: u64,
    pub open_connections: u64,
}

impl PodReport {
    /// Requests of every metrics form together.
    #[must_use]
    pub fn scrapes(&self) -> u64 {
        [Form::Full, Form::Filtered, Form::Unfiltered]
            .iter()
            .filter_map(|form| self.requests.get(form))
            .sum()
    }
}

/// One InferenceSet, as `GET /inferencesets` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetReport {
    pub namespace: String,
    pub name: String,
    pub settings: Settings,
    pub totals: Totals,
    pub pods: usize,
}

/// An address for the next pod (of one InferenceSet, if named).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressOrder {
    pub address: Ipv4Addr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inferenceset: Option<String>,
}

/// Labels that some node must carry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    pub labels: BTreeMap<String, String>,
}

/// Why a call was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    pub error: String,
}
