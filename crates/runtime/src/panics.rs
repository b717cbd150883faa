//! Keeps a panic in one piece of work from ending the others. What it left half done is the caller's to put right.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt;

/// A piece of work that panicked, with what it said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(pub String);

/// Does the work, panic or not.
///
/// # Errors
/// It panicked.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| said(payload.as_ref()))
}

/// The same for work that waits.
///
/// # Errors
/// It panicked.
pub async fn caught_async<F: Future>(work: F) -> Result<F::Output, Panicked> {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    outcome.map_err(|payload| said(payload.as_ref()))
}

fn said(payload: &(dyn Any + Send)) -> Panicked {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    Panicked(text.unwrap_or("no message").to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Panicked, caught, caught_async};

    #[test]
    fn panic_ends_the_work_and_not_the_caller() {
        assert_eq!(caught(|| 3), Ok(3));
        assert_eq!(
            caught(|| panic!("out of {}", "tea")),
            Err::<(), _>(Panicked("out of tea".to_owned()))
        );
    }

    #[tokio::test]
    async fn panic_after_a_wait_is_caught_too() {
        let work = async {
            tokio::task::yield_now().await;
            panic!("spilled")
        };
        assert_eq!(caught_async(work).await, Err::<(), _>(Panicked("spilled".to_owned())));
    }
}
