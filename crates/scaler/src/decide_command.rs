//! `scaler decide`: decision inputs as JSON Lines in, decision records as JSON Lines out. A filter over the same call that
//! the live scaler makes; it reads no cluster and keeps nothing between lines.

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use keda_kaito_core::legible::legible;
use keda_kaito_core::record::{DecisionInput, decide};

/// Longest line read: a fleet of some hundred replicas with full windows.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// Most characters of a sentence about a bad line, which it may quote.
const MAX_SENTENCE: usize = 400;

/// Answers every line of `reader` with one line on `writer`. A line that cannot be answered is named on `errors` by its
/// number and skipped; the exit code is then 2. Empty lines are passed over. Exit code 1: reading or writing failed.
pub fn run(reader: impl BufRead, writer: impl Write, mut errors: impl Write) -> ExitCode {
    match answer_all(reader, writer, &mut errors) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(2),
        // `head` on the other end has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell if this fails too.
            writeln!(errors, "cannot go on: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

/// How many lines were bad.
fn answer_all(mut reader: impl BufRead, mut writer: impl Write, errors: &mut impl Write) -> io::Result<usize> {
    let mut bad = 0;
    let mut line = Vec::new();
    for number in 1_usize.. {
        line.clear();
        if reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Err(sentence) = answer(&line, &mut writer)? {
            bad += 1;
            writeln!(errors, "line {number}: {sentence}")?;
        }
        if is_cut(&line) {
            skip_line(&mut reader)?;
        }
    }
    writer.flush()?;
    Ok(bad)
}

/// Writes the record, or says why there is none.
fn answer(line: &[u8], writer: &mut impl Write) -> io::Result<Result<(), String>> {
    if is_cut(line) {
        return Ok(Err(format!("longer than {MAX_LINE} bytes")));
    }
    let input: DecisionInput<'_> = match serde_json::from_slice(line) {
        Ok(input) => input,
        Err(error) => {
            return Ok(Err(format!(
                "is no decision input: {}",
                legible(&error.to_string(), MAX_SENTENCE)
            )));
        }
    };
    if let Err(problem) = input.check() {
        return Ok(Err(format!("is no decision input: {}", legible(&problem, MAX_SENTENCE))));
    }
    serde_json::to_writer(&mut *writer, &decide(&input))?;
    writer.write_all(b"\n")?;
    Ok(Ok(()))
}

fn is_cut(line: &[u8]) -> bool {
    !line.ends_with(b"\n") && u64::try_from(line.len()).is_ok_and(|length| length > MAX_LINE)
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffered = reader.fill_buf()?;
        if buffered.is_empty() {
            return Ok(());
        }
        let (used, ended) = match buffered.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffered.len(), false),
        };
        reader.consume(used);
        if ended {
            return Ok(());
        }
    }
}
