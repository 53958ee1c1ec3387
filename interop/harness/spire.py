"""SPIRE, unmodified: its agent gives each process an identity, which altsd passes on to stock gRPC programs.

One server and one agent for each trust domain, and one altsd beside each agent. Programs are known by their
users, as the agent's unix attestor finds them.
"""

import json
import os
import pathlib
import shlex
import subprocess
import threading
import time

import cases
from cases import answer, require, require_view
from peers import Go, Grpcio, Ours
from world import CLIENT_HANDSHAKER, HANDSHAKER_PORT, SERVER, SERVER_HANDSHAKER, Failed, World

# Who calls and who serves is one setting: no role of a peer.
ROLES = ("both",)
DOMAIN, PARTNER = "field.test", "partner.test"
# The users of the tests' programs: two that are known, and one that is not.
CLIENT_USER, SERVER_USER, STRANGER = 61101, 61102, 61103
WEB, DB, ALTSD = "web", "db", "altsd"
# How long a load lasts, in seconds, and how many calls a second it makes, each on a connection of its own.
ROTATION, RATE = int(os.environ.get("INTEROP_ROTATION", "60")), 50
# The agent asks its server every five seconds.
SOON = 40


class Spire:
    """SPIRE's server and agent, built from the Go module proxy.

    The agent is the newer one: 1.15 has the Broker API, and what its server needs is not in the module proxy
    everywhere.
    """

    name = "spire"
    # The server has SQLite in it: with two cores, a first build takes ten minutes.
    PATIENCE = 2400

    def __init__(self, root):
        self.root, self.programs = root, root / "interop" / "spire"
        (server, agent) = (self._pinned(name) for name in ("server", "agent"))
        self.version = f"{server}+{agent}"
        self.place = root / "target" / "interop" / f"spire-{self.version}"
        self.why_not = root / "target" / "interop" / f"spire-{self.version}.failed"

    def prepare(self):
        """Compiles the programs, and installs those that call; `missing` says what prevents it."""
        for peer in (Grpcio(self.root), Go(self.root)):
            peer.prepare()
        if self.missing() is None:
            return
        print(f"building SPIRE {self.version} below target/interop", flush=True)
        self.why_not.unlink(missing_ok=True)
        for name in ("server", "agent"):
            package = f"github.com/spiffe/spire/cmd/spire-{name}"
            command = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", f"{self.place}/", package]
            where = self.programs / name
            try:
                subprocess.run(command, check=True, stdin=subprocess.DEVNULL, cwd=where, timeout=self.PATIENCE)
            except (OSError, subprocess.SubprocessError) as error:
                self.why_not.write_text(f"cannot be built: {type(error).__name__} from {shlex.join(command)}")
                return

    def _pinned(self, name):
        """The version of one of the two programs."""
        lines = (self.programs / name / "go.mod").read_text().splitlines()
        words = (line.removeprefix("require").split() for line in lines)
        (version,) = [line[1].removeprefix("v") for line in words if line[:1] == ["github.com/spiffe/spire"]]
        return version

    def missing(self):
        """Why it is not there; None when it is."""
        if os.geteuid() != 0:
            return "only root can be several users"
        if self.why_not.exists():
            return self.why_not.read_text()
        complete = all((self.place / f"spire-{name}").exists() for name in ("server", "agent"))
        return None if complete else "is not built"


class Domain:
    """A trust domain: its server and its agent, and the daemon beside the agent."""

    def __init__(self, world, peer, name, port):
        self.world, self.peer, self.name, self.port = world, peer, name, port
        self.place = world.output / name
        # Below it, SPIRE makes sockets: no user of the tests may be kept out of the public one.
        for folder in ("server", "agent", "public", "admin", "broker"):
            (self.place / folder).mkdir(parents=True)
        self.ids = {}
        self._configure()
        world.start(f"server-{name}", [self._program("server"), "run", "-config", self.place / "server.conf"], ".*Starting Server APIs.*")
        (self.place / "bundle.pem").write_text(self._ask("bundle", "show"))
        self.agent = None
        self.start_agent()

    def id(self, name):
        return f"spiffe://{self.name}/{name}"

    @property
    def admin(self):
        return self.place / "admin" / "admin.sock"

    @property
    def public(self):
        return self.place / "public" / "agent.sock"

    @property
    def broker(self):
        return self.place / "broker" / "broker.sock"

    def start_agent(self):
        token = self._ask("token", "generate", "-spiffeID", self.id("node")).split()[1]
        command = [self._program("agent"), "run", "-config", self.place / "agent.conf", "-joinToken", token]
        self.agent = self.world.start(f"agent-{self.name}", command, ".*Starting agent APIs.*", within=60)

    def kill_agent(self):
        self.world.kill(self.agent)

    def enter(self, name, *selectors, ttl=3600, federates_with=()):
        """Makes an entry for whatever process has the selectors."""
        command = ["entry", "create", "-parentID", self.id("node"), "-spiffeID", self.id(name), "-x509SVIDTTL", ttl]
        for selector in selectors:
            command += ["-selector", selector]
        for domain in federates_with:
            command += ["-federatesWith", f"spiffe://{domain}"]
        self._ask(*command)

    def remove_entries(self):
        shown = json.loads(self._ask("entry", "show", "-output", "json"))
        for entry in shown["entries"]:
            if entry["spiffe_id"]["path"] in (f"/{WEB}", f"/{DB}"):
                self._ask("entry", "delete", "-entryID", entry["id"])

    def federate(self, other):
        """Takes the other domain's bundle."""
        bundle = other.place / "bundle.json"
        bundle.write_text(other._ask("bundle", "show", "-format", "spiffe"))
        self._ask("bundle", "set", "-id", f"spiffe://{other.name}", "-format", "spiffe", "-path", bundle)

    def authority(self, *words):
        """A step of the rotation of authorities; returns what the server says of it."""
        return self._ask("localauthority", "x509", *words)

    def start_altsd(self, addresses, *, federated=(), api="delegated", agent=None):
        """The daemon, without any certificate of its own."""
        config = []
        for address in addresses:
            config.append(f'[[listen]]\nname = "{address}"\ntcp = "{address}:{HANDSHAKER_PORT}"')
        agent = f'agent = "unix:{agent or self.admin}"\napi = "{api}"\nfederated = {json.dumps(list(federated))}'
        if api == "broker":
            agent += f'\nworkload_api = "unix:{self.public}"\nagent_id = "{self.id("spire/agent/*")}"'
        config += [
            f"[spiffe]\n{agent}",
            '[[policy]]\ncallers = ["anyone"]\naccounts = ["{spiffe}"]',
            '[reload]\npoll = "1s"',
        ]
        file = self.place / "altsd.toml"
        file.write_text("\n\n".join(config) + "\n")
        ready = f".*listening.*{addresses[-1]}:{HANDSHAKER_PORT}.*"
        programs = Ours(self.world.root).programs
        return self.world.start(f"altsd-{self.name}", [programs / "altsd", "--config", file], ready)

    def _program(self, name):
        return self.peer.place / f"spire-{name}"

    def _ask(self, *command):
        command = [*map(str, [self._program("server"), *command]), "-socketPath", str(self.place / "server.sock")]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise Failed(f"{shlex.join(command)}: {done.stdout}{done.stderr}".strip())
        return done.stdout

    def _configure(self):
        place = self.place
        (place / "server.conf").write_text(f"""
server {{
  bind_address = "127.0.0.1"
  bind_port = "{self.port}"
  socket_path = "{place}/server.sock"
  trust_domain = "{self.name}"
  data_dir = "{place}/server"
  ca_ttl = "24h"
  default_x509_svid_ttl = "10m"
}}
plugins {{
  DataStore "sql" {{ plugin_data {{ database_type = "sqlite3", connection_string = "{place}/server/ds.sqlite3" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
}}
""")
        (place / "agent.conf").write_text(f"""
agent {{
  data_dir = "{place}/agent"
  server_address = "127.0.0.1"
  server_port = "{self.port}"
  socket_path = "{self.public}"
  admin_socket_path = "{self.admin}"
  authorized_delegates = ["{self.id(ALTSD)}"]
  trust_bundle_path = "{place}/bundle.pem"
  trust_domain = "{self.name}"
  {self._broker()}
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
""")


    def _broker(self):
        """The endpoint of the Broker API, and who may use it."""
        return f"""
  experimental {{
    broker {{
      socket_path = "{self.broker}"
      brokers = [{{
        id = "{self.id(ALTSD)}"
        allowed_reference_types = [{{ type_url = "type.googleapis.com/spiffe.broker.WorkloadPIDReference" }}]
      }}]
    }}
  }}"""


class Setting:
    """One trust domain, two users with two accounts, and a daemon that has no certificate."""

    def __init__(self, world, peer, _role):
        self.world, self.peer, self.ours = world, peer, Ours(world.root)
        self.home = Domain(world, peer, DOMAIN, 18081)
        self.home.enter(ALTSD, "unix:uid:0")
        self.enter(ttl=3600)
        self.daemon = self.home.start_altsd([CLIENT_HANDSHAKER, SERVER_HANDSHAKER])
        self.await_identities()

    def enter(self, **options):
        self.home.enter(WEB, f"unix:uid:{SERVER_USER}", **options)
        self.home.enter(DB, f"unix:uid:{CLIENT_USER}", **options)

    def await_identities(self):
        """An agent hears of entries after a while."""
        give_up, server = time.monotonic() + SOON, self.server(self.ours)
        while (report := self.call(self.ours, server, "echo", 1, expect=None))["status"] != "OK":
            if time.monotonic() > give_up:
                raise Failed(f"there are no identities: {report}")
            time.sleep(0.5)

    def server(self, peer, user=SERVER_USER, handshaker=SERVER_HANDSHAKER):
        """Starts a server as a user, and returns its address."""
        where = (SERVER, next(World.ports))
        command = [*as_user(user, peer.server(handshaker)), "--listen", cases.address(where)]
        self.world.start(f"{peer.name}-{where[1]}", command)
        return where

    def client(self, peer, server, *words, user=CLIENT_USER, handshaker=CLIENT_HANDSHAKER, expect=None, within=60):
        command = [*as_user(user, peer.client(handshaker)), "--target", cases.address(server), "--deadline", within]
        return [*command, *(["--expect", expect] if expect else []), *words]

    def call(self, peer, server, *words, within=60, **options):
        """What a client's program reports of one operation."""
        printed = self.world.run("client", self.client(peer, server, *words, within=within, **options), within + 15)
        self.world.check_running()
        return json.loads(printed)

    def load(self, seconds, act=lambda: None):
        """Calls all the time, each on a connection of its own, while `act` does something; says what became of them."""
        server, reports, failures = self.server(self.ours), [], []

        def run():
            try:
                expect = self.home.id(WEB)
                reports.append(self.call(self.ours, server, "rate", RATE, seconds, expect=expect, within=seconds + 60))
            except Exception as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            act()
        finally:
            thread.join()
        if failures:
            raise failures[0]
        report = answer(reports[0])
        said = f"{report['calls']} calls, {report['failed']} failed, the slowest took {report['slowest_ms']} ms"
        if report["failed"] or report["calls"] < RATE * seconds * 0.9:
            raise Failed(f"{said}: {report.get('why')}")
        return said


def as_user(user, command):
    """The same command, run by another user; what makes it believe in Google Cloud needs root first."""
    platform = 2 if pathlib.Path(str(command[0])).name == "google-cloud" else 0
    drop = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    return [*command[:platform], *drop, *command[platform:]]


# --- the cases ---


def pair(client, server):
    """Two programs of two users: each sees the other's account, and the client has to expect the right one."""

    def case(setting):
        one, other = client(setting.world.root), server(setting.world.root)
        where = setting.server(other)
        web, db = setting.home.id(WEB), setting.home.id(DB)
        report = setting.call(one, where, "peer", expect=web)
        require_view("the server's", answer(report), db, web)
        require_view("the client's", report.get("view", {}), web, db)
        refused = setting.call(one, where, "echo", 1, expect=setting.home.id("other"), within=20)["status"]
        if refused not in ("UNAVAILABLE", *getattr(one, "refused", ())):
            raise Failed(f"a server with another account is {refused}")

    return case


def stranger(setting):
    """A user whom nobody has entered gets nothing, as a client and as a server."""
    server = setting.server(setting.ours)
    report = setting.call(setting.ours, server, "echo", 1, user=STRANGER, within=20)
    require(report["status"], "UNAVAILABLE", "a stranger's call")
    if "no identity" not in report["details"]:
        raise Failed(f"it does not say why: {report['details']}")
    report = setting.call(setting.ours, setting.server(setting.ours, user=STRANGER), "echo", 1, within=20)
    require(report["status"], "UNAVAILABLE", "a call to a stranger")


def not_yours(setting):
    """Nobody gets another's identity by asking for it: peers see who really calls."""
    where = setting.server(setting.ours, user=CLIENT_USER)
    report = setting.call(setting.ours, where, "echo", 1, expect=setting.home.id(WEB), within=20)
    require(report["status"], "UNAVAILABLE", "a call to one who is not who is expected")


def rotation(setting):
    """Identities of one minute, renewed under load."""
    setting.home.remove_entries()
    setting.enter(ttl=60)
    time.sleep(10)
    return setting.load(ROTATION)


def forced_rotation(setting):
    """The server's authority is replaced, and the old one revoked, under load."""
    shown = []

    def act():
        old = setting.home.authority("show", "-output", "json")
        old = json.loads(old)["active"]["authority_id"]
        new = json.loads(setting.home.authority("prepare", "-output", "json"))["prepared_authority"]["authority_id"]
        time.sleep(7)
        setting.home.authority("activate", "-authorityID", new)
        setting.home.authority("taint", "-authorityID", old)
        time.sleep(12)
        setting.home.authority("revoke", "-authorityID", old)
        shown.append((old, new))

    return setting.load(30, act)


def agent_restart(setting):
    """The agent is killed, and started again, under load: nothing fails, and identities are renewed again."""
    log = setting.world.output / f"altsd-{DOMAIN}.log"

    def act():
        time.sleep(5)
        setting.home.kill_agent()
        time.sleep(5)
        if "not renewed" not in log.read_text():
            raise Failed("altsd does not say that the agent is away")
        setting.home.start_agent()
        give_up = time.monotonic() + SOON
        while "renewed again" not in log.read_text():
            if time.monotonic() > give_up:
                raise Failed("altsd does not find the agent again")
            time.sleep(0.2)

    setting.home.remove_entries()
    setting.enter(ttl=3600)
    time.sleep(10)
    return setting.load(40, act)


def federation(setting):
    """Two trust domains: strangers until both sides federate, and each vouches for its own members alone."""
    world, home = setting.world, setting.home
    away = Domain(world, setting.peer, PARTNER, 18082)
    away.enter(ALTSD, "unix:uid:0")
    handshaker = "127.0.0.63"
    for one, other in ((home, away), (away, home)):
        one.federate(other)
    away.enter(DB, f"unix:uid:{CLIENT_USER}", federates_with=[DOMAIN])
    home.remove_entries()
    home.enter(WEB, f"unix:uid:{SERVER_USER}", federates_with=[PARTNER])
    home.enter(DB, f"unix:uid:{CLIENT_USER}")
    world.stop(setting.daemon)

    def start(federated):
        # The daemons name the other domain, or they do not.
        home_names, away_names = ([PARTNER], [DOMAIN]) if federated else ([], [])
        setting.daemon = home.start_altsd([CLIENT_HANDSHAKER, SERVER_HANDSHAKER], federated=home_names)
        return away.start_altsd([handshaker], federated=away_names)

    def call(**options):
        return setting.call(setting.ours, server, "peer", handshaker=handshaker, within=20, **options)

    other = start(federated=False)
    server = setting.server(setting.ours)
    require(call()["status"], "UNAVAILABLE", "a call between trust domains that are not named")
    world.stop(other)
    world.stop(setting.daemon)
    other = start(federated=True)
    give_up = time.monotonic() + SOON
    while (report := call(expect=home.id(WEB)))["status"] != "OK" and time.monotonic() < give_up:
        time.sleep(0.5)
    require_view("the server's", answer(report), away.id(DB), home.id(WEB))
    world.stop(other)


def own_identity(setting):
    """By the Workload API, altsd passes on its own identity, whoever calls."""
    setting.world.stop(setting.daemon)
    addresses = [CLIENT_HANDSHAKER, SERVER_HANDSHAKER]
    setting.daemon = setting.home.start_altsd(addresses, api="workload", agent=setting.home.public)
    server = setting.server(setting.ours)
    report = setting.call(setting.ours, server, "peer", expect=setting.home.id(ALTSD))
    require_view("the server's", answer(report), setting.home.id(ALTSD), setting.home.id(ALTSD))


def broker(setting):
    """The same by the SPIFFE Broker API, over mutual TLS; and an altsd that expects another agent gets nothing."""
    setting.world.stop(setting.daemon)
    addresses = [CLIENT_HANDSHAKER, SERVER_HANDSHAKER]
    setting.daemon = setting.home.start_altsd(addresses, api="broker", agent=setting.home.broker)
    pair(Ours, Ours)(setting)
    pair(Go, Grpcio)(setting)
    stranger(setting)
    setting.world.stop(setting.daemon)
    setting.daemon = setting.home.start_altsd(addresses)


def proxies(setting):
    """Two proxies, each with its own identity by the Workload API, and no daemon."""
    world, ours, home = setting.world, setting.ours, setting.home
    origin, hop, entry = [(SERVER, next(World.ports)) for _ in range(3)]
    world.start("origin", [*ours.plain_server(), "--listen", cases.address(origin)])
    agent = f"spiffe:unix:{home.public}"
    for name, user, listen, arguments in (
        ("hop", SERVER_USER, hop, ["--listen-alts", cases.address(hop), "--to", cases.address(origin), "--allow-peer", home.id(DB)]),
        ("entry", CLIENT_USER, entry, ["--listen", cases.address(entry), "--to-alts", cases.address(hop), "--expect-peer", home.id(WEB)]),
    ):
        command = [ours.programs / "alts", "proxy", "--handshaker", agent, *arguments]
        world.start(name, as_user(user, command), f".*listening.*{cases.address(listen)}.*")
    command = [*ours.plain_client(), "--target", cases.address(entry), "--deadline", 60, "echo", 100_000]
    require(answer(json.loads(world.run("plain", command, 75))), {"intact": True}, "echo")


ALL = {
    "two_users": pair(Ours, Ours),
    "grpcio_grpcio": pair(Grpcio, Grpcio),
    "go_grpcio": pair(Go, Grpcio),
    "grpcio_go": pair(Grpcio, Go),
    "ours_go": pair(Ours, Go),
    "go_ours": pair(Go, Ours),
    "stranger": stranger,
    "not_yours": not_yours,
    "broker": broker,
    "proxies": proxies,
    "rotation": rotation,
    "forced_rotation": forced_rotation,
    "agent_restart": agent_restart,
    "federation": federation,
    "own_identity": own_identity,
}
