"""The processes of a test: started, awaited, and ended whatever happens; and the network they have to themselves."""

import fcntl
import itertools
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

# Where the services of both sides are. C core's port is fixed.
CLIENT_HANDSHAKER, SERVER_HANDSHAKER, HANDSHAKER_PORT = "127.0.0.61", "127.0.0.62", 8080
SERVER = "127.0.0.1"


class Failed(Exception):
    """What a program did is not what it should have done."""


class World:
    """Programs that run together; leaving it ends them all."""

    # Below the ports that the kernel gives to outgoing connections.
    ports = itertools.count(20001)

    def __init__(self, root, name):
        self.root, self.running = root, []
        self.output = root / "target" / "interop" / "output" / name
        shutil.rmtree(self.output, ignore_errors=True)
        self.output.mkdir(parents=True)

    def __enter__(self):
        raise_loopback()
        return self

    def __exit__(self, *_):
        for _, process in reversed(self.running):
            end(process)

    def start(self, name, command, ready="listening on .*", within=30):
        """Starts a program that stays, and waits until it has printed a line that matches `ready`."""
        output = self.output / f"{name}.log"
        process = self._spawn(command, stdout=output.open("wb"), stderr=subprocess.STDOUT)
        self.running.append((name, process))
        give_up = time.monotonic() + within
        while not re.search(f"^{ready}$", output.read_text(errors="replace"), re.M):
            why = None
            if process.poll() is not None:
                why = f"{name} ended with status {process.returncode}: {self.last(name)}"
            elif time.monotonic() > give_up:
                why = f"{name} was not ready after {within} seconds: {self.last(name)}"
            if why:
                # Of no concern to the cases behind this one.
                self.stop(process)
                raise Failed(why)
            time.sleep(0.02)
        return process

    def stop(self, process):
        """Ends a program that `start` has returned."""
        self._forget(process)
        end(process)

    def kill(self, process):
        """Ends a program that `start` has returned, by force."""
        self._forget(process)
        process.kill()
        end(process)

    def _forget(self, process):
        self.running = [(name, other) for name, other in self.running if other is not process]

    def run(self, name, command, within):
        """Runs a program to its end, and returns what it has printed to its standard output."""
        with (self.output / f"{name}.log").open("wb") as errors:
            process = self._spawn(command, stdout=subprocess.PIPE, stderr=errors)
        self.running.append((name, process))
        try:
            printed, _ = process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            raise Failed(f"{name} was not done after {within} seconds") from None
        finally:
            # Others may have been started while it ran.
            self.stop(process)
        if process.returncode:
            raise Failed(f"{name} ended with status {process.returncode}: {self.last(name)}")
        return printed.decode()

    def check_running(self):
        """No program that stays has ended."""
        for name, process in self.running:
            if process.poll() is not None:
                raise Failed(f"{name} has ended with status {process.returncode}: {self.last(name)}")

    def last(self, name):
        """The last line that a program has printed."""
        lines = (self.output / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it has printed nothing"

    def show_output(self, lines=15):
        """Prints the end of what each program has printed."""
        for log in sorted(self.output.glob("*.log")):
            for line in log.read_text(errors="replace").splitlines()[-lines:]:
                print(f"    {log.stem}: {line}")

    def _spawn(self, command, **streams):
        # In a session of its own, so that all of it can be ended; and not to outlive this process.
        command = ["setpriv", "--pdeathsig", "KILL", *map(str, command)]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, cwd=self.root, start_new_session=True, **streams
        )


def end(process):
    """Ends a program and all that it has started: by request first, then by force."""
    for number, patience in ((signal.SIGTERM, 2), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
    process.wait(10)


def raise_loopback():
    """A network of its own begins without any interface that is up."""
    get_flags, set_flags, is_up = 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(control, get_flags, struct.pack("16s16x", b"lo")))
        if not flags & is_up:
            fcntl.ioctl(control, set_flags, struct.pack("16sh14x", b"lo", flags | is_up))
