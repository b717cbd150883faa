//! What tests measure: one line per time in the bed's `logs/times.txt`, which `--keep-logs` saves.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use anyhow::Result;

use crate::bed::Bed;

/// Adds one line: seconds, then what took them.
///
/// # Errors
/// When the file cannot be written.
pub fn note(bed: &Bed, what: &str, time: Duration) -> Result<()> {
    let file = bed.directory.join("logs/times.txt");
    let mut file = File::options().create(true).append(true).open(file)?;
    writeln!(file, "{:8.3}  {what}", time.as_secs_f64())?;
    Ok(())
}
