//! Panics of decoders as error values.
//!
//! Decoders are other people's code that hostile files reach, and byte flips have made some of them
//! panic. [`caught`] turns a panic of the closure into its message, on whatever thread, and keeps
//! it from being printed; panics elsewhere are printed as before. Panics are caught where they
//! unwind: a program that is built with `panic = "abort"` ends instead.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Closures under way on this thread.
    static GUARDED: Cell<usize> = const { Cell::new(0) };
}

/// Before the process's first guarded closure: a hook that passes every other panic on to the hook
/// that was there.
static HOOK: Once = Once::new();

/// One closure under way, until it is dropped.
struct Guard;

impl Guard {
    fn new() -> Guard {
        GUARDED.set(GUARDED.get() + 1);
        Guard
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        GUARDED.set(GUARDED.get() - 1);
    }
}

/// What the closure returns, or the message of its panic. Nothing that the closure changes may be
/// used after a panic, but for what it owns.
pub(super) fn caught<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            // A thread that is ending has no such variable any more, and decodes nothing.
            if GUARDED.try_with(Cell::get).unwrap_or(0) == 0 {
                before(panic);
            }
        }));
    });
    let _guard = Guard::new();
    catch_unwind(AssertUnwindSafe(decode)).map_err(|payload| message(&*payload))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    // One line, and no longer than a person reads.
    let line = text.unwrap_or("no message").lines().next().unwrap_or_default();
    line.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_its_message_on_every_thread() {
        assert_eq!(caught(|| 7), Ok(7));
        let panic = || caught(|| -> u8 { panic!("index {} of {}\nmore", 9, 3) });
        assert_eq!(panic(), Err("index 9 of 3".to_owned()));
        assert_eq!(std::thread::spawn(panic).join().unwrap(), panic());
        assert_eq!(caught(|| panic!("fixed")), Err::<(), _>("fixed".to_owned()));
        // Guards end with their closures.
        assert_eq!(GUARDED.get(), 0);
    }
}
