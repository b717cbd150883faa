//! Failures of the reference that must not happen here.

use super::*;
