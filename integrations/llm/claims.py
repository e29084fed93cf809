"""What a reply claims, and whether knowledge, CRM or the dialog say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from integrations.llm.contacts import find_emails, find_links, find_phones
from integrations.llm.money import find_money, find_numbers
from integrations.llm.statements import new_names, new_statement, speaks_of
from integrations.llm.values import Doubt, Frozen, Source
from integrations.llm.when import (
    Duration,
    When,
    find_clock_times,
    find_durations,
    find_timetables,
    find_whens,
    names_weekday,
    weekdays_in,
)
from integrations.llm.words import WordIndex, content_words, fold, sentences


class KnownFacts(Frozen):
    """What a reply may rest on. Client texts go apart: they support numbers, never promises."""

    sources: tuple[Source, ...] = ()
    """Knowledge given to the model; internal pieces support nothing, they are not for clients."""
    crm_values: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()
    """The company's own phones, e-mail addresses, messenger names and links."""
    allowed_links: tuple[str, ...] = ()
    """A host allows all its pages, a longer address everything below it."""
    dialog_texts: tuple[str, ...] = ()
    """What our operators already told this client."""


# --- What is known -------------------------------------------------------------------------------


@dataclass
class _Facts:
    """The typed facts of one text."""

    numbers: set[Decimal] = field(default_factory=set)
    percents: set[Decimal] = field(default_factory=set)
    days: set[date] = field(default_factory=set)
    stretches: set[tuple[date, date]] = field(default_factory=set)
    times: set[int] = field(default_factory=set)
    durations: set[tuple[float, float]] = field(default_factory=set)
    weekdays: set[int] = field(default_factory=set)
    timetables: set[tuple[int, int]] = field(default_factory=set)

    @classmethod
    def of(cls, text: str, now: datetime) -> _Facts:
        facts = cls()
        facts.numbers = {value for value, _ in find_numbers(text)}
        facts.numbers |= {money.upper for money in find_money(text) if money.upper is not None}
        facts.percents = {value for value, _ in _percents(text)}
        for when in find_whens(text, now):
            facts.times |= _times_of(when)
            facts.stretches.add(_stretch_of(when))
            if when.day is not None:
                facts.days.add(when.day)
        facts.times |= {minute for minute, _ in find_clock_times(text)}
        facts.durations = _lengths(text)
        facts.weekdays = set(weekdays_in(text))
        facts.timetables = {(first, last) for first, last, _ in find_timetables(text)}
        return facts

    def add(self, other: _Facts) -> None:
        for name in vars(self):
            getattr(self, name).update(getattr(other, name))


_PERCENT = re.compile(r"(\d+(?:[.,]\d+)?)\s?(?:%|процент\w*|percent)", re.I)


def _percents(text: str) -> Iterator[tuple[Decimal, str]]:
    for match in _PERCENT.finditer(text):
        yield Decimal(match.group(1).replace(",", ".")), match.group()


def _times_of(when: When) -> set[int]:
    if not when.names_time:
        return set()
    found = {when.start.hour * 60 + when.start.minute}
    if when.end is not None:
        found.add(when.end.hour * 60 + when.end.minute or 1440)
    return found


def _stretch_of(when: When) -> tuple[date, date]:
    return when.start.date(), (when.end or when.start).date()


@dataclass
class Ground:
    """Everything known, in the forms that claims are compared in."""

    told: _Facts
    """By knowledge, CRM, contacts and our operators."""
    asked: _Facts
    """By the client."""
    passages: list[tuple[str, str, WordIndex]]
    """Sentences of what is told: key of the source (or ""), folded text, its words."""
    by_source: list[tuple[str, str]]
    told_words: WordIndex
    asked_words: WordIndex

    @classmethod
    def of(
        cls, known: KnownFacts, client_texts: Sequence[str], now: datetime, region: str
    ) -> Ground:
        told, asked = _Facts(), _Facts()
        passages: list[tuple[str, str, WordIndex]] = []
        texts = [
            (source.key, f"{source.title}.\n{source.text}")
            for source in known.sources
            if not source.internal
        ]
        texts += [("", text) for text in (*known.crm_values, *known.contacts, *known.dialog_texts)]
        titles = {source.key: source.title for source in known.sources}
        for key, text in texts:
            told.add(_Facts.of(text, now))
            for sentence in sentences(text):
                passages.append(
                    (
                        key,
                        fold(f"{titles.get(key, '')}: {sentence}"),
                        WordIndex([sentence, titles.get(key, "")]),
                    )
                )
        for text in client_texts:
            asked.add(_Facts.of(text, now))
        return cls(
            told,
            asked,
            passages,
            [(key, text) for key, text in texts if key],
            WordIndex([text for _, text in texts]),
            WordIndex(client_texts),
        )

    def has_price(self, amounts: set[Decimal], reply_words: Sequence[str]) -> bool:
        """Do the amounts stand in a passage about something that the reply speaks of?

        A passage in the other alphabet cannot be compared by words, there the amount is enough.
        """
        latin = not re.search(r"[а-я]", " ".join(reply_words))
        for key, passage, index in self.passages:
            figures = {value for value, _ in find_numbers(passage)} | {
                money.upper for money in find_money(passage) if money.upper
            }
            if not amounts & figures:
                continue
            if (
                not key
                or latin == bool(re.search(r"[а-я]", passage))
                or any(index.has_root(word) for word in reply_words)
            ):
                return True
        return False

    def has_length(self, length: Duration, reply_words: Sequence[str]) -> bool:
        """Is this length of time told of something that the reply speaks of?"""
        for key, passage, index in self.passages:
            if not _length_is_known(length, _lengths(passage)):
                continue
            foreign = not re.search(r"[а-я]", passage)
            if not key or foreign or not reply_words or any(map(index.has_root, reply_words)):
                return True
        return False

    def sources_of(self, reply: str) -> tuple[str, ...]:
        """Keys of the sources that a sentence of the reply repeats, at least three words of it."""
        keys: dict[str, None] = {}
        for sentence in sentences(reply):
            wanted = content_words(sentence)
            best: tuple[float, str] = (0.0, "")
            for key, _, index in self.passages:
                hits = sum(index.has(word) for word in wanted) if key else 0
                if hits >= 3 and hits / len(wanted) >= 0.4 and hits / len(wanted) > best[0]:
                    best = (hits / len(wanted), key)
            if best[1]:
                keys[best[1]] = None
        return tuple(keys)


# --- Claims --------------------------------------------------------------------------------------

_QUESTION = re.compile(r"\?[\s\"»)]*$")
_FINDING_OUT = re.compile(
    r"\b(?:уточн\w+|узна(?:ю|ем|ть|йте)|провер(?:ю|им|ить|яю|яем|ьте)|переда(?:м|"
    r"ю|дим|ла?|ли|ть|но|ём|ем)\w*|подска(?:жу|жем|жет|жут|жите|зать)|спро(?:шу|сим|сить)|"
    r"сообщ(?:ите|у|им)|"
    r"выясн\w+|посмотр(?:ю|им|ит)|насчет|по поводу|по вопрос\w+|о возможности|"
    r"поможет|проконсультир\w+|расскаж(?:у|ем|ет|ут|ите)|напишите|укажите|пришлите|"
    r"(?:коллег\w+|специалист\w*|менеджер\w*|оператор\w*|руководител\w*)\b[^.!?]{0,60}"
    r"\b(?:ответ\w+|свяж\w+|подключ\w+|помог\w+|напиш\w+|скаж\w+|разбер\w+|вернет\w*|увид\w+|"
    r"перезвон\w+|назов\w+|рассчита\w+|реш\w+)|"
    r"(?:подключ\w+|позов\w+|спрошу|обращусь|направ\w+)\b[^.!?]{0,30}"
    r"\b(?:коллег\w+|специалист\w*|менеджер\w*|оператор\w*|отдел\w*)|"
    r"check|find out|clarify|ask|let me|pass (?:this|it|your)|"
    r"(?<!look )(?<!looking )forward(?:ed|ing)? (?:it|this|that|your|the|to)|"
    r"(?:colleague\w*|specialist\w*|manager\w*)\b[^.!?]{0,60}"
    r"\b(?:will|can|look|answer|help|reply|contact)|(?:to|with) (?:a|our|my) (?:colleague|manager|"
    r"specialist|team)|look into|confirm with|get back|tell me|"
    r"let us know|let me know|could you|please (?:send|share|tell|specify|"
    r"provide))\b"
)
_ECHO = re.compile(
    r"\b(?:вы (?:пи[сш]\w+|указ\w+|сказал\w*|упомянул\w*|хотите|просите|проси\w+|"
    r"спрашива\w+|жд[её]те|назвал\w*|оплатил\w*|заказ\w+|купил\w*|планиру\w+|"
    r"готовы)|вам (?:удобно|нужн\w+|обещал\w*)|ваш(?:ему|ем|ей|его|"
    r"им)?\s(?:бюджет\w*|сообщени\w+|пожелани\w+|вопрос\w*|запрос\w*)|правильно "
    r"(?:ли )?поня\w+|понимаю|"
    r"записал\w* (?:ваш\w*|пожелани\w+)|пожелани\w+|хотели бы|you (?:mentioned|"
    r"wrote|asked|said|want|need|ordered|paid|would like)|i understand|as i "
    r"understand|your (?:budget|message|request))\b"
)
_CONDITION = re.compile(
    r"\b(?:если|как только|когда|в случае|при условии|после того|чтобы|if|once|"
    r"when|as soon as|in case)\b"
)
_WISH = re.compile(
    r"\b(?:хорош\w+|приятн\w+|отличн\w+|удачн\w+|добр\w+|прекрасн\w+|have a|enjoy|"
    r"good|happy|с наступающ\w+|поздравля\w+)\b"
)
_PRICE_CLAIM = re.compile(
    r"\b(?:сто[ия]т\w*|цена|стоимост\w+|составит|обойд[её]тся|всего|отдадим|за|"
    r"costs?|price|will be|only|total)\b"
)
_PRICE_WORD = re.compile(
    r"(?:сто[ия]т|цен|стоимост|составит|обойд|руб|доллар|евро|тысяч|миллион|cost|price|ruble|dollar|"
    r"euro|р$|дн[яе]|день|недел|час|минут|месяц|год|лет$|срок|day|week|hour|minute|month|year)"
)
_NEGATED = re.compile(
    r"\b(?:не|нет|без|ни|никаких|к сожалению|not|no|don'?t|doesn'?t|can'?t|cannot|"
    r"unfortunately|without)\b[^.,;!?]{0,25}$"
)


@dataclass(frozen=True)
class _Claim:
    """Words that bind the company; `support` must stand in what is told about the same thing."""

    pattern: re.Pattern[str]
    support: re.Pattern[str]
    kind: str = "promise"
    always: bool = False
    """Also in a question, a condition or beside «уточню»: nobody says these words by the way."""
    exact: bool = False
    """Must the last word of the claim itself be told, not only a related one?"""


def _claim(
    pattern: str,
    support: str = "",
    *,
    kind: str = "promise",
    always: bool = False,
    exact: bool = False,
) -> _Claim:
    return _Claim(re.compile(pattern), re.compile(support or pattern), kind, always, exact)


_THINGS = (
    r"(?:заказ\w*|посылк\w+|товар\w*|курьер\w*|доставк\w+|возврат\w*|платеж\w*|"
    r"оплат\w+|бронь|бронировани\w+|запись|заявк\w+|ремонт\w*|order|parcel|"
    r"package|payment|refund|booking|appointment|reservation)"
)
_STATES = (
    r"(?:отправлен\w*|доставлен\w*|готов\w*|в пути|выехал\w*|оплачен\w*|"
    r"подтвержд[её]н\w*|прибыл\w*|отгружен\w*|собран\w*|оформлен\w*|отменен\w*|"
    r"одобрен\w*|принят\w* в работу|перенес[её]н\w*|зачислен\w*|доступен|shipped|"
    r"delivered|ready|on (?:its|the) way|confirmed|cancell?ed|approved|refunded|"
    r"scheduled|booked|processed|dispatched)"
)
_OF_CLIENT = (
    r"(?:вас|вам|тебя|вашу? |ваш |заказ|возврат|доставк|запись|визит|брон|столик|"
    r"мастера|курьера|при[её]м|скидк|деньги|средства|оплат|замену|обмен|выезд|"
    r"замер)"
)
_CLAIMS = (
    _claim(
        r"\b(?:бесплатн\w+|даром|безвозмездн\w+|за наш сч[её]т|complimentary|no "
        r"charge|free of charge|at no (?:extra )?cost)\b|(?<!feel )(?<!-)\bfree\b(?! "
        r"to| time)",
        r"бесплатн|даром|\bfree\b|no charge|complimentary|безвозмездн|за наш счет|\b0 "
        r"(?:руб|р\b|₽)",
        always=True,
    ),
    _claim(
        r"\b(?:подар(?:ок|ки|ком|им|ок\w*)|бонус\w*|gift|bonus\w*)\b", r"подар|бонус|gift|bonus"
    ),
    _claim(
        r"\b(?:скидк\w+|промокод\w*|акци[яюие]\w*|распродаж\w+|к[еэ]шб[еэ]к\w*|"
        r"discount\w*|promo\w*|coupon|voucher|cashback|% off)\b",
        r"скидк|промокод|акци|распродаж|к[еэ]шб[еэ]к|discount|promo|coupon|cashback|"
        r"voucher|% off",
    ),
    _claim(
        r"\b(?:гарантиру\w+|ручаюсь|ручаемся|guarantee\w*)\b",
        r"гарант|guarantee|warranty",
        always=True,
    ),
    _claim(r"\b(?:гаранти[яийюе]\w*|warranty)\b", r"гарант|guarantee|warranty"),
    _claim(
        r"\b(?:обеща(?:ю|ем)|обязу(?:юсь|емся)|клян\w+|да(?:ю|ем) слово|заверя(?:ю|"
        r"ем)|уверя(?:ю|ем)|(?:i|we) promise|promise you|we (?:pledge|commit)|i "
        r"assure|legally binding|deal approved|юридически обязывающ\w+)\b",
        always=True,
    ),
    _claim(
        r"\b(?:верн[её]м(?!ся)|верну(?!ть|ться|сь|л)\b(?! (?:с ответом|к вам))|"
        r"возвращен\w*|возвратим|"
        r"верн[её]тся на карту|"
        r"вернут(?!ь|ся)|возмест\w+|компенсиру\w+|компенсаци\w+|refund(?:ed)? (?:you|"
        r"your|the|in full|will)|(?:we|i)(?:'ll| will| can)? (?:fully )?refund|full "
        r"refund|money[- ]back|reimburs\w+|compensat\w+)\b",
        r"верн|возврат|возмест|компенс|refund|money.?back|reimburs|compensat",
        always=True,
        exact=True,
    ),
    _claim(
        r"\b(?:в двойном размере|двойн\w+ (?:стоимост\w+|цен\w+)|вдвое больше|double "
        r"the|twice the)\b",
        always=True,
    ),
    _claim(
        r"\bвозврат\w*\s(?:\w+\s)?(?:возможен|оформ(?:им|лен)|одобрен|займ[её]т|"
        r"производ\w+|осуществля\w+|гарантирован|в течение|денег (?:за|в))|\bденьги "
        r"(?:верн|вернут|придут|поступ)\w*|\breturns? (?:are|is) (?:accepted|"
        r"possible)|\bwe accept returns",
        r"верн|возврат|возмест|refund|return",
    ),
    _claim(
        rf"\b(?:записал[аи]?|забронировал[аи]?|отменил[аи]?|перен[её]с(?:ла|ли)?|"
        rf"изменил[аи]?|активировал[аи]?|начислил[аи]?|зачислил[аи]?|оформил[аи]?|"
        rf"подтвердил[аи]?|заказал[аи]?|вернул[аи]?|отправил[аи]?|выслал[аи]?|"
        rf"продлил[аи]?|поменял[аи]?|применил[аи]?|"
        rf"назначил[аи]?)\s(?:\w+\s)?{_OF_CLIENT}(?!(?:\w*\s)?(?:вопрос|сообщени|"
        rf"запрос|обращени|пожелани|контакт|номер|данны|коллег|им[яе]))"
    ),
    _claim(
        r"\b(?:записыва[юе]\w*|бронирую|оформляю|отменяю|переношу|возвращаю|начисляю|"
        r"резервирую|зарезервировал\w*|записаны на|вы записаны|ждем вас|жд[её]м вас)\b",
        r"запис|ждем|жд[её]м|брон",
    ),
    _claim(
        r"\b(?:i|we)(?:'ve| have| just)?(?: just| already)? (?:booked|cancelled|"
        r"canceled|refunded|scheduled|rescheduled|sent you|processed|applied|"
        r"confirmed|changed|reserved|placed|activated|extended|updated your|issued|"
        r"arranged)\b|\byour (?:\w+ ){0,3}?(?:table|room|seat|ticket|place|appointment|booking|"
        r"reservation|order|refund) "
        r"(?:is|has been|was) (?:booked|confirmed|cancell?ed|scheduled|rescheduled|"
        r"processed|placed|reserved|approved|changed)"
    ),
    _claim(rf"\b{_THINGS}\b[^.!?]{{0,30}}\b{_STATES}(?!\w)", rf"{_STATES}", exact=True),
    _claim(
        r"\b(?:в наличии|на складе|in stock|sold out|out of stock|available (?:now|"
        r"for|in|today)|есть (?:все )?размер\w*|остал(?:ось|ись|ся))\b",
        r"налич|склад|stock|available|остал",
        kind="claim",
    ),
    _claim(
        r"\b(?:доставляем|отправляем|привоз(?:им|ят)|довез[её]м|осуществляем доставку|"
        r"we (?:do )?(?:ship|deliver)|we offer)\b",
        r"достав|отправ|привоз|ship|deliver|offer",
        kind="claim",
    ),
    _claim(
        r"\b(?:круглосуточн\w+|24/7|без выходных|around the clock)\b",
        r"круглосуточ|24/7|без выходных|24 часа|around the clock|ежедневно",
        kind="claim",
    ),
    _claim(
        r"\b(?:рассрочк\w+|в кредит|по частям|частями|долями|installments?|credit)\b",
        r"рассроч|кредит|част|долями|installment|credit",
        kind="claim",
    ),
    _claim(
        r"\b(?:мы|я)\s(?:уже\s)?(?:отменил|вернул|оформил|забронировал|перенес|изменил|активировал|"
        r"начислил|зачислил|применил|продлил|перевел|перечислил|заказал)[аи]?\b"
        r"(?!\s(?:\w+\s)?(?:вопрос|запрос|обращени|заявк))"
    ),
    _claim(
        r"\b(?:включен\w*|входит|входят) в (?:стоимость|цену|подарок)|included in the price",
        r"включен|вход[ия]т|included",
        kind="claim",
    ),
    _claim(
        r"\b(?:официальн\w+ (?:дилер\w*|партн[её]р\w*|представител\w+|магазин\w*)|"
        r"сертифи\w+|лицензи\w+|official (?:dealer|partner|distributor)|certified|"
        r"licensed)\b",
        kind="claim",
    ),
    _claim(
        r"\b(?:подойд[её]т|подходит|подходят)\b(?= (?:к|на|под|и на|и к)\b)|"
        r"\bваш\w*\b[^.!?]{0,40}\b(?:подойд[её]т|подходит|подходят)\b(?! ли)|"
        r"\b(?:совместим\w*|is compatible|will fit|fits)\b(?! ли)",
        r"подойд|подход|совместим|compatible|fit",
        kind="claim",
    ),
    _claim(
        r"\b(?:безопасн\w+|гипоаллерген\w+|не содержит|не содержат|нет (?:орехов|"
        r"глютена|сахара|аллергенов|лактозы)|без (?:орехов|глютена|сахара|лактозы)|is "
        r"safe|allergen|nut[- ]free|gluten[- ]free|does not contain)\b",
        r"безопас|аллерг|содерж|орех|глютен|сахар|лактоз|safe|allerg|contain|free",
        kind="claim",
    ),
    _claim(
        r"\b(?:приедет|приедем|приедут|привезут|доставят|выезжа\w+|перезвон(?:им|ят|"
        r"ит|ю) (?:вам )?(?:сегодня|завтра|через|в течение|до)|will (?:arrive|be "
        r"delivered|call you (?:today|tomorrow|in|within)))\b",
        r"приед|привез|достав|выез|звон|deliver|arriv|call",
        kind="promise",
    ),
    _claim(
        r"\b(?:работаем|открыты|принимаем (?:карт\w+|наличн\w+|оплат\w+)|оплатить "
        r"можно|можно оплатить|we are open|we accept)\b",
        r"работ|открыт|оплат|оплач|карт|налич|open|accept|pay",
        kind="claim",
    ),
)


def unsupported(
    sentence: str, reply_words: Sequence[str], ground: Ground, *, now: datetime, region: str
) -> list[Doubt]:
    """Everything in one sentence of a reply that nothing known supports.

    `reply_words` are the words of the whole reply: they say what its prices are prices of.
    """
    bare = _without_contacts(sentence, region)
    found = [
        *_bad_claims(sentence, ground),
        *_Figures(bare, reply_words, ground, now).unsupported(),
    ]
    return found or list(_new(bare, ground))


def _new(sentence: str, ground: Ground) -> Iterator[Doubt]:
    """What is stated in words that nobody told, where no more exact doubt was found."""
    folded = fold(sentence)
    asks = any(
        pattern.search(folded) for pattern in (_QUESTION, _FINDING_OUT, _CONDITION, _ECHO, _WISH)
    )
    if asks or not speaks_of(ground.told_words, sentence):
        return
    told, asked = ground.told_words, ground.asked_words
    if statement := new_statement(sentence, told, asked):
        yield Doubt(kind="claim", text=" ".join(statement.split())[:120])
        return
    for name in new_names(sentence, told, asked):
        yield Doubt(kind="claim", text=name)


def subject_words(reply: str) -> list[str]:
    """Words that say what a reply is about, without figures and words of price."""
    return [
        word
        for word in content_words(reply)
        if not word[0].isdigit() and not _PRICE_WORD.match(word)
    ]


def _bad_claims(sentence: str, ground: Ground) -> Iterator[Doubt]:
    folded = fold(sentence)
    by_the_way = bool(
        _QUESTION.search(folded) or _FINDING_OUT.search(folded) or _CONDITION.search(folded)
    )
    for claim in _CLAIMS:
        for match in claim.pattern.finditer(folded):
            if by_the_way and not claim.always:
                continue
            negated = bool(_NEGATED.search(folded[: match.start()]))
            if negated and claim.kind == "promise":
                continue
            if not _is_told(claim, match, folded, ground, negated):
                yield Doubt(kind=claim.kind, text=sentence[match.start() : match.end()])
                break


def _is_told(
    claim: _Claim, match: re.Match[str], folded: str, ground: Ground, negated: bool
) -> bool:
    """Does a sentence of what is told say the same about the same thing?"""
    said = content_words(match.group())
    rest = content_words(folded[: match.start()]) + said[:-1] + content_words(folded[match.end() :])
    figures = bool(re.search(r"\d", folded))
    for _, passage, index in ground.passages:
        found = claim.support.search(passage)
        if not found or bool(_NEGATED.search(passage[: found.start()])) != negated:
            continue
        if claim.exact and said and not index.has_root(said[-1]):
            continue
        # «от 5 000 ₽ бесплатно» does not support «бесплатно» without its condition
        if claim.always and not figures and _FROM_A_SUM.search(passage):
            continue
        if not rest or any(index.has_root(word) for word in rest):
            return True
    return False


_FROM_A_SUM = re.compile(r"\b(?:от|свыше|более|over|from|above)\s\$?\d")


def _without_contacts(sentence: str, region: str) -> str:
    """The sentence with contacts and list marks blanked out: their digits claim nothing."""
    text = sentence
    for found in (*find_links(text), *find_emails(text), *find_phones(text, region)):
        text = text[: found.start] + " " * (found.end - found.start) + text[found.end :]
    return re.sub(
        r"^\s*(?:\d{1,2}[.)]|№\s?\d+[.)])\s", lambda match: " " * len(match.group()), text
    )


# the client's own limit: «с бюджетом до 60 тысяч», "with a budget of $500"
_BUDGET_BEFORE = re.compile(r"(?:бюджет\w*|budget)\s?(?:\w+\s){0,2}$")
_VAGUE_TIME = re.compile(
    r"^(?:в\s|на\s|за\s)?(?:одну\s|одной\s|пару\s|a\s|one\s|just a\s)?(?:минут\w*|"
    r"минуточк\w*|секунд\w*|moment|minute|second|сек\w*)$"
)
_PARTS_OF_DAY = re.compile(r"^(?:утр\w+|дн[её]м|вечер\w*|ноч\w+|morning|afternoon|evening|night)$")


class _Figures:
    """Prices, percents, days, lasting times and numbers of one sentence, each looked at once."""

    def __init__(
        self, text: str, reply_words: Sequence[str], ground: Ground, now: datetime
    ) -> None:
        self._text, self._words, self._ground, self._now = text, reply_words, ground, now
        self._folded = fold(text)
        self._question = bool(_QUESTION.search(self._folded))
        # the client's own figures may be repeated to him, not confirmed
        self._echo = self._question or bool(
            _ECHO.search(self._folded) or _FINDING_OUT.search(self._folded)
        )
        self._taken: list[tuple[int, int]] = [match.span() for match in _NO_FIGURE.finditer(text)]

    def unsupported(self) -> Iterator[Doubt]:
        # the order matters: what is part of a price or a date is no number of its own
        yield from self._prices()
        yield from self._percents()
        yield from self._timetables()
        yield from self._durations()
        yield from self._moments()
        yield from self._clock_times()
        yield from self._numbers()

    def _take(self, start: int, end: int) -> bool:
        """Is this stretch of the text still to be looked at? If so it is taken now."""
        if any(start < right and left < end for left, right in self._taken):
            return False
        self._taken.append((start, end))
        return True

    def _prices(self) -> Iterator[Doubt]:
        told, asked = self._ground.told, self._ground.asked
        for money in find_money(self._text):
            self._take(money.start, money.end)
            amounts = {money.amount} | ({money.upper} if money.upper is not None else set())
            own = amounts <= told.numbers and self._ground.has_price(amounts, self._words)
            wish = _BUDGET_BEFORE.search(self._folded[: money.start])
            repeats = self._echo or wish or not _PRICE_CLAIM.search(self._folded)
            if not own and not (repeats and amounts <= told.numbers | asked.numbers):
                yield Doubt(kind="price", text=money.text)

    def _percents(self) -> Iterator[Doubt]:
        for match in _PERCENT.finditer(self._text):
            self._take(*match.span())
            value = Decimal(match.group(1).replace(",", "."))
            known = value in self._ground.told.percents
            if not known and not (self._echo and value in self._ground.asked.percents):
                yield Doubt(kind="number", text=match.group())

    def _timetables(self) -> Iterator[Doubt]:
        told = self._ground.told.timetables
        for first, last, quote in find_timetables(self._text):
            start = self._text.find(quote)
            self._take(start, start + len(quote))
            inside = any(low <= first and last <= high for low, high in told)
            if not self._question and not inside:
                yield Doubt(kind="date", text=quote)

    def _durations(self) -> Iterator[Doubt]:
        moments = [
            when for when in find_whens(self._text, self._now) if when.day or when.names_time
        ]
        for length in find_durations(self._text):
            first, last = length.position
            if any(when.position[0] < first and last <= when.position[1] for when in moments):
                continue  # «27 ноября с 10 до 13 часов», «до 13 часов»: the end of a moment
            if not self._take(*length.position) or _VAGUE_TIME.match(fold(length.text)):
                continue
            if self._question and not fold(length.text).startswith("через"):
                continue
            echoed = self._echo and _length_is_known(length, self._ground.asked.durations)
            if not echoed and not self._ground.has_length(length, self._words):
                yield Doubt(kind="date", text=length.text)

    def _moments(self) -> Iterator[Doubt]:
        wish = bool(_WISH.search(self._folded))
        for when in find_whens(self._text, self._now):
            if not self._take(*when.position):
                continue
            if _PARTS_OF_DAY.match(fold(when.text)) or (wish and not when.names_time):
                continue
            echoed = self._echo and _when_is_known(when, self._ground.asked)
            if _when_is_known(when, self._ground.told) or echoed or self._is_opening_time(when):
                continue
            # «Чем помочь сегодня?» and «Удобно завтра?» claim nothing; a date in figures does
            if not (self._question and not when.names_time and not re.search(r"\d", when.text)):
                yield Doubt(kind="date", text=when.text)

    def _is_opening_time(self, when: When) -> bool:
        """«В субботу работаем с 10» rests on a timetable, «в субботу привезём» does not."""
        told = self._ground.told
        weekday = names_weekday(when.text) and when.start.weekday() in told.weekdays
        hours = when.names_time and _times_are_known(when, told)
        return weekday and bool(hours or (not when.names_time and _OPENING.search(self._folded)))

    def _clock_times(self) -> Iterator[Doubt]:
        told, asked = self._ground.told, self._ground.asked
        for minute, quote in find_clock_times(self._text):
            start = self._text.find(quote)
            if not self._take(start, start + len(quote)):
                continue
            whole_hour = minute % 60 == 0 and Decimal(minute // 60) in told.numbers
            if minute not in told.times | asked.times and not whole_hour:
                yield Doubt(kind="date", text=quote)

    def _numbers(self) -> Iterator[Doubt]:
        told, asked = self._ground.told, self._ground.asked
        hours = {Decimal(minute // 60) for minute in told.times if minute % 60 == 0}
        known = told.numbers | asked.numbers | hours | {Decimal(self._now.year)}
        for match in _NUMBER.finditer(self._text):
            if not self._take(*match.span()):
                continue
            if not {value for value, _ in find_numbers(match.group())} <= known:
                yield Doubt(kind="number", text=match.group())


_OPENING = re.compile(r"работа|открыт|закрыт|график|режим|выходн|обед|\b(?:open|closed?|hours)\b")
_NUMBER = re.compile(r"(?<![\w])\d+(?:[ \u00a0]\d{3})*(?:[.,]\d+)?")
# «24/7» is a claim of its own
_NO_FIGURE = re.compile(r"\b24/7\b")


def _lengths(text: str) -> set[tuple[float, float]]:
    return {(length.shortest_minutes, length.longest_minutes) for length in find_durations(text)}


def _length_is_known(length: Duration, told: set[tuple[float, float]]) -> bool:
    """Exactly this, or the longer end of a range: «2 дня» for «2–3 дня» is too much."""
    ends = (length.shortest_minutes, length.longest_minutes)
    longest = {high for _, high in told}
    return ends in told or (ends[0] == ends[1] and ends[1] in longest)


def _times_are_known(when: When, facts: _Facts) -> bool:
    hours = {int(number) * 60 for number in facts.numbers if number == int(number) < 25}
    return _times_of(when) <= facts.times | hours


def _when_is_known(when: When, facts: _Facts) -> bool:
    if not _times_are_known(when, facts):
        return False
    if when.day is None:
        return when.names_time or _stretch_of(when) in facts.stretches
    if when.end is not None and not when.names_time:
        return _stretch_of(when) in facts.stretches
    # a day without a year that is over («отправлен 20 ноября») was read as the next one
    return when.day in facts.days or (
        when.ambiguous
        and (when.day.month, when.day.day) in {(day.month, day.day) for day in facts.days}
    )
