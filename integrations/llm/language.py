"""Which language a text is written in, told by its letters and a few tell-tale words."""

from __future__ import annotations

import re

from integrations.llm.words import listed, words

_CYRILLIC = re.compile(r"[Ѐ-ӿ]")
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")
_NOT_PROSE = re.compile(r"https?://\S+|\S+@\S+|\[[A-Z]+_\d+\]")

_LETTERS = (
    ("kk", re.compile(r"[әғқңұүһ]", re.I)),
    ("be", re.compile(r"ў", re.I)),
    ("uk", re.compile(r"[іїєґ]", re.I)),
)
_RUSSIAN_ONLY = re.compile(r"[ыэъё]", re.I)

# Words that short chat messages are made of. Letters alone cannot tell these languages apart.
_UKRAINIAN = listed(
    """
    добрий дякую будь ласка чи скільки коштує треба що це мені вартість як можна
    """
)
_KAZAKH = listed(
    """
    салем рахмет бар жок қанша канша баға керек сатып алуға болады калай
    """
)
_UZBEK = listed(
    """
    salom assalomu alaykum narxi qancha rahmat kerak bormi nechpul necha yetkazib berish
    iltimos manzil raqam kuni siz bizga menga uchun qayerda qachon bo'ladi
    """
)
_UZBEK_CYRILLIC = listed(
    """
    нархи канча рахмат керак борми
    """
)
_TRANSLIT = listed(
    """
    privet zdravstvuyte zdravstvujte zdrastvuite zdravstvuite dobryi dobryy dobrij vecher
    skolko stoit dostavka dostavku mozhno mojno nuzhno nujno nuzhen nujen spasibo
    pozhaluysta pojaluista pozhaluista kak kogda gde pochemu zakaz zakazat hochu khochu
    menya zovut tsena cena moy moi nomer vas kupit kakoy kakaya eto ili dlya chto rabotaete
    otvette
    """
)
_ENGLISH = listed(
    """
    the a an is are do does you i my your we can could please how what when where much for
    to of and in on with have has not this that it hi hello thanks thank need want would
    like order price delivery ship refund call me
    """
)


def detect_language(text: str, default: str = "ru") -> str:
    """Code of the language: ru, uk, be, kk, uz or en; `default` when the text has no letters.

    Latin letters mean English unless the words say otherwise; Russian in Latin letters is Russian.
    """
    prose = _NOT_PROSE.sub(" ", text)
    cyrillic, latin = len(_CYRILLIC.findall(prose)), len(_LATIN.findall(prose))
    if not cyrillic and not latin:
        return default
    found = set(words(prose))
    # a brand or a model in Latin letters does not make a Russian sentence English
    if cyrillic * 2 >= latin or (cyrillic and not found & _ENGLISH):
        return _cyrillic_language(prose, found)
    hits = {
        "uz": len(found & _UZBEK) * 2 + len(re.findall(r"\b\w*[og]['’ʻ‘]\w", prose)),
        "ru": len(found & _TRANSLIT),
        "en": len(found & _ENGLISH),
    }
    best = max(hits, key=lambda code: hits[code])
    return best if hits[best] > hits["en"] else "en"


def _cyrillic_language(prose: str, found: set[str]) -> str:
    for code, letters in _LETTERS:
        if letters.search(prose):
            # і, ү and ң live in several alphabets; Kazakh uses і as well
            return "kk" if code == "uk" and found & _KAZAKH else code
    if _RUSSIAN_ONLY.search(prose):
        return "ru"
    if found & _UZBEK_CYRILLIC:
        return "uz"
    if found & _KAZAKH:
        return "kk"
    return "uk" if found & _UKRAINIAN else "ru"


def same_language(a: str, b: str) -> bool:
    """Do two codes ("ru", "ru-RU", "Russian") name one language? An empty one agrees with all."""
    left, right = _primary(a), _primary(b)
    return not left or not right or left == right


_NAMES = {
    "rus": "ru", "russian": "ru", "русский": "ru", "eng": "en", "english": "en", "английский": "en",
    "ukr": "uk", "ua": "uk", "ukrainian": "uk", "kaz": "kk", "kz": "kk", "kazakh": "kk", "by": "be",
    "uzb": "uz", "uzbek": "uz",
}  # fmt: skip


def _primary(code: str) -> str:
    first = re.split(r"[-_\s]", code.strip().lower(), maxsplit=1)[0]
    return _NAMES.get(first, first)


def is_written_in(text: str, language: str) -> bool:
    """Could this text be in the language? Says no only on evidence: a short text passes."""
    wanted = _primary(language)
    prose = _NOT_PROSE.sub(" ", text)
    cyrillic, latin = len(_CYRILLIC.findall(prose)), len(_LATIN.findall(prose))
    if not wanted or cyrillic + latin < 3:
        return True
    if wanted in {"ru", "uk", "be", "kk"}:
        if cyrillic * 2 < latin:
            return False
        told = _cyrillic_language(prose, set(words(prose)))
        if told == wanted:
            return True
        # no tell-tale letter in a short text proves nothing for the neighbours of Russian
        return told == "ru" and wanted != "ru" and not _RUSSIAN_ONLY.search(prose) and cyrillic < 40
    if wanted == "uz" and cyrillic > latin:
        return detect_language(text) in {"uz", "uk", "be"}
    return latin >= cyrillic
