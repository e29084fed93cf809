"""Reading settings: every mistake is one clear line, and all are told at once."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import environ
from cryptography.fernet import Fernet

from integrations.net import AddressGuard, ForbiddenAddress

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Environment:
    """Typed access to set variables and `.env`; a set variable wins over the file.

    Wrong values are collected, not raised, so that a person mends all of them in one go:
    call `stop_if_wrong()` after the last one was read.
    """

    def __init__(self, env_file: Path) -> None:
        self._env = environ.Env()
        self.mistakes: list[str] = []
        if env_file.is_file():
            environ.Env.read_env(str(env_file), overwrite=False)

    def text(self, name: str, default: str = "") -> str:
        return str(self._env.str(name, default=default)).strip()

    def names(self, name: str, default: tuple[str, ...] = ()) -> list[str]:
        """A comma-separated list without empty parts."""
        value = self.text(name)
        return [part.strip() for part in value.split(",") if part.strip()] or list(default)

    def switch(self, name: str, default: bool = False) -> bool:
        value = self.text(name).lower()
        if not value:
            return default
        if value in ("1", "on", "true", "yes", "y"):
            return True
        if value in ("0", "off", "false", "no", "n"):
            return False
        self.wrong(name, f"'{value}' is neither on nor off: write on or off")
        return default

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default).upper() or default
        if value not in choices:
            self.wrong(name, f"'{value}' is not one of {', '.join(choices)}")
            return default
        return value

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        value = self.text(name)
        if not value:
            return default
        if not re.fullmatch(r"-?\d+", value) or not least <= int(value) <= most:
            self.wrong(name, f"'{value}' is not a whole number from {least} to {most}")
            return default
        return int(value)

    def url(self, name: str, default: str) -> str:
        """An http(s) address without a trailing slash, query or fragment."""
        return self._checked_url(name, self.text(name, default) or default)

    def urls(self, name: str, default: tuple[str, ...]) -> list[str]:
        return [self._checked_url(name, value) for value in self.names(name, default)]

    def urls_for_secrets(
        self, name: str, default: tuple[str, ...], *, allow_private: bool
    ) -> list[str]:
        """Addresses that secrets are sent to: by https and out of private networks, or nowhere."""
        urls, guard = self.urls(name, default), AddressGuard(allow_private)
        for url in urls:
            try:
                host = guard.check_form(url)
                if host in LOOPBACK and not allow_private:
                    raise ForbiddenAddress(f"{host} leads to a private network")
            except ForbiddenAddress as error:
                self.wrong(
                    name,
                    f"'{url}': {error}, because secrets are sent there; for a server in your own "
                    "network set ALLOW_PRIVATE_NETWORK=on",
                )
        return urls

    def fernet_keys(self, name: str) -> list[str]:
        keys = self.names(name)
        for position, key in enumerate(keys, start=1):
            try:
                Fernet(key.encode())
            except ValueError:
                self.wrong(
                    name,
                    f"key {position} is not a Fernet key: make one with "
                    '`python -c "from cryptography.fernet import Fernet; '
                    'print(Fernet.generate_key().decode())"`',
                )
        return keys

    def required(self, name: str, value: object, hint: str) -> None:
        if not value:
            self.wrong(name, f"is not set: {hint}")

    def database(self, name: str, default: str) -> dict[str, object]:
        value = self.text(name, default) or default
        if not re.match(r"^(sqlite|postgres|postgresql)://", value):
            self.wrong(name, "must begin with sqlite:/// or postgres://")
            value = default
        try:
            found = dict(environ.Env.db_url_config(value))
        except (ValueError, KeyError, AttributeError):
            self.wrong(name, "cannot be read as a database address: sqlite:///path or postgres://…")
            return dict(environ.Env.db_url_config(default))
        if not found["NAME"]:
            self.wrong(name, "names no database: write postgres://user:password@host/name")
        return found

    def folder_of(self, name: str, path: object) -> None:
        """Make the folder that a file is to be written into."""
        folder = Path(str(path)).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.wrong(name, f"the folder {folder} cannot be made: {error.strerror}")

    def wrong(self, name: str, sentence: str) -> None:
        self.mistakes.append(f"{name}: {sentence}")

    def stop_if_wrong(self, stop: Callable[[str], None] = sys.exit) -> None:
        """Ends the process with one line per mistake: nothing starts half-configured."""
        if self.mistakes:
            stop("\n".join(["Settings are wrong, nothing was started:", *self.mistakes]))

    def _checked_url(self, name: str, value: str) -> str:
        parts = urlsplit(value)
        try:
            sound = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            sound = False
        if not sound or parts.query or parts.fragment or parts.username:
            self.wrong(name, f"'{value}' is not an address like https://host or http://host:port")
        return value.rstrip("/")
