"""The implementations: how each is installed, and the commands that start its client and its server."""

import os
import shutil
import subprocess
import sys

from world import HANDSHAKER_PORT


class Ours:
    """This project: tonic over tokio-alts."""

    name = "alts"

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

    def __init__(self, root):
        self.programs, self.platform = root / "interop" / "grpcio", root / "interop" / "google-cloud"
        requirements = (self.programs / "requirements.txt").read_text().splitlines()
        (self.version,) = [line.partition("==")[2] for line in requirements if line.startswith("grpcio==")]
        self.place = root / "target" / "interop" / f"grpcio-{self.version}"
        self.python = self.place / "bin" / "python"
        self.complete, self.why_not = self.place / "complete", self.place.with_suffix(".failed")

    def prepare(self):
        """Installs the package; what prevents it is told by `missing`."""
        if self.complete.exists():
            return
        print(f"installing grpcio {self.version} below target/interop", flush=True)
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.parent.mkdir(parents=True, exist_ok=True)
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        steps = [
            [sys.executable, "-m", "venv", self.place],
            [self.python, *pip, "--requirement", self.programs / "requirements.txt"],
        ]
        for step in steps:
            try:
                subprocess.run(step, check=True, stdin=subprocess.DEVNULL, timeout=300)
            except (OSError, subprocess.SubprocessError) as error:
                self.why_not.write_text(f"cannot be installed: {error}")
                return
        self.why_not.unlink(missing_ok=True)
        self.complete.touch()

    def missing(self):
        """Why it is not there; None when it is."""
        if self.complete.exists():
            return None
        return self.why_not.read_text() if self.why_not.exists() else "is not installed"

    def client(self, handshaker):
        return [self.platform, handshaker, self.python, "-B", self.programs / "client.py"]

    def server(self, handshaker):
        return [self.platform, handshaker, self.python, "-B", self.programs / "server.py"]


ALL = {peer.name: peer for peer in (Grpcio,)}
