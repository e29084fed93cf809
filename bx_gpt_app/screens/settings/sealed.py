"""What a preview showed, on its way through the browser and back: unchanged, and unread there."""

from __future__ import annotations

import base64
import json
import zlib

from bx_gpt_app.common.crypto import UnreadableSecret, decrypt, encrypt
from bx_gpt_app.portals.models import Portal

AT_MOST = 900_000
"""Characters of the hidden field: a body over DATA_UPLOAD_MAX_MEMORY_SIZE is refused."""


class TooMuch(Exception):
    """It would not come back. Nothing has been changed yet: split it."""


class NotOurs(Exception):
    """Not sealed by us, or for another portal."""


def seal(portal: Portal, text: str) -> str:
    """Raises: TooMuch."""
    told = json.dumps({"portal": portal.pk, "text": text}, ensure_ascii=False)
    sealed = encrypt(base64.b64encode(zlib.compress(told.encode(), 9)).decode())
    if len(sealed) > AT_MOST:
        raise TooMuch
    return sealed


def unseal(portal: Portal, sealed: str) -> str:
    """Raises: NotOurs."""
    try:
        told = json.loads(zlib.decompress(base64.b64decode(decrypt(sealed))))
    except (UnreadableSecret, ValueError, zlib.error):
        raise NotOurs from None
    if not isinstance(told, dict) or told.get("portal") != portal.pk:
        raise NotOurs
    return str(told["text"])
