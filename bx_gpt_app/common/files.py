"""Text files that a command is given by name, or by `-` for standard input."""

from __future__ import annotations

import sys
from pathlib import Path


class UnreadableFile(Exception):
    """Carries a sentence that names the file and says what is wrong with it."""


def read_text(path: str) -> str:
    """The text of a UTF-8 file. Raises: UnreadableFile."""
    try:
        if path == "-":
            return sys.stdin.read()
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UnreadableFile(f"file: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnreadableFile(f"file: {path} is not a UTF-8 text") from None
