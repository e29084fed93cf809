"""Orders to the model where only data should be: what they look like, also in disguise."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Control, zero-width, direction and tag characters: they carry nothing that a person can see."""

# Letters of the two alphabets that look alike: «Игнopиpуй» with Latin o and p is the same order.
_LATIN, _CYRILLIC = "aceopxyukmhtbnrABCEHKMOPTXY", "асеорхуиктнтвпгАВСЕНКМОРТХУ"
_TO_CYRILLIC = str.maketrans(_LATIN, _CYRILLIC)
_TO_LATIN = str.maketrans("асеорхуАВСЕНКМОРТХУіѕј", "aceopxyABCEHKMOPTXYisj")
_MIXED = re.compile(r"[a-zа-яёіѕј]*(?:[a-z][а-яёіѕј]|[а-яёіѕј][a-z])[a-zа-яёіѕј]*", re.I)
_SPACED = re.compile(r"(?<!\w)(?:\w[ .\-_*]){4,}\w(?!\w)")

_ATTACKS = (
    r"(?:игнорир\w+|забудь\w*|забыть|отмени\w*|не (?:учитыва|соблюда|следу)\w+|"
    r"ignore|forget|disregard|override)\b[^.!?\n]{0,40}\b(?:инструкци\w+|"
    r"правил\w*|указани\w+|промпт\w*|ограничени\w+|instructions?|rules|prompts?|"
    r"guidelines|previous)",
    r"(?:системн\w+|твои|твоя|у тебя|скрыт\w+|внутренн\w+|исходн\w+|"
    r"начальн\w+)\s(?:\w+\s)?(?:инструкци\w+|промпт\w*|подсказк\w+)",
    r"(?:your|system|hidden|initial|full)\s(?:\w+\s)?(?:system prompt|prompt|instructions)",
    r"</?\s*(?:client|user|system|assistant|message|instructions?|human|"
    r"prompt)[\w_-]*\s*/?>|\[/?(?:inst|system)\]|<\|im_(?:start|end)\|>",
    r"\b(?:ты|вы) теперь\b[^.!?\n]{0,60}\b(?:бот|ассистент|dan|разработчик\w*|"
    r"режим\w*|без ограничений|хакер\w*)|\byou are now\b|developer mode|режим\w* "
    r"разработчика|jailbreak|\bDAN\b",
    r"\b(?:need_human|needs_human|confidence|\"reply\"|reply)\s*\"?\s*[:=]",
    r"(?:раскодируй|декодируй|decode|base64)\b[^.!?\n]{0,40}\b(?:выполни|исполни|"
    r"execute|run|follow|и)\b",
    r"(?:ответь|отвечай|напиши|скажи|reply|respond|answer|say|"
    r"confirm)\b[^.!?\n]{0,40}\b(?:только|лишь|ровно|словом|словами|фразой|only|"
    r"exactly|with the words?)\b",
    r"(?:ответь|напиши|отправь|скажи)\s(?:клиент\w*|покупател\w*|пользовател\w*|всем)\b",
    r"(?:call|execute|run|вызови|выполни)\s(?:the\s)?(?:function|tool|command|"
    r"функци\w+|команд\w+|код)\b|\b\w+_\w+\(\)",
    r"(?:предыдущ\w+|друг\w+|чуж\w+|прошл\w+|последн\w+\s\d+|other|previous|"
    r"last\s\d+)\s(?:клиент\w*|покупател\w*|заявк\w*|заказчик\w*|пользовател\w*|"
    r"customers?|clients?|users?|orders?)\b[^.!?\n]{0,40}(?:телефон|номер|адрес|"
    r"данны|email|phone|contact)?",
    r"(?:какой|дай|пришли|покажи|give|show|send)\b[^.!?\n]{0,30}(?:телефон\w*|"
    r"номер\w*|данны\w+|phone|email)\b[^.!?\n]{0,20}(?:предыдущ|друг|чуж|other|"
    r"previous)\w*",
    r"(?:как|as the|i am the|я)\s(?:владелец|директор|администратор|разработчик|"
    r"owner|admin\w*|developer|ceo)\b[^.!?\n]{0,80}(?:скидк|разреш|подтвер|приказ|"
    r"authori[sz]e|confirm|approve|discount|order you)",
    r"(?:подтверд\w+|confirm)\b[^.!?\n]{0,30}(?:что вы )?(?:обяз\w+|юридическ\w+|legally|binding)",
    r"\bнов(?:ое|ая|ые|ый)\s(?:правил[оа]|инструкци\w+|задача|роль)\s*[:—-]|"
    r"\bnew (?:rules?|instructions?|task|role)\s*[:—-]",
)
# Manuals, cards and price lists speak of rules and of other customers themselves, so there only
# what is plainly said to a model counts.
_ORDERS_IN_DATA = (
    r"\b(?:игнорируй\w*|забудь\w*|ignore|disregard|override)\b[^.!?\n]{0,40}\b(?:предыдущ\w+|"
    r"прежн\w+|вс[её]|все[хм]?|previous|prior|above|all|your|earlier|system)\b[^.!?\n]{0,30}"
    r"\b(?:инструкци\w+|правил\w*|указани\w+|промпт\w*|instructions?|rules|prompts?|guidelines)",
    _ATTACKS[3],
    r"\bты теперь\b[^.!?\n]{0,40}\b(?:бот|ассистент|dan|без ограничений)|\bjailbreak\b|"
    r"developer mode",
    r"\bneeds?_human\b",
    r"\b(?:ai|llm|chatbot|language model|ии|нейросет\w*|языков\w+ модел\w+|чат-?бот\w*)\b"
    r"(?:[- ](?:assistants?|models?|ассистент\w*|помощник\w*))?[\s,:—–-]{1,3}(?:you )?"
    r"(?:must|should|tell|say|reply|answer|send|write|обязан\w*|должн\w+|должен|скажи|ответь|напиши|отправь|сообщи|"
    r"пришли|всегда)\b",
    r"\b(?:system|system message|системное сообщение)\s*:\s",
)
_ATTACK = re.compile("|".join(f"(?:{pattern})" for pattern in _ATTACKS), re.I)
_ORDER_IN_DATA = re.compile("|".join(f"(?:{pattern})" for pattern in _ORDERS_IN_DATA), re.I)


def find_attacks(texts: Sequence[str]) -> tuple[str, ...]:
    """The client's words that try to give orders to the model, at most one find for each text."""
    return tuple(found for text in texts if (found := _find(_ATTACK, text)))


def find_orders(texts: Sequence[str]) -> tuple[str, ...]:
    """The same in knowledge, in cards, in names: what nobody but a model is meant by."""
    return tuple(found for text in texts if (found := _find(_ORDER_IN_DATA, text)))


@lru_cache(maxsize=1024)
def _find(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(undisguised(text))
    return match.group()[:120] if match else ""


def undisguised(text: str) -> str:
    """The text as a person reads it: no invisible signs, no borrowed letters, no s p a c i n g."""
    visible = unicodedata.normalize("NFKC", INVISIBLE.sub("", text))
    joined = _SPACED.sub(lambda match: re.sub(r"[ .\-_*]", "", match.group()), visible)
    return _MIXED.sub(lambda match: _one_alphabet(match.group()), joined)


def _one_alphabet(word: str) -> str:
    cyrillic = sum("а" <= letter <= "я" or letter == "ё" for letter in word.lower())
    return word.translate(_TO_CYRILLIC if cyrillic * 2 >= len(word) else _TO_LATIN)
