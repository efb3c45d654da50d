//! Child programs: their lines as they come, a time limit, their last words, their peak memory.

use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that are kept to show if the program fails.
const LAST_LINES: usize = 12;
/// A longer line is cut into several: a program that writes one without end fills no memory.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Time between two looks at a program's memory. The system keeps the peak; frequent looks only
/// make sure that the last one is near the end.
const LOOK: Duration = Duration::from_millis(20);
/// Time to drain the pipes of a program that has ended.
const DRAIN: Duration = Duration::from_millis(500);

/// Why a step gives no result: a contestant of a comparison fails so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Step that failed.
    pub step: String,
    /// Reason of the failure.
    pub message: String,
    /// Last lines that the program wrote.
    pub last_lines: Vec<String>,
}

impl Failure {
    /// A failure of which no program says anything.
    pub fn new(step: &str, message: impl fmt::Display) -> Failure {
        Failure { step: step.to_owned(), message: message.to_string(), last_lines: Vec::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.message)?;
        self.last_lines.iter().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

impl std::error::Error for Failure {}

/// The pipe that a line came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pipe {
    Output,
    Error,
}

/// A running program; it is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<(Pipe, String)>,
    last_lines: VecDeque<String>,
    peak_bytes: Option<u64>,
    start: Instant,
}

/// Exit status and output of a program that ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    pub status: ExitStatus,
    /// Both pipes, in the order of arrival.
    pub text: String,
    pub last_lines: Vec<String>,
    pub peak_bytes: Option<u64>,
    /// Time from start to end.
    pub wall: Duration,
}

impl Program {
    /// Starts `command` with all three pipes.
    pub fn start(mut command: Command) -> io::Result<Program> {
        let start = Instant::now();
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (sender, lines) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let stdin = child.stdin.take();
        let last_lines = VecDeque::new();
        // From here on the program is ended where something fails.
        let program = Program { child, stdin, lines, last_lines, peak_bytes: None, start };
        if let Some(pipe) = stdout {
            read_lines(pipe, Pipe::Output, sender.clone())?;
        }
        if let Some(pipe) = stderr {
            read_lines(pipe, Pipe::Error, sender)?;
        }
        Ok(program)
    }

    /// The system's number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Time since the program was started.
    pub fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// Greatest resident memory of the program so far, where the system tells.
    pub fn peak_bytes(&mut self) -> Option<u64> {
        self.peak_bytes = peak_resident_bytes(self.child.id()).or(self.peak_bytes);
        self.peak_bytes
    }

    /// Writes a line to the program's standard input.
    pub fn write_line(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(stdin, "{line}")?;
        stdin.flush()
    }

    /// The next line that `wanted` takes from its standard output; the others are kept as last
    /// words. Fails where the program ends, or says nothing that is wanted within `limit`.
    pub fn wait_for<T>(
        &mut self,
        step: &str,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((Pipe::Output, line)) => match wanted(&line) {
                    Some(found) => return Ok(found),
                    None => self.keep(line),
                },
                Ok((Pipe::Error, line)) => self.keep(line),
                Err(RecvTimeoutError::Timeout) => return Err(self.overdue(step, limit)),
                Err(RecvTimeoutError::Disconnected) => {
                    let message = match self.ended_within(DRAIN) {
                        Some(status) => format!("ended early ({status})"),
                        None => "closed its output".to_owned(),
                    };
                    return Err(self.failure(step, message));
                }
            }
        }
    }

    /// Waits for the end, calling `look` now and then with the program's number.
    pub fn finish(
        mut self,
        step: &str,
        limit: Duration,
        mut look: impl FnMut(u32),
    ) -> Result<Ended, Failure> {
        self.stdin = None;
        let mut text = String::new();
        let deadline = self.start + limit;
        let status = loop {
            self.peak_bytes();
            look(self.child.id());
            self.take_lines(&mut text, LOOK);
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline => {}
                Ok(None) => return Err(self.overdue(step, limit)),
                Err(error) => return Err(self.failure(step, error.to_string())),
            }
        };
        let wall = self.start.elapsed();
        self.take_lines(&mut text, DRAIN);
        let last_lines = std::mem::take(&mut self.last_lines).into();
        Ok(Ended { status, text, last_lines, peak_bytes: self.peak_bytes, wall })
    }

    /// Takes the lines that arrive until the pipes are closed, for no longer than `limit`.
    fn take_lines(&mut self, text: &mut String, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((_, line)) => {
                    text.push_str(&line);
                    text.push('\n');
                    self.keep(line);
                }
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => {
                    // Nothing more to wait for here, and the caller may be waiting for the end.
                    thread::sleep(left.min(Duration::from_millis(1)));
                    return;
                }
            }
        }
    }

    fn keep(&mut self, line: String) {
        if line.trim().is_empty() {
            return;
        }
        if self.last_lines.len() == LAST_LINES {
            self.last_lines.pop_front();
        }
        self.last_lines.push_back(line);
    }

    fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
                _ => return None,
            }
        }
    }

    fn overdue(&mut self, step: &str, limit: Duration) -> Failure {
        let seconds = limit.as_secs_f64();
        self.failure(step, format!("not done after {seconds} s, and ended; see --timeout"))
    }

    /// A failure of `step`, with the program's last words.
    pub fn failure(&mut self, step: &str, message: String) -> Failure {
        // Words from just before a failure may still be on their way.
        self.take_lines(&mut String::new(), Duration::from_millis(50));
        let last_lines = self.last_lines.iter().cloned().collect();
        Failure { step: step.to_owned(), message, last_lines }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Its input closed, a driver ends by itself; anything else, and a driver that hangs, is
        // ended.
        self.stdin = None;
        if self.ended_within(Duration::from_millis(200)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn read_lines(
    pipe: impl Read + Send + 'static,
    name: Pipe,
    sender: mpsc::Sender<(Pipe, String)>,
) -> io::Result<()> {
    // The thread ends with the pipe, which children of the program may hold for longer than it: so
    // nobody waits for the thread.
    let read = move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            line.clear();
            match pipe.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    let text = String::from_utf8_lossy(&line);
                    if sender.send((name, text.trim_end().to_owned())).is_err() {
                        return;
                    }
                }
            }
        }
    };
    thread::Builder::new().name("lines".to_owned()).spawn(read).map(drop).map_err(|error| {
        io::Error::new(error.kind(), format!("no thread to read its output: {error}"))
    })
}

/// `VmHWM` of Linux; nothing on other systems.
fn peak_resident_bytes(id: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Program::start(command).unwrap()
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn a_program_that_ends_leaves_its_text_and_its_peak() {
        let program = shell("echo out; echo err >&2; sleep 0.1; exit 3");
        let ended = program.finish("step", LIMIT, |_| {}).unwrap();
        assert_eq!(ended.status.code(), Some(3));
        let mut lines: Vec<_> = ended.text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["err", "out"]);
        assert_eq!(ended.last_lines.len(), 2);
        if cfg!(target_os = "linux") {
            assert!(ended.peak_bytes.unwrap() > 0);
        }
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let ended = shell("seq 1000; echo").finish("step", LIMIT, |_| {}).unwrap();
        assert_eq!(ended.last_lines.len(), LAST_LINES);
        assert_eq!(ended.last_lines.last().unwrap(), "1000");
        assert_eq!(ended.text.lines().count(), 1001);
    }

    #[test]
    fn a_program_that_hangs_is_ended_and_so_is_the_wait_for_its_children() {
        let program = shell("echo begun; sleep 5 & sleep 5");
        let failure = program.finish("step", Duration::from_millis(300), |_| {}).unwrap_err();
        assert!(failure.message.contains("not done after 0.3 s"), "{}", failure.message);
        assert_eq!(failure.last_lines, ["begun"]);
    }

    #[test]
    fn lines_are_waited_for_and_others_are_last_words() {
        let mut program = shell("echo noise; read line; echo \"got $line\"; echo why >&2; exit 1");
        program.write_line("this").unwrap();
        let found = program
            .wait_for("asking", LIMIT, |line| line.strip_prefix("got ").map(str::to_owned))
            .unwrap();
        assert_eq!(found, "this");
        let mut failure = program.wait_for("next", LIMIT, |_| None::<()>).unwrap_err();
        assert!(failure.message.contains("ended early"), "{}", failure.message);
        assert_eq!(failure.step, "next");
        // The order of two pipes is not known.
        failure.last_lines.sort_unstable();
        assert_eq!(failure.last_lines, ["noise", "why"]);
    }
}
