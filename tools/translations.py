"""Translations: texts of templates and code, merged into the catalogue and compiled.

`make locale` updates bx_gpt_app/locale; new texts come out empty and are then to be translated;
`--check` changes nothing and fails when a text is missing, empty, fuzzy or not compiled.
`--merge FILE…` takes translations from other catalogues first.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import polib
from babel.messages.extract import extract
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "bx_gpt_app" / "locale"
LANGUAGES = ("ru",)
KEYWORDS = {
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "_": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}
HEADER = {
    "Content-Type": "text/plain; charset=UTF-8",
    "Content-Transfer-Encoding": "8bit",
    "Language": "ru",
    "Plural-Forms": (
        "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : "
        "n%10>=2 && n%10<=4 && (n%100<12 || n%100>14) ? 1 : 2);"
    ),
}
Key = tuple[str | None, str, str]
"""Context, singular, plural (empty when there is none)."""


def texts() -> dict[Key, list[str]]:
    """Every text that people may see, with the files it stands in."""
    found: dict[Key, list[str]] = {}
    for path, source in _sources():
        for _line, message, _comments, context in extract(
            "python", io.BytesIO(source.encode()), keywords=KEYWORDS
        ):
            single, plural = message if isinstance(message, tuple) else (message, "")
            if single:
                found.setdefault((context, single, plural or ""), []).append(path)
    return found


def _sources() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "bx_gpt_app").rglob("*.py")):
        if "migrations" not in path.parts:
            yield str(path.relative_to(ROOT)), path.read_text()
    for path in sorted((ROOT / "templates").rglob("*.html")):
        # What is left of a template besides its texts is filler; its indents mean nothing.
        calls = templatize(path.read_text(), origin=str(path)).splitlines()
        yield str(path.relative_to(ROOT)), "\n".join(line.lstrip() for line in calls)


def catalogue(language: str) -> tuple[Path, polib.POFile]:
    path = LOCALE / language / "LC_MESSAGES" / "django.po"
    if path.is_file():
        return path, polib.pofile(str(path), wrapwidth=100)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path, polib.POFile(wrapwidth=100)


def _key(entry: polib.POEntry) -> Key:
    return entry.msgctxt, entry.msgid, entry.msgid_plural or ""


def update(language: str, others: list[str]) -> polib.POFile:
    """The catalogue with today's texts; translations are kept, from `others` too."""
    path, old = catalogue(language)
    known = {_key(entry): entry for entry in old if not entry.obsolete}
    for other in others:
        for entry in polib.pofile(other):
            if entry.msgstr or any(entry.msgstr_plural.values()):
                known[_key(entry)] = entry
    new = polib.POFile(wrapwidth=100)
    new.metadata = HEADER
    for key, places in sorted(texts().items(), key=lambda item: (item[1][0], item[0][1])):
        context, single, plural = key
        entry = polib.POEntry(msgid=single, msgctxt=context, msgid_plural=plural)
        told = known.get(key)
        if plural:
            entry.msgstr_plural = dict(told.msgstr_plural) if told else {0: "", 1: "", 2: ""}
        else:
            entry.msgstr = told.msgstr if told else ""
        entry.occurrences = [(place, "") for place in dict.fromkeys(places)]
        if "%(" in single or "%s" in single:
            entry.flags = ["python-format"]
        new.append(entry)
    new.save(str(path))
    new.save_as_mofile(str(path.with_suffix(".mo")))
    return new


def untranslated(po: polib.POFile) -> list[str]:
    return [
        entry.msgid
        for entry in po
        if entry.fuzzy
        or not (entry.msgstr or (entry.msgid_plural and all(entry.msgstr_plural.values())))
    ]


def problems(language: str) -> list[str]:
    """What keeps the language from being complete, one line each."""
    path, po = catalogue(language)
    known = {_key(entry) for entry in po if not entry.obsolete}
    wanted = set(texts())
    found = [
        f"not in the catalogue: {single!r}" for _c, single, _p in sorted(wanted - known, key=str)
    ]
    found += [
        f"not used any more: {single!r}" for _c, single, _p in sorted(known - wanted, key=str)
    ]
    found += [f"not translated: {text!r}" for text in untranslated(po)]
    compiled = path.with_suffix(".mo")
    if not compiled.is_file() or compiled.read_bytes() != po.to_binary():
        found.append(f"{compiled.name} is older than {path.name}: run make locale")
    return found


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--check"]:
        lines = [f"{language}: {line}" for language in LANGUAGES for line in problems(language)]
        print("\n".join(lines) or "Translations are complete.")
        return 1 if lines else 0
    others = arguments[1:] if arguments[:1] == ["--merge"] else []
    for language in LANGUAGES:
        missing = untranslated(update(language, others))
        print(f"{language}: {len(missing)} texts to translate")
        for text in missing:
            print(f"  {text!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
