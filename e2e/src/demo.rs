//! The product shown working: two acts on a real control plane, told live and summed up on one screen.
//! What counts as success is in `demo::verdict`; everything else only drives and tells.

mod acts;
mod follow;
mod programs;
mod story;
mod verdict;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::bed::Bed;
use story::Story;

/// Runs the demo inside a test bed; success only if the replicas moved as they should.
///
/// # Errors
/// When the bed or a program fails, with what was seen last.
pub async fn run() -> Result<ExitCode> {
    let story = Arc::new(Story::begin());
    let bed = Bed::from_env().await?;
    story.chapter("the three programs start");
    let programs = programs::Running::start(&bed, &story)
        .await
        .context("starting the programs")?;

    story.chapter("act 1: the InferenceSet of KAITO's documentation, unchanged (threshold 10 waiting requests per replica)");
    let documented = acts::documented(&bed, &story).await.context("act 1")?;
    story.chapter("act 2: a policy on two metrics with short cooldowns, up and down again");
    let policy = acts::policy(&bed, &story).await.context("act 2")?;

    let succeeded = verdict::print(&story, &[documented, policy], &programs.usage());
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
