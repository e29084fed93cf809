"""A shop's portal that has worked for two weeks: what its settings and lists have to show."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.config import PortalConfig, Prices, read_yaml
from bx_gpt_app.assistant.models import (
    Delivery,
    Departure,
    Dialog,
    FieldValue,
    PromptVersion,
    Question,
    Run,
    Snippet,
    Spending,
    Suggestion,
)
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens import demo
from tests.factories import make_dialog, make_message
from tests.screens_settings.rows import make_run, make_suggestion, reviewed_line

ADMIN = "Анна Иванова"
DAYS = 14

TALKS: tuple[tuple[str, str, str, str, str], ...] = (
    ("Анна Смирнова", "price", "Здравствуйте! Сколько стоит котёл на 24 кВт с установкой?",
     "Анна, здравствуйте! Котёл на 24 кВт стоит 62 900 ₽, с установкой — 77 400 ₽.", "Котёл газовый 24 кВт с установкой"),
    ("Иван Петров", "delivery", "Когда привезёте, если закажу сегодня?",
     "Здравствуйте, Иван! Привезём на следующий рабочий день, курьер позвонит за час до приезда.", "Доставка по городу"),
    ("Мария Орлова", "repair", "Чайник протекает, купила пять дней назад. Что делать?",
     "Мария, здравствуйте! Чайник на гарантии: обменяем его или вернём деньги.", "Гарантия"),
    ("Дмитрий Волков", "install", "Сколько стоит монтаж бойлера и когда может приехать мастер?",
     "Здравствуйте, Дмитрий! Монтаж бойлера стоит 4 900 ₽, мастер выезжает в рабочие дни с 9:00 до 18:00.", "Монтаж и выезд мастера"),
    ("Ольга Белова", "price", "Есть рассрочка на бойлер 100 литров?",
     "Ольга, здравствуйте! Да, рассрочка на 6 месяцев без переплаты действует на товары от 20 000 ₽.", "Оплата"),
    ("Сергей Никитин", "delivery", "Доставите в Казань?",
     "Здравствуйте, Сергей! Да, отправим транспортной компанией: от 890 ₽, 3–5 дней.", "Доставка в другие города и страны"),
    ("Елена Крылова", "price", "Работаете в субботу?",
     "Елена, здравствуйте! Да, в субботу мы работаем с 10:00 до 17:00.", "Режим работы"),
)  # fmt: skip
PROMPTS = (
    ("первая версия", "Вы — помощник магазина «Тёплый дом».\nОтвечайте подробно и вежливо.\n"),
    ("на «вы», по имени, короче", ""),
)


def shop(portal: Portal, **parts: Any) -> PortalConfig:
    """The portal becomes the shop of the demo, prices and limits in roubles."""
    config = read_yaml((Path(demo.__file__).parent / "demo.yaml").read_text())
    llm = config.llm.model_copy(update={"prices": Prices(input=15, output=60, currency="RUB")})
    crm = config.crm.model_copy(update={"write": "confirm"})
    reply = config.reply.model_copy(update={"debounce_seconds": 0})
    config = config.model_copy(update={"llm": llm, "crm": crm, "reply": reply, **parts})
    store.save(portal, config, by=ADMIN)
    return config


def two_weeks(portal: Portal) -> None:
    """Talks, their ends and prices of the last fourteen days, the newest a minute ago."""
    chance = random.Random(24)
    config, _revision = store.load(portal)
    PromptVersion.objects.filter(portal=portal).delete()
    for number, (note, text) in enumerate(PROMPTS, start=1):
        PromptVersion.objects.create(
            portal=portal, number=number, text=text or config.prompt, note=note,
            author=ADMIN, active=number == len(PROMPTS),
            created_at=timezone.now() - timedelta(days=20 - number * 6),
        )  # fmt: skip
    dialogs = [_talk(portal, number) for number in range(len(TALKS))]
    for back in range(DAYS):
        _day(portal, dialogs, back, chance)
    reviewed_line(portal, line_id=23, unedited=20, edited=3)
    long_ago = timezone.now() - timedelta(days=20)
    Suggestion.objects.filter(dialog__line_id=23).update(created_at=long_ago)
    Run.objects.filter(dialog__line_id=23).update(started_at=long_ago, heard_at=long_ago)
    _spending(portal, chance)
    _ends(portal, dialogs)
    _questions(portal, dialogs)


def _talk(portal: Portal, number: int) -> Dialog:
    name, _topic, question, _reply, _source = TALKS[number]
    card = f"LEAD_{70 + number}"
    dialog = make_dialog(
        portal, 300 + number, client_name=name, items=[card],
        item_snapshot={card: {"id": 70 + number, "title": f"{name} — онлайн-чат", "fm": []}},
        last_message_at=timezone.now() - timedelta(minutes=7 * number + 1),
    )  # fmt: skip
    make_message(dialog, question, author_name=name)
    return dialog


def _day(portal: Portal, dialogs: list[Dialog], back: int, chance: random.Random) -> None:
    """One day's suggestions: most are taken as they are, some edited, some not used, a few sent
    by the assistant itself."""
    count = chance.randint(19, 27) if back % 7 not in (3, 4) else 7
    rows: list[tuple[Suggestion, Run, datetime]] = []
    for number in range(count):
        dialog = dialogs[(number + back) % len(dialogs)]
        _name, topic, _question, reply, source = TALKS[(number + back) % len(dialogs)]
        automatic, lot = number % 9 == 4, chance.random()
        at = timezone.now() - timedelta(days=back, minutes=9 * number + 1)
        run = make_run(
            dialog, topic=topic, reply=reply, answer={"reply": reply, "confidence": 0.9},
            decision=Run.Decision.SEND if automatic else Run.Decision.SUGGEST,
            reason="auto" if automatic else "mode_suggest", cost=0.02 + lot / 50,
            sources=[{"key": "s1", "title": source}],
            heard_at=at - timedelta(seconds=1.1 + lot), started_at=at, finished_at=at,
            prompt_version=PromptVersion.objects.filter(portal=portal, active=True).first(),
        )  # fmt: skip
        is_sent = automatic or lot < 0.86
        final = "Здравствуйте! Уточнил у мастера: приедет завтра." if 0.8 < lot < 0.86 else ""
        state = Suggestion.State.SENT if is_sent else Suggestion.State.CLOSED
        rows.append((make_suggestion(run, state=state, final_text=final), run, at))
    for suggestion, _run, at in rows:
        Suggestion.objects.filter(pk=suggestion.pk).update(created_at=at)


def _spending(portal: Portal, chance: random.Random) -> None:
    today = timezone.localdate(timezone=timezone.get_default_timezone())
    for back in range(30):
        share = 1.0 if back % 7 not in (3, 4) else 0.35
        for line, purpose, calls, model in (
            (22, "reply", 130, "gpt-4o-mini"), (23, "reply", 60, "gpt-4o-mini"),
            (0, "rehearsal", 9, "gpt-4o-mini"), (22, "reply", 12, "deepseek-chat"),
        ):  # fmt: skip
            made = round(calls * share * chance.uniform(0.8, 1.2))
            Spending.objects.create(
                portal=portal, day=today - timedelta(days=back), model=model, purpose=purpose,
                line_id=line, prompt_number=2 if back < 12 else 1, calls=made,
                prompt_tokens=made * 1900, completion_tokens=made * 160,
                cost=round(made * (1900 * 15 + 160 * 60) / 1e6 * 7, 2), currency="RUB",
                masked=made // 3,
            )  # fmt: skip
    for model, origin, place, share in (
        ("openai", "https://api.openai.com", Departure.Place.ABROAD, 1.0),
        ("deepseek", "https://api.deepseek.com", Departure.Place.ABROAD, 0.06),
    ):
        for month in (
            today.replace(day=1),
            (today.replace(day=1) - timedelta(days=1)).replace(day=1),
        ):
            Departure.objects.create(
                portal=portal, month=month, provider=model, origin=origin, place=place,
                requests=round(4300 * share), characters=round(26_000_000 * share),
                tokens=round(8_600_000 * share), masked={"phone": round(612 * share), "email": round(148 * share)},
                unmasked={"name": round(1900 * share)},
            )  # fmt: skip


def _ends(portal: Portal, dialogs: list[Dialog]) -> None:
    """What the log and the quarantine have besides: a hand-over, failures, a stuck dialog."""
    card = dialogs[0]
    now = timezone.now()
    first = make_run(
        card, topic="price", reply=TALKS[0][3], answer={"reply": TALKS[0][3], "confidence": 0.92},
        started_at=now - timedelta(seconds=40), heard_at=now - timedelta(seconds=42), cost=0.04,
        sources=[{"key": "s4", "title": TALKS[0][4]}], masked={"phone": 1},
        prompt_version=PromptVersion.objects.filter(portal=portal, active=True).first(),
        values=[
            {"field": "phone", "type": "phone", "value": "+79165551234", "raw": "+7 916 555-12-34",
             "quote": "+7 916 555-12-34", "band": "confident", "doubt": ""},
            {"field": "budget", "type": "money", "value": {"amount": 80000, "currency": "RUB"}, "raw": "до 80 000 ₽",
             "quote": "до 80 000 ₽", "band": "confident", "doubt": ""},
        ],
    )  # fmt: skip
    make_message(
        card, "Мой телефон +7 916 555-12-34, бюджет до 80 000 ₽", author_name="Анна Смирнова"
    )
    Run.objects.filter(pk=first.pk).update(
        newest_message_id=card.newest_message_id,
        message_ids=list(card.messages.values_list("external_id", flat=True)),
    )
    make_suggestion(first, state=Suggestion.State.SENT, closed_by="Ольга Смирнова")
    FieldValue.objects.create(
        portal=portal, dialog=card, run=first, field="phone", type="phone", value="+79165551234",
        quote="+7 916 555-12-34", band="confident", item="LEAD_70", target="PHONE",
        policy="append", state=FieldValue.State.WRITTEN,
    )  # fmt: skip
    Delivery.objects.create(
        portal=portal, dialog=card, run=first, kind=Delivery.Kind.CRM, state=Delivery.State.SENT,
        sent_at=now, result={"written": ["PHONE", "UF_CRM_BUDGET"], "skipped": {"TITLE": "already_filled"}},
    )  # fmt: skip
    angry = make_dialog(portal, 320, client_name="Пётр Зимин", line_id=22)
    make_message(
        angry, "Третий раз пишу, никто не отвечает! Позовите человека.", author_name="Пётр Зимин"
    )
    make_run(
        angry, decision=Run.Decision.HAND_OVER, reason="topic_for_people", reason_detail="complaint",
        topic="complaint", band="check", reply="Передаю вопрос коллеге, он скоро ответит.",
        started_at=now - timedelta(minutes=12),
    )  # fmt: skip
    silent = make_dialog(portal, 321, client_name="Тимур Алиев", line_id=23)
    make_message(silent, "Можно оплатить криптовалютой?", author_name="Тимур Алиев")
    failed = make_run(
        silent, state=Run.State.FAILED, reason="timeout", reply="", topic="", band="unsure",
        started_at=now - timedelta(minutes=31),
    )  # fmt: skip
    Delivery.objects.create(
        portal=portal, dialog=silent, run=failed, kind=Delivery.Kind.OPERATOR_MESSAGE,
        state=Delivery.State.FAILED, problem="The client blocked the channel",
        problem_code="sending_failed",
        payload={"text": "Здравствуйте, Тимур! Принимаем карты и наличные."},
    )  # fmt: skip
    unsure = make_dialog(portal, 322, client_name="Вера Соколова", line_id=22)
    make_message(unsure, "Спасибо, жду мастера в четверг", author_name="Вера Соколова")
    Delivery.objects.create(
        portal=portal, dialog=unsure, kind=Delivery.Kind.MESSAGE, state=Delivery.State.UNSURE,
        problem_code="outcome_unknown", payload={"text": "Пожалуйста! Мастер позвонит за час."},
    )  # fmt: skip
    stuck = make_dialog(
        portal, 323, client_name="Олег Панин", quarantined_at=now - timedelta(hours=2)
    )
    stuck.problem = "KeyError in our own code; the host's log has the details"
    stuck.save(update_fields=["problem"])
    make_message(stuck, "Пришлите счёт на ООО «Маяк»", author_name="Олег Панин")


def _questions(portal: Portal, dialogs: list[Dialog]) -> None:
    for number, (text, topic, similar) in enumerate(
        (
            ("Работаете ли вы в праздничные дни?", "price", 4),
            ("Ставите ли вы тепловые насосы?", "install", 2),
            ("Можно ли вернуть котёл, если он уже подключён?", "repair", 0),
        )
    ):
        Question.objects.create(
            portal=portal, text=text, topic=topic, stems=text.lower().split(), similar=similar,
            dialog=dialogs[number], last_asked_at=timezone.now() - timedelta(hours=number + 1),
        )  # fmt: skip
    for number, snippet in enumerate(portal.snippets.order_by("position")):
        Snippet.objects.filter(pk=snippet.pk).update(
            uses=[41, 96, 18, 63, 22, 37, 25, 31, 28, 0][number % 10]
        )
