"""`python -m integrations.bitrix24.local_portal`: the portal as a process."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from dataclasses import replace

from integrations.bitrix24.local_portal.control import about
from integrations.bitrix24.local_portal.options import LineOptions, PortalOptions
from integrations.bitrix24.local_portal.portal import LocalPortal


def _arguments() -> argparse.Namespace:
    defaults = PortalOptions()
    parser = argparse.ArgumentParser(prog="local_portal", description=__doc__)
    parser.add_argument("--host", default=defaults.host)
    parser.add_argument("--port", type=int, default=0, help="first port; 0 takes free ones")
    parser.add_argument("--portals", type=int, default=1, help="how many, on following ports")
    parser.add_argument("--domain", default="", help="the portal's name; host:port without it")
    parser.add_argument("--member-id", default="", help="32 hex; random without it")
    parser.add_argument("--client-id", default=defaults.client_id)
    parser.add_argument("--client-secret", default=defaults.client_secret)
    parser.add_argument("--app-url", default=defaults.app_base_url)
    parser.add_argument("--app-code", default=defaults.app_code)
    parser.add_argument("--control-key", default="", help="turns control on; random without it")
    parser.add_argument("--rate", type=float, default=2.0, help="requests per second; 0 = no limit")
    parser.add_argument("--burst", type=float, default=50.0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--binding-delay", type=float, default=0.0)
    parser.add_argument("--duplicates", type=float, default=0.0, help="share of events sent twice")
    parser.add_argument("--event-workers", type=int, default=4)
    parser.add_argument("--lines", type=int, default=0, help="this many lines instead of two")
    parser.add_argument("--legacy-bots", action="store_true")
    return parser.parse_args()


def _options(arguments: argparse.Namespace) -> PortalOptions:
    options = PortalOptions(
        host=arguments.host,
        port=arguments.port,
        domain=arguments.domain,
        client_id=arguments.client_id,
        client_secret=arguments.client_secret,
        app_base_url=arguments.app_url,
        app_code=arguments.app_code,
        rate=arguments.rate or None,
        burst=arguments.burst,
        latency_ms=arguments.latency_ms,
        crm_binding_delay_seconds=arguments.binding_delay,
        deliver_duplicates=arguments.duplicates,
        event_workers=arguments.event_workers,
        legacy_bots=arguments.legacy_bots,
    )
    if arguments.member_id:
        options = replace(options, member_id=arguments.member_id)
    if arguments.control_key:
        options = replace(options, control=True, control_key=arguments.control_key)
    if arguments.lines:
        lines = tuple(
            LineOptions(22 + number, f"Линия {22 + number}") for number in range(arguments.lines)
        )
        options = replace(options, lines=lines)
    return options


def _other(options: PortalOptions, number: int) -> PortalOptions:
    """One more portal: its own identity, the next port, the same application."""
    fresh = PortalOptions()
    return replace(
        options,
        port=options.port + number if options.port else 0,
        member_id=fresh.member_id,
        application_token=fresh.application_token,
    )


def main() -> int:
    arguments = _arguments()
    options = _options(arguments)
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.set())
    portals = [LocalPortal(options).start()]
    for number in range(1, arguments.portals):
        portals.append(LocalPortal(_other(options, number), issuer=portals[0]).start())
    for portal in portals:
        sys.stdout.write(json.dumps(about(portal)) + "\n")
    sys.stdout.flush()
    stopping.wait()
    for portal in reversed(portals):
        portal.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
