//! What the cluster tests stand on: a stand-in for scheduler, kubelet and vLLM (`fleet`, also a program), its client,
//! and handles for the test bed's API server, for KEDA and for the programs under test. No test lives here.

pub mod audit;
pub mod bed;
pub mod cases;
pub mod chart;
pub mod chronicle;
pub mod collector;
pub mod demo;
pub mod fake_clock;
pub mod fault_proxy;
pub mod fleet;
pub mod fleet_client;
pub mod http_get;
pub mod keda;
pub mod programs;
pub mod queue;
pub mod vllm;
