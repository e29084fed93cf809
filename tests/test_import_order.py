"""The ladder: a package imports only lower rungs, and integrations/ knows no Django."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUNGS = (
    "integrations",
    "bx_gpt_app.common",
    "bx_gpt_app.flow",
    "bx_gpt_app.triggers",
    "bx_gpt_app.actions",
    "bx_gpt_app.portals",
    "bx_gpt_app.assistant",
    "bx_gpt_app.inbox",
    "bx_gpt_app.screens",
)
ASSEMBLY = ("bx_gpt_app.settings", "bx_gpt_app.urls", "bx_gpt_app.wsgi", "bx_gpt_app.environment")


def rung_of(module: str) -> int | None:
    matches = [n for n, rung in enumerate(RUNGS) if module == rung or module.startswith(rung + ".")]
    return matches[0] if matches else None


def modules() -> list[Path]:
    files = [*ROOT.glob("integrations/**/*.py"), *ROOT.glob("bx_gpt_app/**/*.py")]
    return sorted(f for f in files if "migrations" not in f.parts)


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_module_imports_only_lower_rungs(path):
    own = rung_of(name_of(path))
    if own is None:
        assert name_of(path) in (*ASSEMBLY, "bx_gpt_app"), "a module outside the ladder"
        return

    higher = [m for m in imports_of(path) if (rung_of(m) if rung_of(m) is not None else -1) > own]

    assert higher == []


@pytest.mark.parametrize("path", [p for p in modules() if "integrations" in p.parts], ids=name_of)
def test_integrations_know_no_django(path):
    names = imports_of(path)

    assert not [name for name in names if name.split(".")[0] in ("django", "bx_gpt_app")]


def test_client_and_local_portal_are_independent():
    """One checks the other, so neither may lean on the other."""
    portal = [p for p in modules() if "local_portal" in p.parts]
    client = [p for p in modules() if p.parent.name == "bitrix24" and "integrations" in p.parts]

    leaning = [
        (name_of(p), m)
        for p in portal
        for m in imports_of(p)
        if m.startswith("integrations.bitrix24.") and ".local_portal" not in m
    ]
    leaning += [(name_of(p), m) for p in client for m in imports_of(p) if ".local_portal" in m]

    assert leaning == []
