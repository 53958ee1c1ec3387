"""The cases: what a client of one implementation and a server of another have to do with each other."""

import json
import time

import wire
from peers import Ours
from world import CLIENT_HANDSHAKER, SERVER, SERVER_HANDSHAKER, Failed, World

# What the peer is; ours is the other end, and the handshaker service of both.
ROLES = ("client", "server", "both")

CLIENT_ACCOUNT, SERVER_ACCOUNT, OTHER_ACCOUNT = "client@interop.test", "server@interop.test", "other@interop.test"
KIB, MIB = 1 << 10, 1 << 20
# How long the operation of a client may take, a long one, and how much longer its program, in seconds.
OPERATION, LONG_OPERATION, PROGRAM = 60, 300, 15


class Skip(Exception):
    """A case that says nothing about this role of this peer."""


class Setting:
    """The handshaker services and the server of one role; clients come and go."""

    def __init__(self, world, peer, role):
        self.world, self.ours = world, Ours(world.root)
        self.client_side = peer if role in ("client", "both") else self.ours
        self.server_side = peer if role in ("server", "both") else self.ours
        self.start_handshaker()
        self.server = self.another_server()

    def start_handshaker(self):
        """Starts the daemon, the handshaker services of both sides, with a new authority."""
        identities = {CLIENT_HANDSHAKER: CLIENT_ACCOUNT, SERVER_HANDSHAKER: SERVER_ACCOUNT}
        directory = self.world.output / "altsd"
        self.world.run("certificates", self.ours.certificates(directory, identities.values()), PROGRAM)
        self.handshaker = self.world.start("altsd", *self.ours.handshaker(directory, identities))

    def another_server(self, frame_size=None, handshaker=SERVER_HANDSHAKER):
        """Starts a server, with a frame size of its own where it has the choice, and returns its address."""
        where = (SERVER, next(World.ports))
        command = [*self.server_side.server(handshaker), "--listen", address(where)]
        self.world.start(f"server-{where[1]}", command + self.server_side.frame_size_option(frame_size))
        return where

    def call(self, operation, *arguments, expect=SERVER_ACCOUNT, through=None, frame_size=None, within=OPERATION):
        """What the client's program reports of one operation."""
        command = [*self.client_side.client(CLIENT_HANDSHAKER), "--target", address(through or self.server)]
        command += ["--deadline", within] + (["--expect", expect] if expect else [])
        command += self.client_side.frame_size_option(frame_size)
        printed = self.world.run("client", [*command, operation, *arguments], within + PROGRAM)
        self.world.check_running()
        return json.loads(printed)


def address(pair):
    return "{}:{}".format(*pair)


def require(found, wanted, what):
    if found != wanted:
        raise Failed(f"{what}: {found!r}, not {wanted!r}")


def answer(report):
    """What an operation has yielded that has to succeed."""
    if report["status"] != "OK":
        raise Failed(f"status {report['status']}: {report['details']}")
    return report["answer"]


# --- the cases; what they return is printed beside the verdict ---


def unary(size):
    def case(setting):
        require(answer(setting.call("echo", size)), {"intact": True}, "echo")

    return case


def stream(operation, messages, size):
    def case(setting):
        wanted = {"messages": messages, "bytes": messages * size, "intact": True}
        require(answer(setting.call(operation, messages, size)), wanted, operation)

    return case


def rekey(operation):
    """More than 2^16 frames on one connection: the sender and the receiver change to the next key at once."""

    def case(setting):
        frame, messages = 16 * KIB, 1100
        # Otherwise that many frames would take 64 GiB.
        require_choice(setting, frame)
        server = setting.another_server(frame)
        report = setting.call(
            operation, messages, MIB, through=server, frame_size=frame, within=LONG_OPERATION
        )
        require(answer(report), {"messages": messages, "bytes": messages * MIB, "intact": True}, operation)

    return case


def accounts(setting):
    """Each side's view of what was proved, by the application's own means."""
    report = setting.call("peer")
    for side, found, peer, local in (
        ("the server's", answer(report), CLIENT_ACCOUNT, SERVER_ACCOUNT),
        ("the client's", report.get("view", {}), SERVER_ACCOUNT, CLIENT_ACCOUNT),
    ):
        require_view(side, found, peer, local)


def require_view(side, found, peer, local):
    wanted = {
        "transport_security_type": "alts",
        "application_protocol": "grpc",
        "record_protocol": "ALTSRP_GCM_AES128_REKEY",
        "security_level": "INTEGRITY_AND_PRIVACY",
        "peer_service_account": peer,
        "local_service_account": local,
        "peer_rpc_versions": "2.1..2.1",
    }
    # C core reports the level a second time, in its own words.
    if "transport_security_level" in found:
        wanted["transport_security_level"] = "TSI_PRIVACY_AND_INTEGRITY"
    require(found, wanted, f"{side} view")


def any_server(setting):
    """A client that expects nobody in particular."""
    require(answer(setting.call("echo", 100, expect=None)), {"intact": True}, "echo")


def wrong_server(setting):
    """A client that expects another account sends nothing."""
    report = setting.call("echo", 100, expect=OTHER_ACCOUNT)
    wanted = getattr(setting.client_side, "refused", ("UNAVAILABLE",))
    if report["status"] not in wanted:
        raise Failed(f"status of a call to the wrong account: {report['status']!r}, not one of {wanted}")
    return report["details"]


def authorization(setting):
    """A server that admits one account serves it and refuses the others."""
    answer(setting.call("restricted", CLIENT_ACCOUNT))
    report = setting.call("restricted", OTHER_ACCOUNT)
    require(report["status"], "PERMISSION_DENIED", "status of a call that is not admitted")
    return report["details"]


def service_restart(setting):
    """Without the handshaker service a call fails soon; with a new one calls work again, to the same server."""
    setting.world.stop(setting.handshaker)
    try:
        begin = time.monotonic()
        report = setting.call("echo", 100)
        require(report["status"], "UNAVAILABLE", "status of a call without a handshaker service")
        failed_after = time.monotonic() - begin
    finally:
        setting.start_handshaker()
    begin = time.monotonic()
    # The peers wait a while before they connect to the service once more.
    while (again := setting.call("echo", 100))["status"] != "OK":
        if time.monotonic() - begin > OPERATION:
            answer(again)
        time.sleep(0.2)
    recovered_after = time.monotonic() - begin
    return f"failed after {failed_after:.1f} s ({report['details']}), worked {recovered_after:.1f} s after the restart"


def frames(own_size):
    """What a listener on the wire sees: only frames, as large as agreed, and nothing in the clear."""

    def case(setting):
        if own_size:
            require_choice(setting, own_size)
        server = setting.another_server(own_size) if own_size else setting.server
        with wire.Recorder(server) as recorder:
            wanted = {"messages": 4, "bytes": 16 * MIB, "intact": True}
            for operation in ("upload", "download"):
                report = setting.call(operation, 4, 4 * MIB, through=recorder.address, frame_size=own_size)
                require(answer(report), wanted, operation)
        seen = []
        client, server = setting.client_side, setting.server_side
        for direction, side, other in (("to_server", client, server), ("to_client", server, client)):
            lengths = []
            for recording in recorder.recordings(direction):
                if wire.PLAINTEXT in recording:
                    raise Failed(f"{direction}: the data is to be seen in the clear")
                lengths += wire.records(recording)
            limit = side.largest_length(own_size, other.frame_size(own_size))
            if max(lengths) > limit:
                raise Failed(f"{direction}: the largest length field is {max(lengths)}, {side.name} may write {limit}")
            seen.append(f"{direction} {max(lengths)} of {limit}")
        return "largest length field: " + ", ".join(seen)

    return case


def require_choice(setting, frame_size):
    """Neither side would do anything with a frame size that the case has chosen."""
    if not any(side.frame_size_option(frame_size) for side in (setting.client_side, setting.server_side)):
        raise Skip("its frame size is fixed")


# gRPC's own interoperability tests, those that need no credentials but ALTS.
GRPC_TESTS = (
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
)


def grpc_interop(setting):
    """gRPC's own tests, by the programs that the implementations have for them."""
    client, server = setting.client_side, setting.server_side
    if not hasattr(client, "grpc_client") or not hasattr(server, "grpc_server"):
        raise Skip("there are no programs for it")
    where = (SERVER, next(World.ports))
    command, ready = server.grpc_server(SERVER_HANDSHAKER, where)
    setting.world.start(f"grpc-server-{where[1]}", command, ready)
    tests = [*GRPC_TESTS, *(getattr(client, "more_grpc_tests", ()) if client.name == server.name else ())]
    for test in tests:
        try:
            setting.world.run("grpc-client", client.grpc_client(CLIENT_HANDSHAKER, where, test), OPERATION)
            setting.world.check_running()
        except Failed as failed:
            raise Failed(f"{test}: {failed}") from None
    return f"{len(tests)} tests: {', '.join(tests)}"


ALL = {
    "unary_0": unary(0),
    "unary_100": unary(100),
    "unary_1MiB": unary(MIB),
    "unary_10MiB": unary(10 * MIB),
    "download_100x1MiB": stream("download", 100, MIB),
    "upload_100x1MiB": stream("upload", 100, MIB),
    "rekey_download": rekey("download"),
    "rekey_upload": rekey("upload"),
    "echo_100x100KiB": stream("echo-stream", 100, 100 * KIB),
    "accounts": accounts,
    "any_server": any_server,
    "wrong_server": wrong_server,
    "authorization": authorization,
    "grpc_interop": grpc_interop,
    "service_restart": service_restart,
    "frames": frames(None),
    "frames_16KiB": frames(16 * KIB),
    "frames_64KiB": frames(64 * KIB),
    "frames_1MiB": frames(MIB),
}
