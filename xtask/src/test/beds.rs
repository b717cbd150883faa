//! Runs the cluster tests: most of them beside each other in one bed; those that would disturb them in beds of their own,
//! two at a time, meanwhile.

use std::cmp::Reverse;
use std::env;
use std::ffi::OsString;
use std::io::{BufReader, Write, stdout};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow};

use super::Options;
use super::executables::Executable;
use super::tally::{self, Tally};
use crate::testbed::{Part, node};
use crate::workspace;

/// A test target that needs a bed of its own.
struct Alone {
    target: &'static str,
    /// What its bed starts without.
    without: &'static [Part],
    /// Whether its tests read the API server's audit log.
    audited: bool,
}

/// The longest first, which is how they are run: nothing long may be left for the end.
const ALONE: &[Alone] = &[
    Alone {
        target: "credential_faults",
        without: &[],
        audited: false,
    },
    Alone {
        target: "node",
        without: &[],
        audited: false,
    },
    Alone {
        target: "bad_day",
        without: &[],
        audited: false,
    },
    Alone {
        target: "rotation",
        without: &[],
        audited: false,
    },
    Alone {
        target: "scale",
        without: &[Part::Keda, Part::Kaito, Part::Fleet],
        audited: true,
    },
    Alone {
        target: "upgrade",
        without: &[],
        audited: false,
    },
    Alone {
        target: "crashes",
        without: &[],
        audited: false,
    },
    Alone {
        target: "hpa_model",
        without: &[Part::Kaito, Part::Fleet],
        audited: false,
    },
    Alone {
        target: "rights",
        without: &[],
        audited: true,
    },
    Alone {
        target: "alerts",
        without: &[],
        audited: false,
    },
    Alone {
        target: "start_order",
        without: &[Part::Crds, Part::Keda, Part::Kaito],
        audited: false,
    },
    Alone {
        target: "traces",
        without: &[],
        audited: false,
    },
];

/// Test targets whose bed has a node, where the host can have one.
pub(crate) const ON_A_NODE: [&str; 1] = ["node"];

/// Test target, program that it needs of the host, Debian's package of it.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("browser", "chromium", "chromium"),
    ("alerts", "prometheus", "prometheus"),
    ("alerts", "promtool", "prometheus"),
];

/// Test targets that measure times, and so come first in the bed they share with others.
const FIRST: [&str; 1] = ["quick_start"];

/// Runs every test executable, the later ones even if an earlier one failed.
const RUN_ALL: &str = r#"cd "$1" && threads=$2 filter=$3 && shift 3 || exit 1
code=0
for executable; do "$executable" "$threads" $filter || code=1; done
exit $code"#;

/// An error says itself where it happened; the stack below an async test hides it. Whoever wants to see that sets it.
const BACKTRACES: &str = "RUST_LIB_BACKTRACE";
/// Beds that run one after the other, beside the shared one and each other: their tests wait more than they compute. Once the
/// shared one has ended there is one more.
const LANES: usize = 2;

struct Bed {
    name: &'static str,
    without: &'static [Part],
    audited: bool,
    node: bool,
    threads: u16,
    executables: Vec<Executable>,
}

/// Runs all; the sum of what the tests reported, and whether every bed ended well.
pub(crate) fn run(options: &Options, executables: Vec<Executable>) -> Result<(Tally, bool)> {
    let mut alone = Vec::new();
    let mut shared = Vec::new();
    let mut skipped = Tally::default();
    for executable in executables {
        // A bed is not worth starting for nothing.
        let tests = executable.tests(options.filter.as_deref().unwrap_or_default())?;
        if tests == 0 {
            continue;
        }
        let name = executable.name.as_str();
        let on_a_node = ON_A_NODE.contains(&name);
        if let Some(lack) = lacks(name) {
            eprintln!("skipped the {tests} tests of {name:?}: {lack}");
            skipped.skipped += tests;
            continue;
        }
        match ALONE.iter().find(|alone| alone.target == executable.name) {
            Some(one) => alone.push(Bed {
                name: one.target,
                without: one.without,
                audited: one.audited,
                node: on_a_node,
                threads: 1,
                executables: vec![executable],
            }),
            None => shared.push(executable),
        }
    }
    shared.sort_by_key(|executable| !FIRST.contains(&executable.name.as_str()));
    let shared = Bed {
        name: "shared",
        without: &[],
        audited: false,
        node: false,
        threads: options.threads,
        executables: shared,
    };
    // Taken from the end.
    alone.sort_by_key(|bed| Reverse(ALONE.iter().position(|one| one.target == bed.name)));
    let alone = Mutex::new(alone);
    thread::scope(|scope| {
        let others: Vec<_> = (0..LANES)
            .map(|_| scope.spawn(|| run_one_after_another(&alone, options)))
            .collect();
        let first = if shared.executables.is_empty() {
            Ok((Tally::default(), true))
        } else {
            run_in(&shared, options, stdout())
        };
        let (mut tally, mut succeeded) = first?;
        tally += skipped;
        // The shared bed was the one that kept the machine busy.
        let (more, well) = run_one_after_another(&alone, options)?;
        tally += more;
        succeeded &= well;
        for lane in others {
            let (other, well) = lane.join().map_err(|_panic| anyhow!("running a bed panicked"))??;
            tally += other;
            succeeded &= well;
        }
        Ok((tally, succeeded))
    })
}

/// What the host lacks for the tests of this target.
fn lacks(target: &str) -> Option<String> {
    if ON_A_NODE.contains(&target)
        && let Some(lack) = node::host::lacks()
    {
        return Some(format!("they need a node: {lack}"));
    }
    let missing = PROGRAMS
        .iter()
        .find(|(needed_by, program, _)| *needed_by == target && !node::host::in_path(program));
    missing.map(|(_, program, package)| format!("{program} is missing: install Debian's package {package}"))
}

/// Takes beds from the list, as another lane does, until there are none.
fn run_one_after_another(beds: &Mutex<Vec<Bed>>, options: &Options) -> Result<(Tally, bool)> {
    let (mut tally, mut succeeded) = (Tally::default(), true);
    let next = || beds.lock().unwrap_or_else(PoisonError::into_inner).pop();
    while let Some(bed) = next() {
        let mut printed = Vec::new();
        let (other, well) = run_in(&bed, options, &mut printed)?;
        // In one piece, so that beds do not mix their lines.
        stdout().lock().write_all(&printed)?;
        tally += other;
        succeeded &= well;
    }
    Ok((tally, succeeded))
}

fn run_in(bed: &Bed, options: &Options, terminal: impl Write) -> Result<(Tally, bool)> {
    let mut command = Command::new(env::current_exe()?);
    command
        .args(["testbed", "run", "--with-parent"])
        .args(options.bed.arguments(bed.name, bed.without, bed.audited, bed.node))
        .args(["--", "sh", "-c", RUN_ALL, "sh"])
        .arg(workspace::root().join("e2e"))
        .arg(format!("--test-threads={}", bed.threads))
        .arg(options.filter.clone().unwrap_or_default())
        .args(bed.executables.iter().map(|executable| OsString::from(&executable.path)))
        .stdout(Stdio::piped());
    if env::var_os(BACKTRACES).is_none() {
        command.env(BACKTRACES, "0");
    }
    let mut child = command.spawn().with_context(|| format!("starting the {} bed", bed.name))?;
    let output = child.stdout.take().context("a bed has no output")?;
    let tally = tally::copy(BufReader::new(output), terminal)?;
    Ok((tally, child.wait()?.success()))
}
