//! `certmgr status`: what there is, which phase it is, who has acknowledged it, what is waited for. It only reads.

use std::fmt::Write;
use std::process::ExitCode;

use jiff::Timestamp;
use keda_kaito_core::credentials::{Acknowledgement, Acknowledgements, Flaw, Leaf, LeafSecret, Plan, Root, plan};

use crate::args::StatusArgs;
use crate::cluster::{Cluster, Snapshot};
use crate::command;
use crate::inspect::{Inspected, inspect};

/// Runs the subcommand.
#[must_use]
pub fn main(args: &StatusArgs) -> ExitCode {
    command::main(|client, identity| async move {
        args.place.validate()?;
        let config = args.pace.config()?;
        let (working, release) = (
            args.place.working_namespace(&identity),
            args.place.release_namespace(&identity),
        );
        let snapshot = Cluster::new(client, &working, &release).read().await?;
        let inspected = inspect(&snapshot, &args.place.leaf_names(&identity));
        let decided = plan(&inspected.objects, &snapshot.acknowledgements, &snapshot.clock, &config);
        Ok(describe(&inspected, &snapshot, &decided))
    })
}

pub(crate) fn describe(inspected: &Inspected, snapshot: &Snapshot, decided: &Plan) -> String {
    let objects = &inspected.objects;
    let mut text = format!("phase      {}\n", decided.phase);
    let mut line = |name: &str, what: &str| {
        // A String takes everything.
        let written = writeln!(text, "{name:<10} {what}");
        debug_assert!(written.is_ok(), "a String takes everything");
    };
    for root in &objects.authority.current {
        let keyed = if objects.authority.signer.as_ref() == Some(&root.id) {
            "signs"
        } else {
            "no private key"
        };
        line("authority", &format!("{}, {keyed}", authority(inspected, root)));
    }
    if let Some(next) = &objects.authority.next {
        let crossed = if objects.authority.crossed {
            "cross-signed"
        } else {
            "not cross-signed"
        };
        line("next", &format!("{}, {crossed}", authority(inspected, next)));
    }
    line("server", &secret(&objects.server));
    line("client", &secret(&objects.client));
    let seen = &objects.authentication;
    let epoch = seen.epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string());
    let state = match (seen.served, seen.exists, seen.as_wanted) {
        (false, ..) => "kind not served".to_owned(),
        (_, false, _) => "missing".to_owned(),
        (.., false) => format!("changed by somebody, credential epoch {epoch}"),
        (.., true) => format!("credential epoch {epoch}"),
    };
    line("keda", &state);
    match &snapshot.acknowledgements {
        Acknowledgements::Unknown(why) => line("replicas", why),
        Acknowledgements::Known(replicas) if replicas.is_empty() => line("replicas", "none"),
        Acknowledgements::Known(replicas) => {
            for replica in replicas {
                let said = replica
                    .acknowledgement
                    .as_ref()
                    .map_or_else(|| "no Lease".to_owned(), acknowledged);
                line("replica", &format!("{}: {said}", replica.name));
            }
        }
    }
    if let Some(skew) = snapshot.clock.skew() {
        line("clocks", &format!("{:.1} s apart", skew.as_secs_f64().abs()));
    }
    if let Some(step) = &decided.step {
        line("to write", &format!("{}: {}", crate::events::object(step), step.cause()));
    }
    for wait in &decided.waits {
        line("waits for", &wait.to_string());
    }
    text
}

fn authority(inspected: &Inspected, root: &Root) -> String {
    let name = inspected
        .roots
        .get(&root.id)
        .map(|root| root.common_name.as_str())
        .unwrap_or_default();
    format!("{} ({name}), until {}", root.id, root.validity.not_after)
}

fn secret(secret: &LeafSecret) -> String {
    let leaf = |leaf: &Leaf| {
        let cross = if leaf.crossed { " with the cross certificate" } else { "" };
        format!("issued by {}{cross}, until {}", leaf.issuer, leaf.validity.not_after)
    };
    let leaf = secret.leaf.as_ref().map_or_else(Flaw::to_string, leaf);
    let bundle = secret.bundle.as_ref().map_or_else(Flaw::to_string, |roots| {
        roots.iter().map(|root| root.id.to_string()).collect::<Vec<_>>().join(" ")
    });
    let generation = secret
        .generation
        .map_or_else(|| "none".to_owned(), |generation| generation.to_string());
    format!("generation {generation}; {leaf}; trusts {bundle}")
}

fn acknowledged(said: &Acknowledgement) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let moment = |moment: Option<Timestamp>| moment.map_or_else(|| "none".to_owned(), |moment| moment.to_string());
    let callers = said.callers.as_ref().map_or_else(
        || "silent about callers".to_owned(),
        |callers| {
            let (epoch, oldest) = (number(callers.lowest_epoch), moment(callers.oldest_client));
            format!(
                "callers known since {}, lowest epoch {epoch}, oldest certificate {oldest}",
                callers.since
            )
        },
    );
    format!("trusts {}, serves {}, {callers}", number(said.trusted), number(said.served))
}
