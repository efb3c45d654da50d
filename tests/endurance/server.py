"""A server under test, and what the system says of its process."""

import collections
import os
import re
import signal
import subprocess
import threading
import time

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
MB = 10**6


def statistics(pid):
    """Processor seconds and threads of a process, from /proc/PID/stat."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS, int(fields[17])


def busy_seconds():
    """Processor seconds of all that runs on the machine, from the first line of /proc/stat."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / TICKS


class Server:
    """`effnet serve` on free ports of the loopback interface; the process is killed when the block ends."""

    def __init__(self, effnet, *options, wait=True):
        command = [str(effnet), "serve", "--device", "cpu", *map(str, options)]
        for name in ["--http", "--grpc"]:
            if name not in command:
                command += [name, "127.0.0.1:0"]
        self.said = collections.deque(maxlen=200)
        self.panics = 0
        self.began = time.perf_counter()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self.has_addresses = threading.Event()
        self.http = self.grpc = None
        threading.Thread(target=self._listen, daemon=True).start()
        if wait and not self.has_addresses.wait(30):
            self.process.kill()
            raise RuntimeError(f"the server did not start: {list(self.said)}")

    def _listen(self):
        """Reads standard error to its end: the addresses, panics, and the last lines."""
        for line in self.process.stderr:
            self.said.append(line.rstrip())
            self.panics += "panicked" in line
            found = re.match(r"serving http://\S+?:(\d+)(?:, grpc \S+?:(\d+))?", line)
            if found and not self.has_addresses.is_set():
                self.http = ("127.0.0.1", int(found[1]))
                self.grpc = ("127.0.0.1", int(found[2])) if found[2] else None
                self.has_addresses.set()

    def stop(self):
        """Sends SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self, limit):
        """The exit status, or None where the process is still there after so many seconds."""
        try:
            return self.process.wait(timeout=max(limit, 0))
        except subprocess.TimeoutExpired:
            return None

    def is_running(self):
        return self.process.poll() is None

    def processor_seconds(self):
        return statistics(self.pid)[0]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Meter:
    """Samples resident memory, descriptors and threads of a server until the block ends."""

    def __init__(self, server, pause=0.25):
        self.server, self.pause = server, pause
        self.samples = []
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self):
        pid = self.server.pid
        while not self.is_over.wait(self.pause):
            try:
                with open(f"/proc/{pid}/statm") as file:
                    rss = int(file.read().split()[1]) * PAGE_BYTES
                self.samples.append((time.perf_counter(), rss, self.server.descriptors(), statistics(pid)[1]))
            except (OSError, IndexError):
                return

    def __enter__(self):
        self.began = time.perf_counter()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()
        self.ended = time.perf_counter()

    def between(self, begin, end, column):
        """Values of a column (1 RSS, 2 descriptors, 3 threads) between two parts of the time, 0 to 1."""
        length = self.ended - self.began
        low, high = self.began + begin * length, self.began + end * length
        return [sample[column] for sample in self.samples if low <= sample[0] <= high] or [0]
