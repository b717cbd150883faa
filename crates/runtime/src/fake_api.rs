//! A fake API server for tests: scenarios of named calls in exact order, answered by hand. It stores nothing.
