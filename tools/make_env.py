"""Writes .env with keys of its own, once. What stands in it already is never changed."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

ENV = Path(__file__).resolve().parent.parent / ".env"
TEXT = """\
# Written by make; every setting is explained in .env.example. Set variables win over this file.
SECRET_KEY={secret}
# First key encrypts, all of them decrypt. Losing it makes stored tokens unreadable: keep a copy.
ENCRYPTION_KEYS={fernet}
"""


def main() -> None:
    if ENV.exists():
        return
    fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    ENV.touch(mode=0o600)
    ENV.write_text(TEXT.format(secret=secrets.token_urlsafe(50), fernet=fernet))
    print(f"Wrote {ENV} with new keys.")


if __name__ == "__main__":
    main()
