//! Signals that end the program: its temporary files go with it.

use effnet::files;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::ffi::c_int;
use std::sync::mpsc;
use std::thread;

/// Makes Ctrl-C, a closed terminal and `kill` remove temporary files before they end the program,
/// as they do by themselves: whoever started it sees the signal. A signal that was to be ignored
/// when the program started, as `nohup` asks for, stays ignored.
///
/// Without a thread to spare signals do what they always do, and temporary files are left to the
/// next output.
pub fn watch() {
    let ending: Vec<c_int> =
        [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|&signal| !is_ignored(signal)).collect();
    let (ready, registered) = mpsc::channel();
    let wait = move || {
        // Here, so that signals are not taken from a program that has no thread to handle them.
        let signals = Signals::new(ending);
        let _ = ready.send(());
        let Ok(mut signals) = signals else { return };
        if let Some(signal) = signals.forever().next() {
            files::abandon();
            // Ends the process; if that fails, by another signal.
            let _ = emulate_default_handler(signal);
        }
    };
    if thread::Builder::new().name("signals".to_owned()).spawn(wait).is_ok() {
        // The thread drops the sender, whatever becomes of it.
        let _ = registered.recv();
    }
}

fn is_ignored(signal: c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: no new action is given, and there is room for the present one; where the call
    // succeeds, it has been written. Zero is success, and the field is a plain address.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
