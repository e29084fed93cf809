"""Statements in words that nothing known has: what no pattern of claims can list in advance.

A reply that rests on knowledge repeats its words. A sentence that states something mostly in words
of its own rests on nothing, whatever it is about.
"""

from __future__ import annotations

import re

from integrations.llm.names import base_of_first_name
from integrations.llm.numerals import digitise
from integrations.llm.words import WordIndex, content_words, fold, listed

LEAST_NEW = 2
LEAST_SHARE = 0.5
LEAST_SHARE_WITH_FIGURES = 0.7
"""A statement is new when so many of its words are, and they are so large a part of it. Figures
that were found to be known hold a sentence to its ground."""
FOREIGN = 2
"""When what is told has so many times more words of the other alphabet, words prove nothing."""

# What any company's employee says of anything: courtesy, the conversation itself, who will do what.
_ANYBODYS = """
рад рада рады помочь помогу поможем помощь подсказать подскажу подскажем подскажет уточнить уточню
уточним проверить проверю проверим передать передам передал передала передаем вопрос вопросы ответ
ответы ответить отвечу ответим обращение обращения сообщение сообщения запрос информация
информацию данные детали подробно подробнее подробности точный точнее точно извините извиняемся
извинения приносим простите неудобства задержка ожидание ожидайте подождите минуту минутку секунду
момент сейчас сразу скоро позже снова опять вместе обязательно конечно разумеется безусловно
хорошо отлично понятно понял поняла понимаю ясно слышу вижу видим заметили жаль сожаление
сожалению сочувствую благодарим благодарю спасибо признательны отзыв мнение замечание пожелание
пожелания ситуация ситуации случай проблема проблемы разберемся разбираемся решим решить решение
специалист специалисты коллега коллеги менеджер оператор администратор консультант сотрудник
поддержка свяжется свяжемся связаться связь связи напишите написать напишу напишем написали пишите
звоните позвонить позвоним позвоните номер телефон почта почту адрес чат сайт сайте ссылка контакт
контакты имя выбор выбрать выберите вариант варианты подобрать подберем предложить предложим
рекомендую советую обсудить расскажите рассказать расскажу расскажем интерес интересует
интересуетесь нужно нужен нужна нужны необходимо хотите хотели желаете удобно удобный удобное
удобная время дата день дни часы час неделя месяц год утро вечер сегодня завтра выходных отличных
хорошего доброго приятного прекрасного настроения добро пожаловать компания компании магазин
клиника отель школа салон сервис клиент клиенты клиентам гость гости гостям знакомству знакомы
приятно готов готова готовы ждем жду ждать видеть слушаю любой любое любая каждый другой другие
обычно примерно около более менее нравится понравилось надеемся надеюсь возможно вероятно зависит
зависимости случае пока тоже остались останутся появятся возникнут будет будем буду будут стал
стала может могу можем можете сможете сможем смогу дать даем дадим есть имеется имеют имеет иметь
бывает является являются находится находимся располагается занимает займет длится проходит
проводится состоит составляет включает действует возможен возможна доступен доступна доступно нет
стоимость стоит стоят цена цены цену рубль рублей рубля руб тысяч тысячи дня дней минут минуты
часа часов недели недель месяца месяцев лет года январь января февраля марта апреля мая июня июля
августа сентября октября ноября декабря понедельник вторник среда четверг пятница суббота
воскресенье понедельника пятницу субботу субботам воскресеньям выходной выходные будни ежедневно
примем приняли получили получила учтем ценим важно внимание терпение доверие заранее здесь там
после перед затем также переживать переживайте волноваться волнуйтесь беспокоиться беспокойтесь
столкнулись такая такой всем всеми всему полностью просто легко быстро товар услуга услуги заказ
заказа клиентов спрашивайте обращайтесь приходите приезжайте заходите улица улице дом метро город
число числе модель модели
help check colleague question questions answer answers message request information detail details
more exact exactly sorry apologize apologies inconvenience delay wait waiting moment minute second
now soon later again together course certainly sure happy glad welcome understand see thank thanks
appreciate feedback patience reach reaching out touch contact contacts get back look forward hope
specialist manager team support staff write call phone email number address website link choose
choice option options offer recommend suggest discuss tell share know let need needs want like
would could convenient time date day days hour hours week weeks month months year years morning
afternoon evening night today tomorrow weekend great nice good wonderful perfect enjoy company
shop store hotel clinic school guest guests client clients customer customers usually about around
approximately depends depend case available take takes took last lasts cost costs price prices
ruble rubles dollar dollars monday tuesday wednesday thursday friday saturday sunday january
february march april may june july august september october november december pm am daily every
each any other arrange provide include includes included have has had gets give gives make makes
order orders item items service services feel free ask us one two three also please reply respond
everything anything something possible before after
"""
_GENERIC = WordIndex([_ANYBODYS])

# A request that keeps the conversation going states nothing: «Пришлите фото чека». Advice does:
# «Дайте ему полтаблетки».
_REQUEST = re.compile(
    r"^(?:\W|не\s|пожалуйста|please|тогда|чтобы|для этого|для начала|если можно|kindly|don't\s)*"
    r"(?:(?:пришл|напиш|укаж|подскаж|уточн|опиш|расскаж|сообщ|позвон|обрат|назов|покаж|"
    r"прилож|прикреп|выбер|провер|посмотр|подожд|ожид|извин|прост|пережив|волнуй|беспок|"
    r"переживай|приход|приезж|подъезж|заход|спрашив|обраща|пиш|звон|жд|дожд|смотр|выбир|завер)"
    r"(?:айте|яйте|уйте|ойте|ейте|ите|ьте|тесь)(?:сь)?|отправьте|оставьте|остав(?:ьте|ляйте)|"
    r"send|tell|share|let|feel|call|write|check|choose|describe|attach|specify)\b"
)
_SYMPATHY = re.compile(
    r"\b(?:жаль|сочувств\w+|понима\w+|спасибо|благодар\w+|извин\w+|прост\w+|сожале\w+|неприятн\w+|"
    r"вижу|sorry|thank\w*|understand\w*|appreciate\w*|apolog\w+|i see)\b"
)

_AFFIRMS = re.compile(
    r"^\W*(?:да|ага|конечно|разумеется|безусловно|с удовольствием|yes|sure|of course|certainly|"
    r"absolutely|definitely)\b(?!\s*[.!]?\s*$)"
)
_OF_OURS = re.compile(
    r"\b(?:мы|нас|нам|наш\w*|есть|можно|бывает|имеется|входит|действует|we|us|our|"
    r"there is|there are)\b"
)
"""A sentence of courtesy or a request with one of these states something all the same."""
_TO_YOU = re.compile(r"\b(?:вас|вам|тебя|you)\b")

_CAPITALISED = re.compile(
    r"(?<![.!?…:;\"«(\n])(?<![.!?…:;] )(?<=\s)[A-ZА-ЯЁ][a-zа-яё]{2,}(?:-[А-ЯЁA-Z][а-яёa-z]+)?"
)
# Words that are written with a capital wherever they stand, and name nothing.
_NO_NAMES = listed(
    """
    вы вас вам вами ваш ваша ваше ваши вашего вашей вашему вашу вашим нового новый новым год
    monday tuesday wednesday thursday friday saturday sunday january february march april may june
    july august september october november december english russian
    """
)


def new_statement(sentence: str, told: WordIndex, asked: WordIndex) -> str:
    """The sentence, when it states something in words that are not told; else an empty text.

    `asked` are the client's words: they carry sympathy, not facts.
    """
    folded = fold(digitise(sentence).text)
    request = _REQUEST.search(folded)
    if request and not _OF_OURS.search(folded):
        # «Подъезжайте сейчас, вас примут без очереди»: the request brings a promise along
        _asked_for, _comma, folded = folded.partition(",")
        if not _TO_YOU.search(folded):
            return ""
    courtesy = request or _SYMPATHY.search(folded)
    if courtesy and not _OF_OURS.search(folded) and not request:
        return ""
    counted = [
        word
        for word in content_words(folded)
        if not word[0].isdigit() and not _GENERIC.has(word) and not base_of_first_name(word)
    ]
    new = [word for word in counted if not told.has_root(word)]
    if _AFFIRMS.search(folded) and any(asked.has_root(word) for word in new):
        return sentence  # just what the client asked about is what nobody told
    if courtesy:
        new = [word for word in new if not asked.has_root(word)]
    share = LEAST_SHARE_WITH_FIGURES if re.search(r"\d", folded) else LEAST_SHARE
    if len(new) < LEAST_NEW or len(new) < share * len(counted):
        return ""
    return sentence


def new_names(sentence: str, told: WordIndex, asked: WordIndex) -> list[str]:
    """Names of places, people, firms and goods that neither we nor the client have named."""
    found = []
    for match in _CAPITALISED.finditer(sentence):
        word = fold(match.group())
        known = word in _NO_NAMES or base_of_first_name(word) or _GENERIC.has(word)
        if not known and not told.has_root(word) and not asked.has_root(word):
            found.append(match.group())
    return found


def speaks_of(told: WordIndex, sentence: str) -> bool:
    """Is what is told written in the sentence's own alphabet, so that words can be compared?"""
    cyrillic = bool(re.search(r"[а-я]", fold(sentence)))
    same = sum(bool(re.match(r"[а-я]", word)) == cyrillic for word in told.exact if word.isalpha())
    other = sum(word.isalpha() for word in told.exact) - same
    return other <= FOREIGN * same
