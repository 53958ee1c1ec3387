"""The interoperability tests. interop/run starts this twice: `prepare` installs the peers, `cases` runs them."""

import argparse
import os
import pathlib
import signal
import sys
import time

import cases
import faults
import peers
import proxied
import spire
import transcripts
from world import World

ROOT = pathlib.Path(__file__).resolve().parents[2]
# As the gate understands it: nothing was tested.
SKIPPED = 77
# The modules of cases, and of their setting, where a peer has its own.
CASES = {peers.Envoy.name: proxied, spire.Spire.name: spire}
# Those that are tested only when they are asked for, because building them takes too long.
ON_REQUEST = {spire.Spire.name: spire.Spire}
PEERS = peers.ALL | ON_REQUEST


def main():
    parser = argparse.ArgumentParser(prog="interop/run", description="Tests ALTS between this project and others.")
    parser.add_argument("step", choices=["prepare", "cases"], help=argparse.SUPPRESS)
    parser.add_argument("--peer", action="append", choices=list(PEERS), help="only this peer (may be repeated)")
    parser.add_argument("--case", action="append", choices=[*proxied.ALL, *spire.ALL], help="only this case (may be repeated)")
    parser.add_argument("--record", action="store_true", help="make vectors/transcripts.json anew, and test nothing")
    arguments = parser.parse_args()

    chosen = [PEERS[name](ROOT) for name in arguments.peer or peers.ALL]
    if arguments.step == "prepare":
        for peer in chosen:
            peer.prepare()
        return 0

    # When this is ended from outside, all programs end with it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if arguments.record:
        transcripts.record(ROOT, chosen, CASES)
        return 0
    matrix = []
    for peer in chosen:
        reason = peer.missing()
        if reason:
            verdict = "fail" if os.environ.get("CI") == "true" else "skip"
            matrix.append(Line(peer, "all", "install", verdict, 0, reason))
            matrix[-1].show()
            continue
        module = CASES.get(peer.name, faults)
        for role in getattr(module, "ROLES", cases.ROLES):
            matrix += run_role(peer, role, module, arguments.case)

    print("\npeer version role case verdict seconds")
    for line in matrix:
        print(line)
    verdicts = [line.verdict for line in matrix]
    print(", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("pass", "fail", "skip")))
    if "fail" in verdicts:
        return 1
    return 0 if "pass" in verdicts else SKIPPED


def run_role(peer, role, module, chosen):
    """All cases of one role share the handshaker services and the server."""
    lines, setting = [], None
    names = [name for name in module.ALL if name in (chosen or module.ALL)]
    with World(ROOT, f"{peer.name}-{role}") as world:
        for name in ["start", *names]:
            begin, verdict, why = time.monotonic(), "pass", ""
            try:
                if name == "start":
                    setting = module.Setting(world, peer, role)
                else:
                    why = module.ALL[name](setting) or ""
            except cases.Skip as skip:
                verdict, why = "skip", str(skip)
            except Exception as error:  # A case that fails in whatever way does not stop the others.
                verdict, why = "fail", f"{type(error).__name__}: {error}"
            lines.append(Line(peer, role, name, verdict, time.monotonic() - begin, why))
            lines[-1].show()
            if verdict == "fail":
                world.show_output()
            if not setting:
                break
    return lines


class Line:
    """One line of the matrix."""

    def __init__(self, peer, role, case, verdict, seconds, why):
        self.peer, self.role, self.case, self.verdict, self.seconds, self.why = peer, role, case, verdict, seconds, why

    def __str__(self):
        return f"{self.peer.name} {self.peer.version} {self.role} {self.case} {self.verdict} {self.seconds:.1f}"

    def show(self):
        print(f"{self} {self.why}".rstrip(), flush=True)


sys.exit(main())
