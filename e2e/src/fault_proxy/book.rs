//! The faults in force: which request or watch each concerns, how often it has struck, when it is used up.

use std::time::Duration;

use bytes::Bytes;

use super::request::{Request, Scope};

/// What is done to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Passed on after this long.
    Delay(Duration),
    /// Never answered, never refused: the connection stays open and silent.
    BlackHole,
    /// The connection is reset before the API server sees the request.
    Reset,
    /// Answered in the API server's place.
    Answer(Answer),
    /// Applied, and then the connection is reset in place of an answer.
    LoseReply,
    /// Applied, and the answer kept back: the connection stays open and silent.
    KeepReply,
    /// The answer's head and so many bytes of its body, then a reset.
    Truncate(usize),
    /// Done to the events of watches, open ones and later ones.
    Watch(WatchFault),
}

/// An answer of the proxy's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub reason: &'static str,
    pub retry_after: Option<u32>,
    /// As the API server's overload protection answers: no `Status`, only words.
    pub plain: bool,
}

/// What is done to the events of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchFault {
    /// Nothing comes any more, not even the end, in watches that are open when this begins: their connections are dead.
    Silence,
    /// These bytes come once in every watch.
    Inject(Bytes, Then),
    /// Every two events change places.
    Swap,
    /// Every event comes twice.
    Repeat,
}

/// What follows bytes that were injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    GoOn,
    End,
    Reset,
}

/// A fault and what it strikes.
#[derive(Clone, Debug)]
pub struct Rule {
    scope: Scope,
    fault: Fault,
    every: u32,
    times: Option<u32>,
}

impl Rule {
    /// Strikes whatever `scope` covers.
    #[must_use]
    pub fn new(scope: Scope, fault: Fault) -> Self {
        Self {
            scope,
            fault,
            every: 1,
            times: None,
        }
    }

    /// Strikes only every `every`-th request that is covered.
    #[must_use]
    pub fn every(mut self, every: u32) -> Self {
        self.every = every.max(1);
        self
    }

    /// Is used up after so many.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

impl Fault {
    /// Answered with this status, as the API server itself would.
    #[must_use]
    pub fn status(status: u16, reason: &'static str) -> Self {
        Self::Answer(Answer {
            status,
            reason,
            retry_after: None,
            plain: false,
        })
    }

    /// 429 as the API server's priority and fairness answers it.
    #[must_use]
    pub fn too_many_requests(retry_after: u32) -> Self {
        Self::Answer(Answer {
            status: 429,
            reason: "Too many requests, please try again later.",
            retry_after: Some(retry_after),
            plain: true,
        })
    }

    /// An `ERROR` event 410, after which the API server ends the watch.
    #[must_use]
    pub fn gone_event() -> Self {
        let line = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (2)","reason":"Expired","code":410}}"#;
        Self::line(line, Then::End)
    }

    /// One line in every watch.
    #[must_use]
    pub fn line(line: &str, then: Then) -> Self {
        Self::Watch(WatchFault::Inject(Bytes::from(format!("{line}\n")), then))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::BlackHole => "black hole",
            Self::Reset => "reset",
            Self::Answer(_) => "answer",
            Self::LoseReply => "lost reply",
            Self::KeepReply => "kept reply",
            Self::Truncate(_) => "truncated",
            Self::Watch(_) => "watch",
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: Vec<Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    rule: Rule,
    met: u32,
    hits: u32,
}

impl Entry {
    fn strike(&mut self) -> bool {
        if self.rule.times.is_some_and(|times| self.hits >= times) {
            return false;
        }
        self.met += 1;
        let strikes = self.met.is_multiple_of(self.rule.every);
        self.hits += u32::from(strikes);
        strikes
    }
}

impl Book {
    pub(super) fn add(&mut self, rule: Rule) -> u64 {
        self.next += 1;
        self.entries.push(Entry {
            id: self.next,
            rule,
            met: 0,
            hits: 0,
        });
        self.next
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.entries.retain(|entry| entry.id != id);
    }

    pub(super) fn hits(&self, id: u64) -> u32 {
        self.entries.iter().find(|entry| entry.id == id).map_or(0, |entry| entry.hits)
    }

    /// What is to be done to a request that has just come.
    pub(super) fn on_request(&mut self, request: &Request) -> Option<Fault> {
        let covering = self.entries.iter_mut().filter(|entry| entry.rule.scope.covers(request));
        for entry in covering {
            if !matches!(entry.rule.fault, Fault::Watch(_)) && entry.strike() {
                return Some(entry.rule.fault.clone());
            }
        }
        None
    }

    /// What is to be injected into a watch that has been through the rules up to `seen`.
    pub(super) fn injections(&mut self, request: &Request, seen: &mut u64) -> Vec<(Bytes, Then)> {
        let mut found = Vec::new();
        for entry in self.entries.iter_mut().filter(|entry| entry.id > *seen) {
            if let Fault::Watch(WatchFault::Inject(bytes, then)) = &entry.rule.fault {
                let injected = (bytes.clone(), *then);
                if entry.rule.scope.covers(request) && entry.strike() {
                    found.push(injected);
                }
            }
        }
        *seen = self.next;
        found
    }

    /// The newest rule.
    pub(super) fn newest(&self) -> u64 {
        self.next
    }

    /// What is to be done to an event that has just come, or to the end of a watch, opened when `newest` was.
    pub(super) fn on_event(&mut self, request: &Request, newest: u64) -> Option<WatchFault> {
        let covering = self.entries.iter_mut().filter(|entry| entry.rule.scope.covers(request));
        for entry in covering {
            if entry.rule.fault == Fault::Watch(WatchFault::Silence) && entry.id <= newest {
                continue;
            }
            if let Fault::Watch(fault @ (WatchFault::Silence | WatchFault::Swap | WatchFault::Repeat)) = &entry.rule.fault {
                let fault = fault.clone();
                if entry.strike() {
                    return Some(fault);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::fault_proxy::Verb;

    fn write() -> Request {
        Request::of("x", &Method::PUT, &"/api/v1/namespaces/a/secrets/b".parse().unwrap())
    }

    #[test]
    fn every_second_strikes_the_second_and_a_count_is_used_up() {
        let mut book = Book::default();
        let id = book.add(Rule::new(Scope::all(), Fault::Reset).every(2).times(2));
        let struck: Vec<bool> = (0..8).map(|_| book.on_request(&write()).is_some()).collect();
        assert_eq!(struck, [false, true, false, true, false, false, false, false]);
        assert_eq!(book.hits(id), 2);
        book.remove(id);
        assert_eq!(book.hits(id), 0);
    }

    #[test]
    fn the_first_rule_that_strikes_wins_and_others_do_not_count() {
        let mut book = Book::default();
        book.add(Rule::new(Scope::all().verbs(&[Verb::Watch]), Fault::BlackHole));
        let used = book.add(Rule::new(Scope::all(), Fault::Reset).times(1));
        let other = book.add(Rule::new(Scope::all(), Fault::LoseReply));
        assert_eq!(book.on_request(&write()), Some(Fault::Reset));
        assert_eq!(book.on_request(&write()), Some(Fault::LoseReply));
        assert_eq!((book.hits(used), book.hits(other)), (1, 1));
    }

    #[test]
    fn a_watch_gets_what_is_injected_once() {
        let mut book = Book::default();
        let mut seen = 0;
        assert!(book.injections(&write(), &mut seen).is_empty());
        book.add(Rule::new(Scope::all(), Fault::gone_event()));
        assert_eq!(book.injections(&write(), &mut seen).len(), 1);
        assert!(book.injections(&write(), &mut seen).is_empty());
        assert_eq!(book.injections(&write(), &mut 0).len(), 1);
    }
}
