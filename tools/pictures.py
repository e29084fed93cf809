"""Draws docs/screens and docs/marketplace from the real product. Further words go to pytest:
`python -m tools.pictures -k costs` draws some of them anew; `PICTURES=folder` puts them elsewhere.
"""

from __future__ import annotations

import sys

from tools.test import find_chromium, run_pytest


def main(arguments: list[str]) -> int:
    chromium = find_chromium()
    if not chromium:
        print("No Chromium was found and none could be installed: apt-get install chromium.")
        return 1
    return run_pytest(["tests/pictures", "-m", "pictures", "-q", *arguments], CHROMIUM=chromium)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
