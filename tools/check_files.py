"""Looks at files before a commit: too large, a private key inside, no newline at the end."""

from __future__ import annotations

import sys
from pathlib import Path

LARGEST_BYTES = 600_000
BINARY = (".png", ".ico", ".mo", ".pdf", ".woff2")
PRIVATE_KEY = "PRIVATE " + "KEY-----"


def problems(path: Path) -> list[str]:
    data = path.read_bytes()
    found = []
    if len(data) > LARGEST_BYTES:
        found.append(f"{path}: larger than {LARGEST_BYTES // 1000} KB")
    if path.suffix in BINARY:
        return found
    if PRIVATE_KEY.encode() in data:
        found.append(f"{path}: holds a private key")
    if data and not data.endswith(b"\n"):
        found.append(f"{path}: no newline at the end")
    return found


def main() -> int:
    lines = [line for name in sys.argv[1:] for line in problems(Path(name))]
    print("\n".join(lines), end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
