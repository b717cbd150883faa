//! `certmgr status`: reads what there is and prints it. It writes nothing to the cluster.

use std::process::ExitCode;

use keda_kaito_core::credentials::{Plan, Schedule, plan, schedule};

use crate::args::StatusArgs;
use crate::cluster::{Cluster, Snapshot};
use crate::command;
use crate::inspect::{Inspected, inspect};

mod page;

/// Runs the subcommand.
#[must_use]
pub fn main(args: &StatusArgs) -> ExitCode {
    command::main(args.place.validate(), |client, identity| async move {
        let config = args.pace.config()?;
        let (working, release) = (
            args.place.working_namespace(&identity),
            args.place.release_namespace(&identity),
        );
        let snapshot = Cluster::new(client, &working, &release).read().await?;
        let inspected = inspect(&snapshot, &args.place.leaf_names(&identity));
        let decided = plan(&inspected.objects, &snapshot.acknowledgements, &snapshot.clock, &config);
        let due = schedule(&inspected.objects, &config);
        Ok(describe(&inspected, &snapshot, &decided, due))
    })
}

/// The whole page.
pub(crate) fn describe(inspected: &Inspected, snapshot: &Snapshot, decided: &Plan, due: Schedule) -> String {
    let mut page = page::Page::new(inspected, snapshot);
    page.phase(decided);
    page.authorities();
    page.published();
    page.replicas();
    page.next(decided, due);
    page.text
}
