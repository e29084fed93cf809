"""`make` finds a Python by itself: made-up interpreters on a made-up PATH."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "find-python"


def interpreter(path: Path, *, works: bool = True) -> None:
    """Says its own path as a Python would, or ends as one that is too old or has no venv."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {path}\n" if works else "#!/bin/sh\nexit 1\n")
    path.chmod(0o755)


@pytest.fixture
def find(tmp_path):
    """Where the script looks is under `tmp_path`: bin/, more/ and the pyenv at home/.pyenv."""
    for tool in ("ls", "sort"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{tmp_path}/bin:{tmp_path}/more"
        environment = {"PATH": path, "HOME": f"{tmp_path}/home", **environment}
        return subprocess.run(
            ["/bin/sh", str(SCRIPT)],
            env=environment, capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("there", "broken", "found"),
    [
        (["bin/python3.12", "more/python3.15", "bin/python3.14"], [], "more/python3.15"),
        (["bin/python3.9", "bin/python3.13", "bin/python3"], [], "bin/python3.13"),
        (["bin/python3.12", "bin/python3.20"], ["bin/python3.21"], "bin/python3.20"),
        (["bin/python3", "home/.pyenv/versions/3.14.0/bin/python"], [], "bin/python3"),
        (["bin/python3.13-config", "bin/python3.13t", "more/python3"], [], "more/python3"),
    ],
)
def test_newest_that_works_on_the_path_is_taken(find, tmp_path, there, broken, found):
    for one in there:
        interpreter(tmp_path / one)
    for one in broken:
        interpreter(tmp_path / one, works=False)

    done = find()

    assert (done.returncode, done.stdout.strip()) == (0, f"{tmp_path}/{found}")


@pytest.mark.parametrize("root", ["home/.pyenv", "opt/pyenv", "a b/py.env"])
def test_newest_of_pyenv_is_taken_when_the_path_has_none(find, tmp_path, root):
    interpreter(tmp_path / "bin/python3", works=False)
    for version in ("3.9.1", "3.12.13", "3.13.9", "3.13.10"):
        interpreter(tmp_path / root / "versions" / version / "bin" / "python")

    done = find(PYENV_ROOT=f"{tmp_path}/{root}")

    assert done.returncode == 0
    assert done.stdout.strip() == f"{tmp_path}/{root}/versions/3.13.10/bin/python"
