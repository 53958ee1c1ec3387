"""The cases of a proxy: gRPC and HTTP go through it, in the clear at one of its ends.

Where the proxy is the client, a plain client stands before it; where it is the server, a plain server behind it.
"""

import contextlib
import shlex
import time

import cases
import faults
import wire
from cases import CLIENT_ACCOUNT, KIB, MIB, OTHER_ACCOUNT, SERVER_ACCOUNT, Skip, address, answer, require
from world import CLIENT_HANDSHAKER, HANDSHAKER_PORT, SERVER, SERVER_HANDSHAKER, Failed, World

HANDSHAKERS = {"originate": CLIENT_HANDSHAKER, "terminate": SERVER_HANDSHAKER}
VERSIONS = {"http1": ("--http1.1", "HTTP/1.1"), "http2": ("--http2-prior-knowledge", "HTTP/2.0")}
# As many as curl has at once, and less than either side allows handshakes in their queues.
CONNECTIONS = 200
# After this many seconds the proxy must have given up on a silent handshaker service; a test waits longer.
LATE, PATIENCE = 45, 75


class Setting(cases.Setting):
    """Has the proxy's plain clients and servers besides."""

    def __init__(self, world, peer, role):
        # The proxies in front of plain clients, which stay; and what ends with the case.
        self.originating, self.relays = {}, []
        super().__init__(world, peer, role)
        # Where data comes from and is looked at.
        self.origin = self.start(self.ours.web())
        self.relays.clear()

    def another_server(self, frame_size=None, handshaker=SERVER_HANDSHAKER):
        if self.server_side is self.ours:
            return super().another_server(frame_size, handshaker)
        origin, handshaker = self.start(self.ours.plain_server()), (handshaker, HANDSHAKER_PORT)
        return self.relay(self.server_side, "terminate", origin, handshaker=handshaker)

    def call(
        self,
        operation,
        *arguments,
        expect=SERVER_ACCOUNT,
        through=None,
        frame_size=None,
        within=cases.OPERATION,
    ):
        if self.client_side is self.ours:
            return super().call(
                operation, *arguments, expect=expect, through=through, frame_size=frame_size, within=within
            )
        target = through or self.server
        if (target, expect) not in self.originating:
            proxy = self.relay(self.client_side, "originate", target, *expecting(expect))
            self.originating[target, expect] = proxy
            self.relays.pop()
        command = [*self.ours.plain_client(), "--target", address(self.originating[target, expect])]
        command += ["--deadline", within, operation, *arguments]
        printed = self.world.run("client", command, within + cases.PROGRAM)
        self.world.check_running()
        return cases.json.loads(printed)

    def relay(self, side, mode, target, *arguments, handshaker=None):
        """Starts a relay between plain connections and ALTS, and returns where it listens."""
        where = (SERVER, next(World.ports))
        handshaker = handshaker or (HANDSHAKERS[mode], HANDSHAKER_PORT)
        command, ready = side.relay(address(handshaker), address(where), address(target), *arguments, mode)
        self.relays.append(self.world.start(f"{side.name}-{mode}-{where[1]}", command, ready))
        return where

    def start(self, command, *arguments):
        """Starts a server, and returns its address."""
        where = (SERVER, next(World.ports))
        command = [*command, "--listen", address(where), *arguments]
        self.relays.append(self.world.start(f"server-{where[1]}", command))
        return where

    def end_relays(self):
        """Ends what was started for one case."""
        while self.relays:
            self.world.stop(self.relays.pop())

    def web(self, frame_size=None):
        """Starts a web server behind ALTS, and returns where ALTS is."""
        if self.server_side is self.ours:
            handshaker = ["--handshaker", f"{SERVER_HANDSHAKER}:{HANDSHAKER_PORT}"]
            return self.start(self.ours.web(), *handshaker, *self.ours.frame_size_option(frame_size))
        return self.relay(self.server_side, "terminate", self.origin)

    def entry(self, target, *arguments, frame_size=None):
        """Starts what makes ALTS of plain connections to the target, and returns where it listens."""
        arguments += tuple(expecting(SERVER_ACCOUNT)) + tuple(self.client_side.frame_size_option(frame_size))
        return self.relay(self.client_side, "originate", target, *arguments)

    def shell(self, script, within=cases.OPERATION):
        """What a script prints that uses curl."""
        printed = self.world.run("curl", ["bash", "-c", f"set -euo pipefail; {script}"], within)
        self.world.check_running()
        return printed

    def get(self, where, path, version="http1"):
        """The body of a response that has to be a success."""
        return self.shell(f"{curl(version)} {url(where, path)}")

    def failure(self, where, path):
        """The status of a response, 0 if there was none, and curl's exit status."""
        write_out = shlex.quote("%{http_code} %{exitcode}")
        script = f"curl --silent --output /dev/null --write-out {write_out} {url(where, path)} || true"
        return tuple(map(int, self.shell(script, PATIENCE).split()))


def expecting(account):
    return ["--expect", account] if account else []


def curl(version):
    # Without the header it would wait a second for leave to send a body.
    return f"curl --silent --show-error --fail --header Expect: {VERSIONS[version][0]}"


def url(where, path):
    return f"http://{address(where)}/{path}"


def require_tally(printed, size):
    require(cases.json.loads(printed), {"bytes": size, "intact": True}, "what has arrived")


def require_version(setting, where, version):
    """The version in which curl speaks reaches the origin."""
    require(setting.get(where, "version", version), VERSIONS[version][1], "the version at the origin")


def require_echo(setting, where, version, size):
    """Data goes there and comes back."""
    script = f"{curl('http1')} {url(setting.origin, f'data/{size}')}"
    script += f" | {curl(version)} --upload-file - {url(where, 'echo')}"
    script += f" | {curl('http1')} --upload-file - {url(setting.origin, 'tally')}"
    require_tally(setting.shell(script), size)


def require_transfer(setting, source, sink, size):
    """Data that comes from the one arrives at the other."""
    script = f"{curl('http1')} {url(source, f'data/{size}')}"
    script += f" | {curl('http1')} --upload-file - {url(sink, 'tally')}"
    require_tally(setting.shell(script, cases.LONG_OPERATION), size)


# --- the cases ---


def http(version, size):
    def case(setting):
        entry = setting.entry(setting.web())
        require_version(setting, entry, version)
        require_echo(setting, entry, version, size)

    return case


def level(side, setting, by_request):
    """What makes a relay understand requests: Envoy always does, ours on request."""
    return ["--http"] if by_request and side is setting.ours else []


def require_chain(setting, client, server, version, by_request):
    """Two hops between curl and the origin, both proxies."""
    hop = setting.relay(server, "terminate", setting.origin, *level(server, setting, by_request))
    arguments = [*expecting(SERVER_ACCOUNT), *level(client, setting, by_request)]
    entry = setting.relay(client, "originate", hop, *arguments)
    require_version(setting, entry, version)
    require_echo(setting, entry, version, 10 * MIB)
    if by_request and server is setting.ours:
        # Whatever curl says of itself, the origin hears what ALTS has proved.
        lie = f"--header 'x-alts-peer-service-account: {OTHER_ACCOUNT}'"
        told = setting.shell(f"{curl(version)} {lie} {url(entry, 'account')}")
        require(told, CLIENT_ACCOUNT, "the account that the origin receives")


def chain(version, by_request):
    def case(setting):
        if by_request and setting.ours not in (setting.client_side, setting.server_side):
            raise Skip(f"the same as chain_{version}: Envoy understands requests always")
        require_chain(setting, setting.client_side, setting.server_side, version, by_request)

    return case


def chain_ours(setting):
    """The same with both hops ours."""
    if setting.ours in (setting.client_side, setting.server_side):
        raise Skip("the same in every role")
    for by_request in (False, True):
        for version in VERSIONS:
            require_chain(setting, setting.ours, setting.ours, version, by_request)


def http_rekey(direction):
    """As in gRPC's cases, by HTTP/1.1 on one connection."""

    def case(setting):
        frame, size = 16 * KIB, 1100 * MIB
        cases.require_choice(setting, frame)
        entry = setting.entry(setting.web(frame), frame_size=frame)
        source, sink = (entry, setting.origin) if direction == "download" else (setting.origin, entry)
        require_transfer(setting, source, sink, size)

    return case


def large_frames(setting):
    """Bytes that are relayed come in larger frames than usual where both sides agree on them; ours have 256 KiB."""
    frame, size = MIB, 256 * MIB
    cases.require_choice(setting, frame)
    arguments = {
        side: setting.ours.frame_size_option(frame) if side is setting.ours else []
        for side in (setting.client_side, setting.server_side)
    }
    server = setting.relay(setting.server_side, "terminate", setting.origin, *arguments[setting.server_side])
    with wire.Recorder(server) as recorder:
        client = setting.entry(recorder.address, frame_size=frame)
        for source, sink in ((client, setting.origin), (setting.origin, client)):
            require_transfer(setting, source, sink, size)
        setting.end_relays()
    seen = []
    for direction, side in (("to_server", setting.client_side), ("to_client", setting.server_side)):
        largest = max(max(wire.records(recording), default=0) for recording in recorder.recordings(direction))
        # More than our default.
        if not 128 * KIB < largest <= side.largest_length(frame, frame):
            raise Failed(f"{direction}: the largest length field is {largest}")
        seen.append(f"{direction} {largest}")
    return "largest length field: " + ", ".join(seen)


def keep_alive(version):
    """Many requests, one after the other, on one connection."""

    def case(setting):
        if (setting.client_side is setting.ours) and version == "http2":
            raise Skip("not every curl can do it")
        arguments = [] if setting.client_side is setting.ours else ["--keep-alive"]
        with wire.Recorder(setting.web()) as recorder:
            where = url(setting.entry(recorder.address, *arguments), "data/4")
            # By HTTP/2 the connections of its client may be many, those of the proxy are not.
            once = f"{curl(version)} {where}?[1-50]" if version == "http1" else f"{curl(version)} {where}"
            times = 1 if version == "http1" else 50
            printed = setting.shell(f"for time in {{1..{times}}}; do {once}; done")
            # The recorder waits for the ends of connections.
            setting.end_relays()
        require(printed, "\0" * 200, "the answers")
        require(len(recorder.recordings("to_server")), 1, "connections")

    return case


def connections(setting):
    """As many connections at once: each request is answered when all of them are there."""
    entry = setting.entry(setting.web())
    parallel = f"{curl('http1')} --parallel --parallel-immediate --parallel-max {CONNECTIONS}"
    path = f"together/{CONNECTIONS}?[1-{CONNECTIONS}]"
    printed = setting.shell(f"{parallel} {shlex.quote(url(entry, path))}")
    require(printed, "together\n" * CONNECTIONS, "the answers")


def accounts(setting):
    """The accounts that ALTS has proved, as far as the proxy reports them."""
    if setting.server_side is setting.ours:
        view = answer(setting.call("peer"))
        return cases.require_view("the server's", view, CLIENT_ACCOUNT, SERVER_ACCOUNT)
    # It reports whom it has admitted, in the log of connections.
    backend = setting.start(setting.ours.plain_server())
    server = setting.relay(setting.server_side, "terminate", backend, "--tcp", *expecting(CLIENT_ACCOUNT))
    report = setting.call("echo", 100, through=server)
    answer(report)
    if setting.client_side is setting.ours:
        cases.require_view("the client's", report["view"], SERVER_ACCOUNT, CLIENT_ACCOUNT)
    log = setting.world.output / f"{setting.server_side.name}-terminate-{server[1]}.log"
    give_up = time.monotonic() + 20
    while f"peer {CLIENT_ACCOUNT}\n" not in log.read_text():
        if time.monotonic() > give_up:
            raise Failed("it does not report the client's account")
        time.sleep(0.1)


def authorization(setting):
    if setting.server_side is not setting.ours:
        raise Skip("it admits connections, not calls: see not_allowed")
    return cases.authorization(setting)


def grpc_interop(setting):
    """gRPC's own tests, by our programs through the proxy."""
    for test in cases.GRPC_TESTS:
        try:
            answer(setting.call("grpc-test", test))
        except Failed as failed:
            raise Failed(f"{test}: {failed}") from None
    return f"{len(cases.GRPC_TESTS)} tests: {', '.join(cases.GRPC_TESTS)}"


def not_allowed(setting):
    """A proxy expects another account of its peer, on either side: nothing gets through."""
    seen = []
    for side in ("client", "server"):
        for account, allowed in ((CLIENT_ACCOUNT if side == "server" else SERVER_ACCOUNT, True), (OTHER_ACCOUNT, False)):
            # No byte of a request arrives behind ALTS.
            with wire.Recorder(setting.origin) as recorder:
                on_server = expecting(account) if side == "server" else []
                on_client = expecting(account if side == "client" else SERVER_ACCOUNT)
                server = setting.relay(setting.server_side, "terminate", recorder.address, *on_server)
                client = setting.relay(setting.client_side, "originate", server, *on_client)
                found = setting.failure(client, "version")
                arrived = any(recorder.recordings("to_server"))
            if allowed:
                require((found, arrived), ((200, 0), True), f"status from the account that the {side} expects")
            elif found[0] == 200 or arrived:
                raise Failed(f"the {side} does not refuse: status {found}, a request has arrived: {arrived}")
            else:
                seen.append(f"{side} expects another: status {found[0]}, curl {found[1]}")
    return ", ".join(seen)


def service_hangs(setting):
    """A handshaker service that takes the call and never answers: the connection fails, and not too late."""
    if setting.client_side is not setting.ours:
        server = setting.relay(setting.ours, "terminate", setting.origin)
        client = setting.relay(setting.client_side, "originate", server, handshaker=setting.origin)
    else:
        server = setting.relay(setting.server_side, "terminate", setting.origin, handshaker=setting.origin)
        client = setting.relay(setting.ours, "originate", server, "--handshake-deadline", f"{PATIENCE}s")
    begin = time.monotonic()
    status, exit_status = setting.failure(client, "version")
    failed_after = time.monotonic() - begin
    if status == 200:
        raise Failed("a response without a handshake")
    if failed_after > LATE:
        raise Failed(f"it has failed only after {failed_after:.1f} s")
    return f"status {status}, curl {exit_status} after {failed_after:.1f} s"


def service_down(setting):
    """Nobody listens where the handshaker service of one of the proxies should be: requests fail, and soon."""
    nobody, seen = (SERVER, next(World.ports)), []
    for side in ("client", "server"):
        services = {"client": (None, nobody), "server": (nobody, None)}[side]
        server = setting.relay(setting.server_side, "terminate", setting.origin, handshaker=services[0])
        client = setting.relay(
            setting.client_side, "originate", server, *expecting(SERVER_ACCOUNT), handshaker=services[1]
        )
        begin = time.monotonic()
        status, exit_status = setting.failure(client, "version")
        failed_after = time.monotonic() - begin
        if status == 200 or failed_after > LATE:
            raise Failed(f"without the {side}'s service: status {status} after {failed_after:.1f} s")
        seen.append(f"without the {side}'s: status {status}, curl {exit_status} after {failed_after:.1f} s")
    return ", ".join(seen)


def service_silent(setting):
    """A handshaker service that takes the connection and does not even speak HTTP/2; others wait for it too."""
    if setting.client_side is setting.ours:
        raise Skip("it reads no request before the handshake")
    with contextlib.closing(wire.socket.create_server((SERVER, next(World.ports)))) as silent:
        client = setting.relay(setting.client_side, "originate", setting.origin, handshaker=silent.getsockname())
        script = f"curl --silent --output /dev/null --write-out '%{{http_code}} %{{time_total}}\\n' {url(client, '')}"
        printed = setting.shell(f"{script}version & sleep 1; {script}alive; wait", PATIENCE).split()
    found = {int(status): float(seconds) for status, seconds in zip(printed[::2], printed[1::2], strict=True)}
    require(sorted(found), [200, 503], "status of what waits for the service, and of what does not")
    if found[503] > LATE:
        raise Failed(f"it has failed only after {found[503]:.1f} s")
    return f"status 503 after {found[503]:.1f} s; a request that needs no connection waited {found[200]:.1f} s"


def alone(case):
    """A case whose programs end with it."""

    def run(setting):
        try:
            return case(setting)
        finally:
            setting.end_relays()

    return run


SIZES = {"0": 0, "100": 100, "1MiB": MIB, "10MiB": 10 * MIB}
OWN = {
    "accounts": accounts,
    "authorization": authorization,
    "grpc_interop": grpc_interop,
    "not_allowed": not_allowed,
    "service_down": service_down,
    "service_hangs": service_hangs,
    "service_silent": service_silent,
    **{f"{version}_{name}": http(version, size) for version in VERSIONS for name, size in SIZES.items()},
    **{f"{version}_keep_alive": keep_alive(version) for version in VERSIONS},
    "large_frames": large_frames,
    **{f"http1_rekey_{direction}": http_rekey(direction) for direction in ("download", "upload")},
    **{f"chain_{version}": chain(version, by_request=False) for version in VERSIONS},
    **{f"chain_{version}_requests": chain(version, by_request=True) for version in VERSIONS},
    "chain_ours": chain_ours,
    f"http1_connections_{CONNECTIONS}": connections,
}
ALL = faults.ALL | {name: alone(case) for name, case in OWN.items()}
