//! A bad day: faults between the three programs and the API server, and in the control plane itself, while an observer
//! that only reads the API (`keda_kaito_e2e::chronicle`) checks that no count goes down without reason (N1), nothing is
//! missing, left over or double for long (N4), edits arrive (N5), strangers' objects are left alone (N6), nothing is
//! written at rest (N11) and only a leader writes credentials (N12). Every act ends with its check of the whole history.
//! It needs a bed of its own, since programs and control plane are shared by all tests of a bed.
//!
//! | case | fault | where it is tested |
//! |---|---|---|
//! | 1–3 | kill -9 of each program | `crashes::every_program_may_die_and_no_replica_is_lost`; of leaders, again and again: `scale`, `leaders::leaders_of_both_programs_change_as_promised_and_nobody_writes_beside_them` |
//! | 4 | SIGTERM while calls come in | the scaler's own tests (`server::tests`) |
//! | 5, 6 | leaders, and the scaler, stand still | `outages::stopped` |
//! | 7 | API server killed | `outages::down` |
//! | 8 | etcd full, etcd killed | `outages::full` |
//! | 9 | etcd restored from an older copy | `outages::older` |
//! | 10 | every watch dies without a word | `watches::silence` |
//! | 11 | 410 as event and as answer | `watches::gone` |
//! | 12 | hung list, lists cut short | `watches::lists` |
//! | 13 | garbage, events twice and in another order | `watches::garbage`, `watches::disorder` |
//! | 14 | 429 with Retry-After, 503 | `writes::storm` |
//! | 15 | 409 on every second write | `writes::conflicts` |
//! | 16 | applied, and the answer lost | `writes::lost_replies` |
//! | 17 | rights taken away and given back | `writes::forbidden` |
//! | 18 | kinds missing and late | `start_order::programs_wait_in_any_order_say_for_what_and_go_on_by_themselves` |
//! | 18 | kinds removed and back | `objects::kinds_removed` |
//! | 19 | KEDA's operator killed | `crashes::every_program_may_die_and_no_replica_is_lost` |
//! | 20 | KEDA's view frozen over a rotation | not here: it needs KEDA behind the proxy |
//! | 36 | names fail or lie | every bed has no resolver; `objects::lying_names` |
//! | 37 | InferenceSet recreated under its name | `cluster`, `lifecycle::a_deleted_inferenceset_takes_its_scaledobject_along_and_a_new_one_gets_its_own`; `objects::recreated` |
//! | 38 | ScaledObject edited, or somebody else's | `cluster`, `lifecycle::what_somebody_changes_in_a_managed_scaledobject_is_put_right_and_the_rest_is_left` and `lifecycle::a_scaledobject_somebody_else_wrote_is_reported_and_left_alone` |
//! | 38 | ScaledObject deleted, or stuck | `objects::deleted_and_stuck` |
//! | – | objects that cannot be read | `objects::undecodable` |
//! | – | a panic over one object | `object_whose_reconciliation_panics_delays_no_other_and_is_tried_again` (provisioner), `panic_over_one_inference_set_leaves_the_others_alone` (scaler) |

mod objects;
mod outages;
mod stage;
mod watches;
mod writes;
