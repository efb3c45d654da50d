//! A mapped file that cannot be read any more ends the program with a message.
//!
//! Packed weights and checkpoints are mapped. A page of a file that another program has truncated
//! since, or whose disk fails, cannot be read: the system then sends SIGBUS, which without this ends
//! the process and says nothing. Whole lines that were written before stay as they are: results are
//! flushed line by line, and nothing is written after the signal but the message.

/// Makes that signal a message and exit status 2. Does nothing on other systems than Linux: there
/// the signal may mean that a stack has overflowed, which Rust's runtime reports.
pub fn explain() {
    #[cfg(target_os = "linux")]
    linux::explain();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{c_int, c_void};

    pub const MESSAGE: &str = "\
error: a mapped file cannot be read any more: the packed weights, or the checkpoint that is imported, \
was truncated by another program while in use, or its disk failed
to go on: import or fetch the file again, and replace it by renaming a whole file over it; where that \
cannot be had, --copy-weights reads packed weights into memory first
";

    /// Exit status for what is missing or unusable.
    pub const STATUS: c_int = 2;

    pub fn explain() {
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = handle;
        // SAFETY: zeros are a valid action without flags, of which every field that counts is set.
        // The handler has the type that SA_SIGINFO says, and calls only what POSIX allows in one
        // (write, _exit, signal, raise). It runs on the threads' own signal stacks.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // If it cannot be set, the signal does what it always does.
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
        }
    }

    extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
        // SAFETY: the system passes a pointer to what it knows about the signal; the message is
        // constant, and all calls may be made in a handler.
        unsafe {
            // A page without a file behind it. Memory that failed, and `kill -BUS`, are others.
            if (*info).si_code == libc::BUS_ADRERR {
                libc::write(libc::STDERR_FILENO, MESSAGE.as_ptr().cast(), MESSAGE.len());
                libc::_exit(STATUS);
            }
            // Pending until the handler has returned; then it does what it always does.
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::linux::{MESSAGE, STATUS};
    use effnet::arch::{Padding, Variant};
    use effnet::weights::{Precision, TensorId, Weights, stand_in};
    use std::fs::File;
    use std::io::{self, BufRead, BufReader, Read, Write};
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    const CHILD: &str = "EFFNET_TEST_MAPPED_FILE";
    const LINE: &str = "{\"whole\":true}\n";
    const SIGBUS: i32 = 7;

    /// Maps a file, says so, and reads it when it hears that it may.
    fn read_when_told(path: &Path) -> ! {
        super::explain();
        let weights = Weights::open(path).unwrap();
        let mut stdout = io::stdout();
        stdout.write_all(LINE.as_bytes()).unwrap();
        stdout.flush().unwrap();
        io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
        let tensors = 0..weights.tensors().len() as u32;
        let bytes = tensors.flat_map(|id| weights.bytes(TensorId(id)));
        std::process::exit(if bytes.map(|&byte| u64::from(byte)).sum::<u64>() > 0 { 0 } else { 1 })
    }

    /// The child, when it has mapped the file, and its output from there on.
    fn started(path: &Path) -> (Child, BufReader<impl Read>) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cli::bus::tests::a_truncated_file_is_told", "--nocapture"])
            .env(CHILD, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.ends_with(LINE) {
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "{line}");
        }
        (child, stdout)
    }

    #[test]
    fn a_truncated_file_is_told() {
        if let Some(path) = std::env::var_os(CHILD) {
            read_when_told(Path::new(&path));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let metadata = stand_in::metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp16);
        stand_in::write(&path, &metadata, 1).unwrap();

        // Left alone.
        let (child, _) = started(&path);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");

        // A signal that has nothing to do with a file.
        let (child, _) = started(&path);
        let sent = Command::new("kill").args(["-BUS", &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(SIGBUS), "{output:?}");

        // Truncated while it is in use.
        let (child, mut stdout) = started(&path);
        File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(STATUS), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), MESSAGE);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}
