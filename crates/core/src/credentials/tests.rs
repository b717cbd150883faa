//! Tests of the decision: one situation at a time (`table`), and every ordering of what happens around it (`orderings`).

mod apply;
mod explore;
mod orderings;
mod table;
mod world;
