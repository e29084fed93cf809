"""Both languages are complete: no text is missing, empty, fuzzy, unused or not compiled."""

from __future__ import annotations

import pytest

from tools.translations import LANGUAGES, catalogue, problems


@pytest.mark.parametrize("language", LANGUAGES)
def test_language_is_complete(language):
    assert problems(language) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_translation_keeps_its_variables(language):
    _path, po = catalogue(language)

    for entry in po:
        for text in entry.msgstr_plural.values() if entry.msgid_plural else [entry.msgstr]:
            told = {word for word in entry.msgid.split() if word.startswith("%(")}
            for name in {word.split(")")[0] for word in told}:
                # The singular form of a plural may say "one" instead of the number.
                assert name in text or entry.msgid_plural, (entry.msgid, text)


def test_russian_never_shouts_or_says_oops():
    _path, po = catalogue("ru")

    loud = [e.msgstr for e in po if "!" in e.msgstr and "!" not in e.msgid]

    assert loud == []
    assert not [e.msgstr for e in po if "упс" in e.msgstr.lower()]
