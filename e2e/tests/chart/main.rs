//! The chart, without nodes: what it renders, what the API server says to it, and what becomes of its objects when releases
//! come, change and go. `renders` needs helm only; the rest needs a bed.

mod monitoring;
mod policies;
mod release;
mod renders;
mod samples;
mod server;

use tokio::sync::Mutex;

/// Some of the chart's objects belong to the whole cluster: one release at a time.
static ONE_RELEASE: Mutex<()> = Mutex::const_new(());
