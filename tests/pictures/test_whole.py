"""Last: the index names exactly the pictures that are there."""

from __future__ import annotations

import re

from tests.pictures.conftest import DOCS


def test_index_names_every_picture():
    folder = DOCS / "screens"
    named = re.findall(r"\[`([\w-]+)`\]\(\1\.png\)", (folder / "README.md").read_text())

    assert sorted(named) == sorted(file.stem for file in folder.glob("*.png"))
    assert [file.name for file in sorted((DOCS / "marketplace").glob("*"))] == [
        f"{number}.png" for number in range(1, 6)
    ]
