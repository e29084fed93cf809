"""Finding knowledge for a question, on whatever database the suite runs on."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from bx_gpt_app.assistant import knowledge, search, stems, store
from bx_gpt_app.assistant.config import SnippetConfig, check_config
from bx_gpt_app.assistant.knowledge import retrieve
from bx_gpt_app.assistant.models import Snippet
from tests.factories import make_app, make_portal

pytestmark = pytest.mark.django_db

FILLER = [
    ("Скидки", "Скидки постоянным покупателям рассчитывает менеджер."),
    ("Парковка", "Гостевая парковка находится за зданием, въезд со двора."),
    ("Вакансии", "Резюме присылайте на почту отдела кадров."),
    ("Реквизиты", "Счёт выставляет бухгалтерия в день обращения."),
    ("Сертификаты", "Сертификаты соответствия лежат на сайте."),
    ("Кредит", "Рассрочка оформляется в салоне за двадцать минут."),
    ("Гарантия", "На котлы гарантия три года, на бойлеры пять лет."),
    ("Доставка", "По Москве привозим бесплатно, в область от 500 рублей."),
    ("Монтаж", "Мастер установит оборудование на следующий день."),
    ("Возврат", "Вернуть товар можно в течение четырнадцати дней."),
    ("Working hours", "We are open from nine to six, Monday to Friday."),
    ("Delivery abroad", "International shipping takes two weeks."),
]


def make_snippets(portal, pairs=FILLER, **values):
    return Snippet.objects.bulk_create(
        [
            Snippet(portal=portal, position=n, title=title, text=text, **values)
            for n, (title, text) in enumerate(pairs)
        ]
    )


@pytest.fixture
def portal():
    return make_portal(grant=False)


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Какая гарантия на котёл?", "Гарантия"),
        ("а на котлах гарантии есть", "Гарантия"),
        ("ВЫ ДОСТАВЛЯЕТЕ В ОБЛАСТЬ???", "Доставка"),
        ("кто будет монтировать? нужна установка оборудования", "Монтаж"),
        ("хочу вернуть товар", "Возврат"),
        ("счет на организацию", "Реквизиты"),
        ("what are your opening hours on mondays", "Working hours"),
        ("how long do you ship internationally", "Delivery abroad"),
    ],
)
def test_question_finds_its_snippet_first(portal, question, title):
    make_snippets(portal)

    found = retrieve(portal, question)

    assert found[0].title == title


def test_small_portal_gives_all_it_has_best_first(portal):
    make_snippets(portal, FILLER[4:10])

    found = retrieve(portal, "сколько дней на возврат товара?")

    assert next(source.title for source in found) == "Возврат"
    assert len(found) == 6


def test_question_without_a_known_word_finds_nothing_in_a_large_portal(portal):
    make_snippets(portal)

    assert retrieve(portal, "Космодром Байконур?") == []
    assert retrieve(portal, "здравствуйте, можно?") == []


def test_known_topic_helps_a_question_without_words(portal):
    make_snippets(portal)
    Snippet.objects.filter(title="Доставка").update(topic="delivery")

    found = retrieve(portal, "здравствуйте", topic="delivery")

    assert [source.title for source in found] == ["Доставка"]


def test_expired_snippets_are_never_given(portal):
    make_snippets(portal, valid_until=timezone.localdate() - timedelta(days=2))
    make_snippets(portal, FILLER[:6])

    assert "Гарантия" not in [s.title for s in retrieve(portal, "гарантия на котёл")]
    assert len(retrieve(portal, "гарантия на котёл")) == 6, "few valid ones: all are given"


def test_expired_snippets_are_never_given_by_search(portal):
    make_snippets(portal)
    Snippet.objects.filter(title="Гарантия").update(
        valid_until=timezone.localdate() - timedelta(days=2)
    )

    assert retrieve(portal, "гарантия котлы бойлеры") == []


def test_a_day_ends_in_the_portals_zone(portal, monkeypatch):
    """22:00 UTC: still today in London, already tomorrow in Vladivostok."""
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 3, 10, 22, tzinfo=UTC))
    make_snippets(portal, FILLER[6:7], valid_until=date(2026, 3, 10))
    portal.time_zone = "Europe/London"
    in_london = retrieve(portal, "гарантия")
    portal.time_zone = "Asia/Vladivostok"

    in_vladivostok = retrieve(portal, "гарантия")

    assert (len(in_london), len(in_vladivostok)) == (1, 0)


def test_title_weighs_more_than_text(portal):
    make_snippets(portal)
    make_snippets(portal, [("Салон", "Про рассрочку спросите кассира."), ("Рассрочка", "Есть.")])

    assert retrieve(portal, "рассрочка")[0].title == "Рассрочка"


def test_topic_of_the_dialog_breaks_a_near_tie(portal):
    make_snippets(portal)
    twins = [
        ("Оплата", "Оплатить заказ можно картой."),
        ("Оплата", "Оплатить услугу можно картой."),
    ]
    first, second = make_snippets(portal, twins)
    Snippet.objects.filter(pk=second.pk).update(topic="service")

    found = retrieve(portal, "как оплатить картой", topic="service")

    assert [source.key for source in found[:2]] == [second.key, first.key]


def test_rare_word_counts_more_than_common_ones(portal):
    make_snippets(portal, [(f"Товар {n}", "Купить товар можно в салоне.") for n in range(50)])
    make_snippets(portal, [("Газонокосилка", "Артикул 7781.")])

    found = retrieve(portal, "где можно купить товар газонокосилка")

    assert found[0].title == "Газонокосилка"


def test_another_portals_knowledge_is_never_found(portal):
    stranger = make_portal(registration=make_app("other"), grant=False)
    make_snippets(stranger)
    make_snippets(portal, [(f"Товар {n}", f"Описание товара номер {n}.") for n in range(12)])

    assert retrieve(portal, "гарантия на котёл") == []
    assert retrieve(stranger, "гарантия на котёл")[0].title == "Гарантия"


@pytest.mark.parametrize(
    "question",
    ["\"'; DROP TABLE x; --", "AND OR NOT NEAR(", "котёл\x00", "* ^ : -", "'котёл' | !", "1" * 500],
)
def test_any_text_is_a_question(portal, question):
    make_snippets(portal)

    retrieve(portal, question)


def test_numbers_are_found_with_dot_or_comma(portal):
    make_snippets(portal)
    make_snippets(portal, [("Кабель", "Сечение 2,5 мм на складе.")])

    assert retrieve(portal, "нужен 2.5")[0].title == "Кабель"


def test_search_follows_every_change_of_a_row(portal):
    make_snippets(portal)
    row = Snippet.objects.get(title="Парковка")
    row.text = "Оставить велосипед можно у входа."
    row.save(update_fields=["text"])
    assert retrieve(portal, "велосипеды")[0].title == "Парковка"
    assert retrieve(portal, "гостевая") == []

    row.delete()

    assert retrieve(portal, "велосипеды") == []


def test_search_follows_a_replaced_configuration(portal):
    pairs = [{"title": title, "text": text} for title, text in FILLER]
    store.save(portal, check_config({"knowledge": pairs}), by="test")
    assert retrieve(portal, "гарантия")[0].title == "Гарантия"
    pairs[6] = {"title": "Талон", "text": "Носите с собой."}

    store.save(portal, check_config({"knowledge": pairs}), by="test")

    assert retrieve(portal, "гарантия") == []
    assert retrieve(portal, "талоны")[0].title == "Талон"


def test_index_holds_exactly_what_the_rows_say(portal):
    """Also red when a later migration rebuilds the table and forgets the triggers."""
    make_snippets(portal)
    Snippet.objects.filter(title="Скидки").delete()
    rows = Snippet.objects.values_list("stems", flat=True)
    expected = {}
    for row in rows:
        for token in set(row.split()):
            expected[token] = expected.get(token, 0) + 1

    found = search.snippets_with(expected)

    assert found == expected
    gone = stems.index_text(portal.pk, *FILLER[0]).split()
    assert set(search.snippets_with(gone)) <= set(expected)


def test_index_can_be_built_again(portal):
    make_snippets(portal)
    connection.check_constraints()

    search.drop(connection)
    search.build(connection)

    assert retrieve(portal, "гарантия на котёл")[0].title == "Гарантия"


def test_uses_are_counted_in_one_update_for_the_own_portal_only(portal, django_assert_num_queries):
    first, second, *_ = make_snippets(portal)
    stranger = make_portal(registration=make_app("other"), grant=False)
    (foreign,) = make_snippets(stranger, FILLER[:1])

    with django_assert_num_queries(1):
        knowledge.count_uses(portal, [first.key, foreign.key, "prompt", "s", "sx"])

    used = dict(Snippet.objects.values_list("pk", "uses"))
    assert (used[first.pk], used[second.pk], used[foreign.pk]) == (1, 0, 0)


def test_nothing_used_asks_the_database_nothing(portal, django_assert_num_queries):
    with django_assert_num_queries(0):
        knowledge.count_uses(portal, ["prompt"])


def test_added_snippets_come_after_the_others_and_only_once(portal):
    make_snippets(portal, FILLER[:2])
    told = []
    new = [
        SnippetConfig(title="Скидки", text=FILLER[0][1]),
        SnippetConfig(title="Подарки", text="Подарочные карты есть.", valid_until="2031-01-31"),
    ]

    added = knowledge.add_snippets(
        portal, new, origin="faq.csv", progress=lambda done, total: told.append((done, total))
    )
    again = knowledge.add_snippets(portal, new, origin="faq.csv")

    assert (added, again, told) == (1, 0, [(1, 1)])
    row = portal.snippets.last()
    assert (row.title, row.position, row.origin) == ("Подарки", 2, "faq.csv")
    assert row.valid_until == date(2031, 1, 31)
    assert store.load_whole(portal).knowledge[-1] == new[1]


def test_replaced_configuration_writes_only_what_differs(portal):
    pairs = [{"title": title, "text": text} for title, text in FILLER]
    store.save(portal, check_config({"knowledge": pairs}), by="test")
    Snippet.objects.update(uses=3)
    before = dict(Snippet.objects.values_list("title", "pk"))
    changed = [*pairs[1:], pairs[1], {"title": "Новое", "text": "Слово."}]
    changed[3] = {**changed[3], "internal": True}

    store.save(portal, check_config({"knowledge": changed}), by="test")

    assert store.load_whole(portal).knowledge == check_config({"knowledge": changed}).knowledge
    rows = {row.title: row for row in Snippet.objects.filter(uses=3)}
    assert {title: row.pk for title, row in rows.items()} == {
        title: pk for title, pk in before.items() if title != FILLER[0][0]
    }
