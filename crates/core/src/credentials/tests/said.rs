//! A plan in a few words, for tables.

use super::super::{AuthorityWrite, Cause, LeafSource, NextAuthority, Plan, Publication, Step};

/// What comes next and why, or what is waited for.
pub(super) fn said(plan: &Plan) -> String {
    match &plan.step {
        Some(step) => format!("{}: {} ({})", plan.phase, what(step), cause(step.cause())),
        None if plan.waits.is_empty() => format!("{}: nothing", plan.phase),
        None => {
            let waits: Vec<_> = plan.waits.iter().map(ToString::to_string).collect();
            format!("{}: waits for {}", plan.phase, waits.join("; "))
        }
    }
}

fn what(step: &Step) -> String {
    match step {
        Step::Authority { write, replace, .. } => format!("authority {}{}", authority(write), replaced(*replace)),
        Step::Server(publication) => format!("server {}", published(publication)),
        Step::Client(publication) => format!("client {}", published(publication)),
        Step::Authentication { .. } => "authentication".to_owned(),
    }
}

fn authority(write: &AuthorityWrite) -> String {
    match write {
        AuthorityWrite::Create { .. } => "create".to_owned(),
        AuthorityWrite::Prepare { next, cross, keep, .. } => {
            let keep: Vec<_> = keep.iter().map(ToString::to_string).collect();
            let next = match next {
                NextAuthority::New(_) => "new",
                NextAuthority::Stored => "stored",
            };
            let cross = if cross.is_some() { " crossed" } else { "" };
            format!("prepare {next}{cross} beside {}", keep.join("+"))
        }
        AuthorityWrite::Cross { .. } => "cross".to_owned(),
        AuthorityWrite::EraseKey => "erase key".to_owned(),
        AuthorityWrite::Promote => "promote".to_owned(),
        AuthorityWrite::Rewrite { next: true } => "rewrite".to_owned(),
        AuthorityWrite::Rewrite { next: false } => "rewrite without next".to_owned(),
    }
}

fn published(publication: &Publication) -> String {
    let leaf = match &publication.leaf {
        LeafSource::Keep => "keep".to_owned(),
        LeafSource::Issue(issue) if issue.crossed => format!("issue {} crossed", issue.issuer),
        LeafSource::Issue(issue) => format!("issue {}", issue.issuer),
    };
    let bundle: Vec<_> = publication.bundle.iter().map(ToString::to_string).collect();
    let retiring = if publication.retiring.is_some() { " retiring" } else { "" };
    format!(
        "{leaf}, trust {}{retiring}{}",
        bundle.join("+"),
        replaced(publication.replace)
    )
}

fn replaced(replace: bool) -> &'static str {
    if replace { " replacing" } else { "" }
}

fn cause(cause: &Cause) -> String {
    match cause {
        Cause::First => "first".to_owned(),
        Cause::Renewal => "renewal".to_owned(),
        Cause::Rotation(phase) => format!("to {phase}"),
        Cause::Repair(what) => what.clone(),
    }
}
