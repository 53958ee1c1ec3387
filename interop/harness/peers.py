"""The implementations: how each is installed, and the commands that start its client and its server."""

import os
import shlex
import shutil
import subprocess
import sys

from world import HANDSHAKER_PORT


class Ours:
    """This project: tonic over tokio-alts."""

    name = "alts"

    @staticmethod
    def frame_size(chosen):
        """The largest frame that it offers, in bytes, when told to offer `chosen`."""
        return chosen or 128 << 10

    @staticmethod
    def frame_size_option(chosen):
        return ["--max-frame-size", chosen] if chosen else []

    @staticmethod
    def largest_length(agreed):
        """The largest length field that it may write: the agreed size counts the whole frame."""
        return agreed - 4

    def __init__(self, root):
        self.programs = root / os.environ.get("CARGO_TARGET_DIR", "target") / os.environ["INTEROP_PROFILE"]

    def client(self, handshaker):
        return [self.programs / "alts-interop-client", "--handshaker", f"{handshaker}:{HANDSHAKER_PORT}"]

    def server(self, handshaker):
        return [self.programs / "alts-interop-server", "--handshaker", f"{handshaker}:{HANDSHAKER_PORT}"]

    def handshaker(self, identities):
        """The handshaker service for all: {IP: account}."""
        arguments = [f"{ip}:{HANDSHAKER_PORT}={account}" for ip, account in identities.items()]
        return [self.programs / "alts-interop-handshaker", *arguments]


class Grpcio:
    """gRPC C core, by Python's package grpcio."""

    name = "grpcio"

    @staticmethod
    def frame_size(_chosen):
        return 1 << 20

    @staticmethod
    def frame_size_option(_chosen):
        return []

    @staticmethod
    def largest_length(agreed):
        """To C core the agreed size is what the length field counts."""
        return agreed

    def __init__(self, root):
        self.programs, self.platform = root / "interop" / "grpcio", root / "interop" / "google-cloud"
        self.requirements = self.programs / "requirements.txt"
        pinned = [line.partition("==") for line in self.requirements.read_text().splitlines()]
        (self.version,) = [version for name, _, version in pinned if name == "grpcio"]
        self.place = root / "target" / "interop" / f"grpcio-{self.version}"
        self.python = self.place / "bin" / "python"
        self.complete, self.why_not = self.place / "complete", self.place.with_suffix(".failed")

    def prepare(self):
        """Installs the package; what prevents it is told by `missing`."""
        if self.missing() is None:
            return
        print(f"installing grpcio {self.version} below target/interop", flush=True)
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.parent.mkdir(parents=True, exist_ok=True)
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        steps = [
            [sys.executable, "-m", "venv", self.place],
            [self.python, *pip, "--requirement", self.requirements],
        ]
        for step in steps:
            try:
                subprocess.run(step, check=True, stdin=subprocess.DEVNULL, timeout=300)
            except (OSError, subprocess.SubprocessError) as error:
                command = shlex.join(map(str, step))
                self.why_not.write_text(f"cannot be installed: {type(error).__name__} from {command}")
                return
        self.why_not.unlink(missing_ok=True)
        self.complete.write_text(self.requirements.read_text())

    def missing(self):
        """Why it is not there; None when it is."""
        if self.complete.exists() and self.complete.read_text() == self.requirements.read_text():
            return None
        return self.why_not.read_text() if self.why_not.exists() else "is not installed"

    def client(self, handshaker):
        return [self.platform, handshaker, self.python, "-B", self.programs / "client.py"]

    def server(self, handshaker):
        return [self.platform, handshaker, self.python, "-B", self.programs / "server.py"]


ALL = {peer.name: peer for peer in (Grpcio,)}
