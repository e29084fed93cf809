"""The demonstration model as a process: `python -m integrations.llm.local_model --port 9000`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from integrations.llm.local_model.server import MODES, LocalModel


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="local_model", description="An OpenAI-compatible demonstration model."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--jitter-ms", type=float, default=0)
    parser.add_argument(
        "--fail-rate", type=float, default=0, help="share of calls answered 500, 0 to 1"
    )
    parser.add_argument("--mode", choices=list(MODES), default="normal")
    parser.add_argument("--control-key", help="opens /_control/; without it a new one is printed")
    options = vars(parser.parse_args())
    ended = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: ended.set())
    with LocalModel(**options) as model:
        sys.stdout.write(f"{model.url}\n{model.control_url} X-Control-Key: {model.control_key}\n")
        sys.stdout.flush()
        ended.wait()


if __name__ == "__main__":
    main()
