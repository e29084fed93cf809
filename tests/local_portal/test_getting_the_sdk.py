"""How the official SDK gets here: only the very package that is pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import browser_sdk
from tools.browser_sdk import NoSdk


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's npm, as a test writes it; nothing was brought before."""
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    monkeypatch.setattr(browser_sdk, "SCRIPT", tmp_path / "var" / "sdk.js")
    return script


@pytest.mark.parametrize(
    ("does", "sentence"),
    [
        ("echo other > sdk.tgz", "is not the package whose checksum is pinned."),
        ("echo 'npm error code ENOTFOUND' >&2; exit 1", "could not be brought: ENOTFOUND."),
        ("exit 1", "could not be brought"),
        ("true", "is not the package whose checksum is pinned."),
    ],
    ids=["another package", "no network", "wordless failure", "no package"],
)
def test_what_is_not_the_pinned_package_is_refused_in_one_sentence(
    npm: Path, does: str, sentence: str
) -> None:
    npm.write_text(f"#!/bin/sh\n{does}\n")

    with pytest.raises(NoSdk, match=sentence) as refused:
        browser_sdk.browser_sdk()

    assert str(refused.value).count("\n") == 0
    assert not browser_sdk.SCRIPT.exists()


def test_what_was_brought_once_is_not_asked_for_again(npm: Path) -> None:
    npm.write_text("#!/bin/sh\nexit 1\n")
    browser_sdk.SCRIPT.parent.mkdir()
    browser_sdk.SCRIPT.write_text("sdk")

    assert browser_sdk.browser_sdk().read_text() == "sdk"
