//! What `certmgr status` prints at rest and in the middle of a rotation.

use keda_kaito_core::credentials::{Acknowledgement, Acknowledgements, Callers, Clock, Config, Replica, plan, schedule};

use super::memory::{DAY, Memory, start};

fn page(memory: &Memory, acknowledgements: Acknowledgements) -> String {
    let inspected = memory.inspect();
    let mut snapshot = memory.snapshot(start());
    snapshot.acknowledgements = acknowledgements;
    let config = Config::default();
    let decided = plan(
        &inspected.objects,
        &snapshot.acknowledgements,
        &Clock::agreed(start()),
        &config,
    );
    let due = schedule(&inspected.objects, &config);
    crate::status::describe(&inspected, &snapshot, &decided, due)
}

fn holding(name: &str, generation: Option<u64>) -> Replica {
    let acknowledgement = Acknowledgement {
        trusted: generation,
        served: generation,
        retired_connections: Some(2),
        callers: Some(Callers {
            since: start() - DAY,
            lowest_epoch: Some(7),
            oldest_client: None,
        }),
    };
    Replica {
        name: name.to_owned(),
        acknowledgement: Some(acknowledgement),
    }
}

fn has_all(page: &str, expected: &[&str]) {
    for expected in expected {
        assert!(page.contains(expected), "{expected:?} is not in:\n{page}");
    }
}

#[test]
fn at_rest_it_tells_what_there_is_and_what_is_due_when() {
    let text = page(&Memory::issued(), Acknowledgements::Known(Vec::new()));
    has_all(
        &text,
        &[
            "phase      stable: one authority, nothing under way\n",
            "authority  keda-kaito-scaler-ca-",
            ", signs, 730 days left, until 2028-12-31T00:00:00Z\n",
            "server     generation 1798761600, issued by keda-kaito-scaler-ca-",
            "\n           lets in callers of keda-kaito-scaler-ca-",
            "keda       told of generation 1798761600, the present one\n",
            "replicas   none is running\n",
            "due        the authority is replaced in 365 days, at 2028-01-01T00:00:00Z\n",
        ],
    );
    assert!(!text.contains("waits for"), "{text}");
}

#[test]
fn in_a_rotation_it_tells_who_has_acknowledged_and_for_whom_it_waits() {
    let mut memory = Memory::issued();
    memory.request("key may have leaked");
    let asked = page(&memory, Acknowledgements::Known(Vec::new()));
    has_all(&asked, &["asked for  a rotation, \"key may have leaked\", not begun yet\n"]);
    // Without the last step, so that the replicas have something to wait for.
    for _ in 0..4 {
        memory.step(start());
    }
    let current = memory.inspect().objects.server.generation;
    let mute = Replica {
        name: "scaler-2".to_owned(),
        acknowledgement: None,
    };
    let replicas = vec![holding("scaler-0", current), holding("scaler-1", Some(1)), mute];
    let text = page(&memory, Acknowledgements::Known(replicas));
    has_all(
        &text,
        &[
            "phase      trust: scaler and KEDA are told to trust both authorities (step 2 of 6 of a rotation)\n",
            "reason     this rotation: \"key may have leaked\"\n",
            "next       keda-kaito-scaler-ca-",
            ", signed by the former one too, ",
            "replica    scaler-0: holds generation ",
            ": lowest epoch 7, oldest client certificate valid from none; 2 retired connections still open\n",
            "replica    scaler-1: behind: trusts by generation 1, serves generation 1\n",
            "replica    scaler-2: says nothing, it has no Lease\n",
            "waits for  the minimum age, until 2027-01-01T00:10:00Z\n",
            "waits for  replica \"scaler-1\" to trust generation ",
            "waits for  replica \"scaler-2\" to write its Lease\n",
        ],
    );
    assert!(!text.contains("BEGIN"), "{text}");
}
