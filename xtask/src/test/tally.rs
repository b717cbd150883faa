//! Counts what test executables report while their output passes through.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::ops::AddAssign;

/// Numbers of tests by result.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) ignored: u32,
    /// Not run, because the host lacks what they need.
    pub(crate) skipped: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            ignored,
            skipped,
        } = self;
        write!(formatter, "{passed} passed, {failed} failed, {ignored} ignored")?;
        if *skipped > 0 {
            write!(formatter, ", {skipped} skipped")?;
        }
        Ok(())
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.skipped += other.skipped;
    }
}

/// Copies `output` to `terminal`, line by line as they come, and adds up its result lines.
pub(crate) fn copy(output: impl BufRead, mut terminal: impl Write) -> io::Result<Tally> {
    let mut tally = Tally::default();
    for line in output.split(b'\n') {
        let mut line = line?;
        tally.add(&String::from_utf8_lossy(&line));
        line.push(b'\n');
        terminal.write_all(&line)?;
        terminal.flush()?;
    }
    Ok(tally)
}

impl Tally {
    /// Adds a line like `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; …`; any other changes nothing.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for count in counts.1.split(';') {
            let Some((number, what)) = count.trim().split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u32>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up_and_other_lines_are_not() {
        let output = "\
running 3 tests
test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s
99 passed; test result: ok. 1 passed
test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s
";
        let mut terminal = Vec::new();
        let tally = copy(output.as_bytes(), &mut terminal).unwrap();
        assert_eq!(terminal, output.as_bytes());
        assert_eq!(
            tally,
            Tally {
                passed: 15,
                failed: 2,
                ignored: 1,
                skipped: 0,
            }
        );
    }
}
