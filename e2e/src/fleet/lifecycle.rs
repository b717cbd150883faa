//! The kubelet's and scheduler's decisions about one pod: what to do now and when to look again. Pure; `keeper` carries
//! them out.

use std::time::Duration;

use super::settings::{DEFAULT_TERMINATION, Settings};

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No node, or no container yet.
    Pending,
    /// KAITO's own server holds the port while the model comes in.
    Downloading,
    /// vLLM answers, the start-up benchmark runs.
    Warming,
    Ready,
    /// vLLM answers, the readiness probe fails.
    Unready,
    /// The container ends as soon as it starts.
    CrashLoop,
}

/// How long each part of a pod's life takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    pub download: Duration,
    /// From the container's start to Ready, download included.
    pub cold_start: Duration,
    pub termination: Duration,
}

impl Timings {
    /// The settings' durations, or the defaults.
    #[must_use]
    pub fn of(settings: &Settings, cold_start: Duration) -> Self {
        let chosen = |ms: Option<u64>, default| ms.map_or(default, Duration::from_millis);
        Self {
            download: chosen(settings.download_ms, Duration::ZERO),
            cold_start: chosen(settings.cold_start_ms, cold_start),
            termination: chosen(settings.termination_ms, DEFAULT_TERMINATION),
        }
    }
}

/// What the API server shows of the pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    pub on_our_node: bool,
    pub on_other_node: bool,
    pub terminating: bool,
}

/// What we know about it ourselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Start of the current container.
    pub started: Option<Duration>,
    /// When the deletion was first seen.
    pub terminating_since: Option<Duration>,
    pub restarts: u32,
    /// Phase and restarts the API server was told last.
    pub published: Option<(Phase, u32)>,
}

/// The wishes that change a pod's course.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    pub ready: Option<bool>,
    pub unscheduled: bool,
    pub crash_loop: bool,
}

impl Wishes {
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            ready: settings.ready,
            unscheduled: settings.schedule == Some(false),
            crash_loop: settings.crash_loop == Some(true),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Bind,
    /// Give it an address and start its container.
    Start,
    NoteTermination,
    /// Give it another container: one that crashed does not come back as the same.
    Restart,
    Publish(Phase),
    /// Close its server and take it out of the API.
    Delete,
    Nothing,
}

/// What to do now; with `Nothing`, when to look again unless something changes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub action: Action,
    pub wake: Option<Duration>,
}

impl Decision {
    const fn now(action: Action) -> Self {
        Self { action, wake: None }
    }

    const fn wait(wake: Option<Duration>) -> Self {
        Self {
            action: Action::Nothing,
            wake,
        }
    }
}

/// The next step for one pod at `now` (time since the fleet began).
#[must_use]
pub fn decide(observed: Observed, life: Life, wishes: Wishes, timings: Timings, now: Duration) -> Decision {
    if observed.on_other_node {
        return Decision::wait(None);
    }
    if !observed.on_our_node {
        // A pod that no node holds ends without a kubelet's help.
        return if observed.terminating || wishes.unscheduled {
            Decision::wait(None)
        } else {
            Decision::now(Action::Bind)
        };
    }
    if observed.terminating {
        return match life.terminating_since {
            None => Decision::now(Action::NoteTermination),
            Some(since) if now >= since + timings.termination => Decision::now(Action::Delete),
            Some(since) => Decision::wait(Some(since + timings.termination)),
        };
    }
    let Some(started) = life.started else {
        return Decision::now(Action::Start);
    };
    if !wishes.crash_loop && matches!(life.published, Some((Phase::CrashLoop, _))) {
        return Decision::now(Action::Restart);
    }
    let (phase, until) = phase(started, wishes, timings, now);
    if life.published == Some((phase, life.restarts)) {
        Decision::wait(until)
    } else {
        Decision::now(Action::Publish(phase))
    }
}

/// The phase of a container started at `started`, and until when it lasts.
fn phase(started: Duration, wishes: Wishes, timings: Timings, now: Duration) -> (Phase, Option<Duration>) {
    if wishes.crash_loop {
        return (Phase::CrashLoop, None);
    }
    if wishes.ready == Some(true) {
        return (Phase::Ready, None);
    }
    let warm = started + timings.cold_start;
    let downloaded = (started + timings.download).min(warm);
    if now < downloaded {
        (Phase::Downloading, Some(downloaded))
    } else if now < warm {
        (Phase::Warming, Some(warm))
    } else if wishes.ready == Some(false) {
        (Phase::Unready, None)
    } else {
        (Phase::Ready, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Observed = Observed {
        on_our_node: true,
        on_other_node: false,
        terminating: false,
    };
    const LEAVING: Observed = Observed {
        terminating: true,
        ..OURS
    };
    const TIMINGS: Timings = Timings {
        download: Duration::from_secs(10),
        cold_start: Duration::from_secs(30),
        termination: Duration::from_secs(5),
    };

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn started(seconds: u64) -> Life {
        Life {
            started: Some(at(seconds)),
            ..Life::default()
        }
    }

    fn decide_default(observed: Observed, life: Life, now: u64) -> Decision {
        decide(observed, life, Wishes::default(), TIMINGS, at(now))
    }

    #[test]
    fn a_pod_is_bound_then_started_then_published() {
        let new = Observed::default();
        assert_eq!(decide_default(new, Life::default(), 1).action, Action::Bind);
        assert_eq!(decide_default(OURS, Life::default(), 1).action, Action::Start);
        let first = decide_default(OURS, started(1), 1).action;
        assert_eq!(first, Action::Publish(Phase::Downloading));
    }

    #[test]
    fn a_container_downloads_warms_up_and_becomes_ready_at_the_chosen_times() {
        let mut life = started(100);
        let table = [
            (100, Phase::Downloading, Some(110)),
            (110, Phase::Warming, Some(130)),
            (130, Phase::Ready, None),
        ];
        for (now, phase, until) in table {
            assert_eq!(decide_default(OURS, life, now).action, Action::Publish(phase));
            life.published = Some((phase, 0));
            assert_eq!(decide_default(OURS, life, now), Decision::wait(until.map(at)));
        }
    }

    #[test]
    fn a_restart_is_published_even_in_the_same_phase() {
        let life = Life {
            restarts: 1,
            published: Some((Phase::Ready, 0)),
            ..started(0)
        };
        assert_eq!(decide_default(OURS, life, 99).action, Action::Publish(Phase::Ready));
    }

    #[test]
    fn a_terminating_pod_answers_for_its_delay_and_is_then_deleted() {
        let life = started(0);
        assert_eq!(decide_default(LEAVING, life, 50).action, Action::NoteTermination);
        let life = Life {
            terminating_since: Some(at(50)),
            ..life
        };
        assert_eq!(decide_default(LEAVING, life, 52), Decision::wait(Some(at(55))));
        assert_eq!(decide_default(LEAVING, life, 55).action, Action::Delete);
    }

    #[test]
    fn a_terminating_pod_that_never_started_is_deleted_too() {
        let life = Life {
            terminating_since: Some(at(0)),
            ..Life::default()
        };
        assert_eq!(decide_default(LEAVING, life, 60).action, Action::Delete);
    }

    #[test]
    fn pods_of_other_nodes_and_unbound_ones_on_their_way_out_are_left_alone() {
        let elsewhere = Observed {
            on_other_node: true,
            ..Observed::default()
        };
        let unbound = Observed {
            terminating: true,
            ..Observed::default()
        };
        for observed in [elsewhere, unbound] {
            assert_eq!(decide_default(observed, Life::default(), 1), Decision::wait(None));
        }
    }

    #[test]
    fn wishes_change_the_phase() {
        let now = at(99);
        let action = |wishes, now| decide(OURS, started(0), wishes, TIMINGS, now).action;
        let unready = Wishes {
            ready: Some(false),
            ..Wishes::default()
        };
        let ready = Wishes {
            ready: Some(true),
            ..Wishes::default()
        };
        let crashing = Wishes {
            crash_loop: true,
            ..ready
        };
        assert_eq!(action(unready, now), Action::Publish(Phase::Unready));
        assert_eq!(action(unready, at(15)), Action::Publish(Phase::Warming));
        assert_eq!(action(ready, at(1)), Action::Publish(Phase::Ready));
        assert_eq!(action(crashing, now), Action::Publish(Phase::CrashLoop));
        let unscheduled = Wishes {
            unscheduled: true,
            ..Wishes::default()
        };
        let held = decide(Observed::default(), Life::default(), unscheduled, TIMINGS, now);
        assert_eq!(held, Decision::wait(None));
    }

    #[test]
    fn a_container_that_crashed_is_followed_by_another_one() {
        let life = Life {
            published: Some((Phase::CrashLoop, 0)),
            ..started(0)
        };
        assert_eq!(decide_default(OURS, life, 99).action, Action::Restart);
    }

    #[test]
    fn a_download_longer_than_the_cold_start_ends_with_it() {
        let timings = Timings {
            download: at(60),
            ..TIMINGS
        };
        let decision = decide(OURS, started(0), Wishes::default(), timings, at(30));
        assert_eq!(decision.action, Action::Publish(Phase::Ready));
    }
}
