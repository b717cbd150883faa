//! One situation at a time.
