//! The three programs as the demo runs them, and what they cost. Starting and measuring only.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::story::Story;
use crate::bed::Bed;
use crate::cases::running;
use crate::programs::{Program, Usage};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// The programs, killed when dropped.
#[derive(Debug)]
pub(super) struct Running(Vec<Program>);

impl Running {
    pub(super) async fn start(bed: &Bed, story: &Story) -> Result<Self> {
        let begun = Instant::now();
        let logs = bed.directory.join("logs");
        let mut programs = Vec::new();
        for name in running::ALL {
            programs.push(Program::spawn(&logs, running::start(name))?);
        }
        for program in &mut programs {
            program.ready(READY_WITHIN).await?;
            story.tell(&format!(
                "{} is ready after {:.1} s",
                program.start.name.as_str(),
                begun.elapsed().as_secs_f64()
            ));
        }
        Ok(Self(programs))
    }

    /// Memory and processor time of each; one that cannot be read is left out.
    pub(super) fn usage(&self) -> Vec<(&'static str, Usage)> {
        let usage = |program: &Program| Some((program.start.name.as_str(), program.usage().ok()?));
        self.0.iter().filter_map(usage).collect()
    }
}
