"""The files of others are the ones we say they are, and our own stay light."""

from __future__ import annotations

import hashlib
import re

from tests.frontend.site import STATIC

FRAME_LIMIT_BYTES = 60_000


def test_vendored_htmx_has_the_checksum_of_its_readme():
    written = re.search(r"`([0-9a-f]{64})`", (STATIC / "vendor" / "README.md").read_text())

    actual = hashlib.sha256((STATIC / "vendor" / "htmx.min.js").read_bytes()).hexdigest()

    assert written is not None
    assert actual == written[1]


def test_scripts_and_styles_of_the_operators_frame_stay_light():
    names = ["css/tokens.css", "css/ui.css", "js/bridge.js", "js/frame.js", "js/operator.js"]

    size = sum((STATIC / name).stat().st_size for name in names)

    assert size <= FRAME_LIMIT_BYTES


def test_avatar_of_the_bot_is_a_small_square_png():
    data = (STATIC / "img" / "bot.png").read_bytes()

    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (256, 256)
    assert len(data) <= 20_000
