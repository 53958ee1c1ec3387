"""The cases in which something goes wrong on the way, or much happens at once."""

import contextlib
import os
import signal
import socket
import time

import cases
import wire
from cases import KIB, MIB, OPERATION, Setting, Skip, answer, require
from world import Failed

__all__ = ["ALL", "Setting"]

# A call that cannot succeed fails within this many seconds, also when the peer's own deadlines decide; and a call
# that nothing hinders is done.
LATE, SOON = 45, 15
CONNECTIONS, IDLE = 200, 150
# More than a handshake has in either direction, and less than the records behind it.
HANDSHAKE = 4 * KIB


def require_failure(setting, operation, *arguments, within=SOON, **options):
    """The call fails, and not only because its own time is over; returns how."""
    begin = time.monotonic()
    report = setting.call(operation, *arguments, within=within, **options)
    failed_after = time.monotonic() - begin
    # A peer's own deadline may have the name of the call's.
    if report["status"] == "OK" or failed_after >= within:
        raise Failed(f"status {report['status']} after {failed_after:.1f} s: {report.get('details')}")
    return f"{report['status']} after {failed_after:.1f} s"


def require_service(setting):
    """The same server serves others."""
    require(answer(setting.call("echo", 100, within=SOON)), {"intact": True}, "echo")


def service_hangs(setting):
    """The handshaker service takes connections and requests, and says nothing: calls fail in the client's own time."""
    if setting.client_side is setting.server_side:
        raise Skip("the client is the same as in the role client")
    group = setting.handshaker.pid
    os.killpg(group, signal.SIGSTOP)
    try:
        how = require_failure(setting, "echo", 100, within=LATE)
    finally:
        os.killpg(group, signal.SIGCONT)
    begin = time.monotonic()
    while (again := setting.call("echo", 100))["status"] != "OK":
        if time.monotonic() - begin > OPERATION:
            answer(again)
        time.sleep(0.2)
    return f"{how}, worked {time.monotonic() - begin:.1f} s after it went on"


def handshake_cut(setting):
    """The connection ends within the handshake's messages: the client has an error, the server serves others."""
    seen = []
    for direction in ("to_server", "to_client"):
        for after in (1, 700, 2000):
            with wire.Cutter(setting.server, direction, after) as cutter:
                how = require_failure(setting, "echo", 100, through=cutter.address)
            seen.append(f"{direction} {after}: {how}")
        require_service(setting)
    return ", ".join(seen)


def one_byte_segments(setting):
    """The handshake and the first records arrive byte after byte."""
    with wire.Dropper(setting.server, HANDSHAKE) as dropper:
        require(answer(setting.call("echo", 20 * KIB, through=dropper.address)), {"intact": True}, "echo")


def joined_segments(setting):
    """The client's last message of the handshake and its first records arrive at once."""
    with wire.Joiner(setting.server) as joiner:
        require(answer(setting.call("echo", 100, through=joiner.address)), {"intact": True}, "echo")
    if not joiner.joined:
        raise Failed("the client sent no record behind its handshake")


def bad_record(direction, operation):
    """A bit of a record is flipped: its receiver ends the connection, the call fails, the server serves others."""

    def case(setting):
        with wire.Corrupter(setting.server, direction, after=10) as corrupter:
            how = require_failure(setting, operation, 32, MIB, through=corrupter.address)
        if not corrupter.corrupted:
            raise Failed("there was no such record")
        receiver = {"to_server": "to_client", "to_client": "to_server"}[direction]
        for connection in corrupter.corrupted:
            ends = corrupter.ends[connection]
            require(sorted(ends), ["to_client", "to_server"], "the directions that were ended")
            require(ends[0], receiver, "the direction that was ended first, that of the receiver")
        require_service(setting)
        return how

    return case


def connections(setting):
    """So many connections of one client at once, each with a call that waits for none of the others."""
    require(answer(setting.call("connections", CONNECTIONS)), {"intact": CONNECTIONS}, "connections")


def idle_connections(setting):
    """Connections on which nothing is said keep no handshake waiting."""
    if why := getattr(setting.server_side, "idle_blocks", None):
        raise Skip(why)
    with contextlib.ExitStack() as idle:
        for _ in range(IDLE):
            idle.enter_context(socket.create_connection(setting.server))
        time.sleep(0.2)
        begin = time.monotonic()
        require_service(setting)
        return f"a call beside {IDLE} idle connections took {time.monotonic() - begin:.1f} s"


OWN = {
    "service_hangs": service_hangs,
    "handshake_cut": handshake_cut,
    "one_byte_segments": one_byte_segments,
    "joined_segments": joined_segments,
    "bad_record_to_server": bad_record("to_server", "upload"),
    "bad_record_to_client": bad_record("to_client", "download"),
    f"connections_{CONNECTIONS}": connections,
    f"idle_{IDLE}": idle_connections,
}
ALL = cases.ALL | OWN
