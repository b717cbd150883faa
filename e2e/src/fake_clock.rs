//! A wall clock of one program's own, by libfaketime.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::programs::Start;

/// A wall clock for one program, which can be set while that runs. Its monotonic clock stays true, as a machine's does.
#[derive(Debug)]
pub struct FakeClock {
    file: PathBuf,
    library: PathBuf,
}

impl FakeClock {
    /// One that is right, kept in a file called after `name`.
    ///
    /// # Errors
    /// libfaketime is not installed.
    pub fn new(directory: &Path, name: &str) -> Result<Self> {
        let folders = fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path());
        let places = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
        let library = places.into_iter().find(|place| place.is_file());
        let library = library.context("libfaketime is missing: install the package libfaketime")?;
        let clock = Self {
            file: directory.join(format!("{name}.clock")),
            library,
        };
        clock.set("+0")?;
        Ok(clock)
    }

    /// Sets it this far off, as in `+2h` or `-400d`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, offset: &str) -> Result<()> {
        // In one piece: the program may read it at any moment.
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{offset}\n"))?;
        Ok(fs::rename(&next, &self.file)?)
    }

    /// Puts a program under it.
    #[must_use]
    pub fn over(&self, mut start: Start) -> Start {
        let path = |path: &Path| path.display().to_string();
        start.environment.extend([
            ("LD_PRELOAD".to_owned(), path(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE".to_owned(), path(&self.file)),
            ("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
            ("DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
        ]);
        start
    }
}
