"""A person's name as people write it, split into its parts."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class PersonName:
    first: str = ""
    last: str = ""
    second: str = ""


_FIRST_NAMES = frozenset(
    """
    александр алексей анатолий андрей антон аркадий арсений артём артем артур богдан борис вадим
    валентин валерий василий виктор виталий владимир владислав всеволод вячеслав геннадий георгий
    герман глеб григорий давид даниил данила денис дмитрий евгений егор иван игорь илья кирилл
    константин лев леонид макар максим марат марк матвей михаил никита николай олег павел пётр петр
    роман руслан савелий святослав семён семен сергей станислав степан тимофей тимур фёдор федор
    филипп эдуард юрий яков ярослав рустам ринат ильдар азат айрат
    александра алёна алена алина алла анастасия ангелина анжела анна антонина валентина валерия
    варвара вера вероника виктория галина дарья диана ева евгения екатерина елена елизавета жанна
    зинаида зоя инна ирина карина кира кристина ксения лариса лидия любовь людмила маргарита марина
    мария надежда наталья наталия нина оксана олеся ольга полина раиса регина римма светлана снежана
    софия софья тамара татьяна ульяна эльвира эвелина юлия яна
    саша лёша леша андрюша антоша боря вадик валера вася витя вова володя слава гена гоша гриша даня
    денис дима женя жора ваня игорёк лёня леня макс миша никитос коля паша петя рома сёма серёжа
    сережа стас стёпа степа тима федя юра яша настя аня валя варя вика галя даша катя лена лиза
    ксюша лариса люба люда рита маша надя наташа оля поля света соня таня уля юля
    """.split()  # noqa: SIM905 - readable as a text
)
_PATRONYMIC = re.compile(
    r"(?:(?:ов|ев|ьев)ич|(?:ов|ев|ьев)на|[ьи]нична|(?<=[тльмкф])ич|(?<=[тк])ична"
    r"|(?:ov|ev|yev)ich|(?:ov|ev|yev)na|ilyich)$"
)
_TURKIC_PATRONYMIC = frozenset({"оглы", "кызы", "оглу", "ogly", "kyzy"})
_SURNAME = re.compile(
    r"(?:[оеё]в|[оеё]ва|ын|ына|ин|ина|ск(?:ий|ая|ой)|цк(?:ий|ая|ой)|енко|чук|щук|[ую]к|ых|их|ян|дзе"
    r"|швили|ович|евич|ov|ova|ev|eva|enko|sk(?:iy|y|aya)|chuk|yan|dze|shvili)$"
)
_FATHERS = {name[:3] for name in _FIRST_NAMES} | {"льв"}


def split_person_name(text: str) -> PersonName:
    """A person's name in Russian or Latin order: "Иван Петров", "Петров Иван Сергеевич".

    A patronymic decides the order, then known first names, then endings of surnames; when nothing
    speaks against it the first word is the first name.
    """
    last_first = re.fullmatch(r"\s*([^,]+),\s*([^,]+?)\s*", text)
    if last_first:
        text = f"{last_first[2]} {last_first[1]}"
    words = [word for raw in text.split() if (word := raw.strip(".,;:!?\"'«»()"))]
    words = [_capitalised(word) for word in words if any(c.isalpha() for c in word)]
    if len(words) > 1 and words[-1].casefold() in _TURKIC_PATRONYMIC:
        words[-2:] = [f"{words[-2]} {words[-1].lower()}"]
        rest = split_person_name(" ".join(words[:-1]))
        return PersonName(rest.first, rest.last, words[-1])
    if len(words) <= 1:
        return PersonName(first=words[0] if words else "")
    if len(words) == 2:
        return _two_words(words[0], words[1], ordered=bool(last_first))
    return _many_words(words, ordered=bool(last_first))


def _two_words(one: str, two: str, *, ordered: bool) -> PersonName:
    first_known, second_known = one.casefold() in _FIRST_NAMES, two.casefold() in _FIRST_NAMES
    if _is_patronymic(two) and not second_known and first_known:
        return PersonName(first=one, second=two)
    surname_first = (second_known and not first_known) or (
        not first_known
        and not second_known
        and _looks_like_surname(one)
        and not _looks_like_surname(two)
    )
    if surname_first and not ordered:
        return PersonName(first=two, last=one)
    return PersonName(first=one, last=two)


def _many_words(words: list[str], *, ordered: bool) -> PersonName:
    place = next(
        (i for i in range(len(words) - 1, 0, -1) if _PATRONYMIC.search(words[i].casefold())), None
    )
    if (
        place == len(words) - 1
        and not ordered
        and not (words[0].casefold() in _FIRST_NAMES and _is_patronymic(words[1]))
    ):
        return PersonName(first=words[-2], last=" ".join(words[:-2]), second=words[-1])
    if place == 1 or (words[0].casefold() in _FIRST_NAMES and _is_patronymic(words[1])):
        return PersonName(first=words[0], last=" ".join(words[2:]), second=words[1])
    return PersonName(first=words[0], last=words[-1], second=" ".join(words[1:-1]))


def _is_patronymic(word: str) -> bool:
    """Has it the ending and the beginning of a father's name? (Сергеевич, but not Рабинович)"""
    low = word.casefold()
    if not _PATRONYMIC.search(low):
        return False
    return low.isascii() or low[:3] in _FATHERS


def _looks_like_surname(word: str) -> bool:
    low = word.casefold()
    return low not in _FIRST_NAMES and bool(_SURNAME.search(low))


def _capitalised(word: str) -> str:
    if word.islower() or (word.isupper() and len(word) > 2):
        return "-".join(part.capitalize() for part in word.split("-"))
    return word
