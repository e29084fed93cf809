"""Files and pages become snippets, and what is wrong with them is said row by row."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bx_gpt_app.assistant.knowledge_import import (
    SNIPPETS_AT_MOST,
    CannotRead,
    Piece,
    preview,
    read_csv,
    read_file,
    read_html,
    read_markdown,
    read_page,
    read_text,
    split_long,
)
from integrations.llm.values import Topic
from integrations.net import AddressGuard, open_session

TOPICS = (Topic(code="delivery", title="Доставка"), Topic(code="other", title="Другое"))


def pairs(pieces):
    return [(piece.title, piece.text) for piece in pieces]


# ---- text ----


@pytest.mark.parametrize(
    "text",
    [
        "Вопрос: Есть доставка?\nОтвет: Да, бесплатно.\nПо всей Москве.\n\nВопрос: А в область?\nОтвет: За деньги.",
        "В: Есть доставка?\r\nО: Да, бесплатно.\r\nПо всей Москве.\r\n\r\nВ: А в область?\r\nО: За деньги.",
        "Вопрос 1: Есть доставка?\nОтвет: Да, бесплатно.\nПо всей Москве.\nВопрос 2: А в область?\nОтвет: За деньги.",
        "Q: Есть доставка?\nA: Да, бесплатно.\nПо всей Москве.\nQ: А в область?\nA: За деньги.",
    ],
    ids=["words", "letters", "numbered", "english"],
)
def test_questions_and_answers_become_titles_and_texts(text):
    found = preview(read_text(text), origin="faq.txt")

    assert pairs(found.snippets) == [
        ("Есть доставка?", "Да, бесплатно.\nПо всей Москве."),
        ("А в область?", "За деньги."),
    ]
    assert found.problems == ()


def test_question_and_answer_may_share_a_line():
    found = read_text("Вопрос: Сколько стоит? Ответ: 500 рублей.\nВопрос: Когда? Ответ: Завтра.")

    assert pairs(found) == [("Сколько стоит?", "500 рублей."), ("Когда?", "Завтра.")]


def test_text_is_cut_by_headings_and_blank_lines():
    text = "Доставка\n\nВозим по Москве.\n\nИ по области.\n\nОплата\nКартой или наличными.\n\n"

    assert pairs(read_text(text)) == [
        ("Доставка", "Возим по Москве.\nИ по области."),
        ("Оплата", "Картой или наличными."),
    ]


def test_paragraphs_without_headings_are_named_by_their_first_sentence():
    found = preview(
        read_text("Мы работаем без выходных. Звоните.\n\nсклад закрыт по средам."), origin="a.txt"
    )

    assert pairs(found.snippets) == [
        ("Мы работаем без выходных", "Мы работаем без выходных. Звоните."),
        ("склад закрыт по средам", "склад закрыт по средам."),
    ]


def test_letter_o_as_a_word_is_no_answer_mark():
    """Without a question before it, «О компании» is a heading."""
    text = "О компании\nМы продаём котлы.\n\nА это второй абзац, просто текст."

    assert next(piece.title for piece in read_text(text)) == "О компании"


# ---- tables ----


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251", "koi8-r", "cp866"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
def test_table_is_read_in_any_usual_encoding_and_delimiter(encoding, delimiter):
    rows = [
        ("Вопрос", "Ответ", "Ссылка", "Тема"),
        ("Есть доставка?", '"Да, бесплатно; по Москве"', "https://acme.ru/d", "Доставка"),
        ("Где вы?", "В центре города", "", ""),
    ]
    content = "\r\n".join(delimiter.join(row) for row in rows).encode(encoding)

    found = read_file("faq.csv", content, topics=TOPICS)

    assert pairs(found.snippets) == [
        ("Есть доставка?", "Да, бесплатно; по Москве"),
        ("Где вы?", "В центре города"),
    ]
    assert (found.snippets[0].url, found.snippets[0].topic) == ("https://acme.ru/d", "delivery")
    assert found.problems == ()


def test_columns_stand_in_any_order_and_unknown_ones_are_ignored():
    content = b"note,Topic,TEXT,title,internal,valid_until\nx,other,Body,Head,yes,31.12.2030\n"

    (snippet,) = preview(read_csv(content), origin="a.csv", topics=TOPICS).snippets

    assert (snippet.title, snippet.text, snippet.topic) == ("Head", "Body", "other")
    assert (snippet.internal, snippet.valid_until) == (True, "2030-12-31")


def test_table_without_headers_goes_by_position():
    content = "Режим;Пн–Пт 9–18\nАдрес;Ленина, 5".encode()

    assert pairs(read_csv(content)) == [("Режим", "Пн–Пт 9–18"), ("Адрес", "Ленина, 5")]


def test_problems_name_their_rows_and_the_rest_is_kept():
    content = (
        "title;text;topic;url;valid_until\n"
        "Пусто;;;;\n"
        "Тема;Текст;нет такой;;\n"
        "Ссылка;Текст;;javascript:alert(1);\n"
        "День;Текст;;;скоро\n"
    ).encode()

    found = preview(read_csv(content), origin="a.csv", topics=TOPICS)

    assert [problem.where for problem in found.problems] == ["row 2", "row 3", "row 4", "row 5"]
    assert "нет такой" in found.problems[1].sentence
    assert [snippet.title for snippet in found.snippets] == ["Тема", "Ссылка", "День"]
    assert {snippet.url for snippet in found.snippets} == {""}


def test_table_without_a_text_column_is_refused_with_advice():
    with pytest.raises(CannotRead, match="text"):
        read_file("a.csv", "заголовок;цена\nКотёл;100\n".encode())


# ---- Markdown ----


def test_markdown_is_cut_by_headings_and_keeps_their_path():
    text = (
        "---\ntitle: x\n---\n# Помощь\nВступление.\n\n## Доставка\n- **По Москве**: [сроки](https://a.ru/t)\n\n"
        "### Сроки\n```\n# не заголовок\n```\nОплата\n------\nКартой.\n\n## Пусто\n"
    )

    assert pairs(read_markdown(text)) == [
        ("Помощь", "Вступление."),
        ("Помощь — Доставка", "- По Москве: сроки (https://a.ru/t)"),
        ("Доставка — Сроки", "# не заголовок"),
        ("Помощь — Оплата", "Картой."),
    ]


# ---- PDF ----


def make_pdf(*pages: str) -> bytes:
    """A small PDF with one line of Latin text per line of each page."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for text in pages:
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n"))
        stream = f"BT /F1 12 Tf 72 720 Td {lines}ET".encode()
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        content = len(objects)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica "
            b"/Encoding /WinAnsiEncoding >> >> >> >>" % content
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(out)
    count = len(objects) + 1
    return out + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF"
        % (count, table, count, start)
    )


def test_pdf_is_read_page_by_page_with_lines_joined():
    content = make_pdf("We deliver to every\ncity of the country.", "Warranty is three years.")

    found = read_file("price.pdf", content)

    assert pairs(found.snippets) == [
        ("price, page 1", "We deliver to every city of the country."),
        ("price, page 2", "Warranty is three years."),
    ]


@pytest.mark.parametrize(
    ("content", "advice"),
    [(make_pdf(""), "pictures"), (b"%PDF-1.4 rubbish", "damaged"), (b"", "damaged")],
    ids=["scanned", "broken", "empty"],
)
def test_unreadable_pdf_is_refused_with_advice(content, advice):
    with pytest.raises(CannotRead, match=advice):
        read_file("a.pdf", content)


# ---- limits ----


def test_long_text_is_cut_at_sentence_ends():
    sentence = "Это предложение о доставке котлов. "
    found = preview([Piece("Доставка", sentence * 1000, "row 2")], origin="a")

    assert len(found.snippets) == 2
    assert all(len(one.text) <= 20_000 and one.text.endswith(".") for one in found.snippets)
    assert [one.title for one in found.snippets] == ["Доставка", "Доставка (2)"]
    assert found.problems[0].where == "row 2"


def test_text_without_sentences_is_still_cut():
    assert [len(part) for part in split_long("я" * 25, 10)] == [10, 10, 5]
    assert split_long("один два три четыре", 10) == ["один два", "три четыре"]


def test_duplicates_are_skipped_and_counted():
    pieces = [Piece("А", "б"), Piece("А", "б"), Piece("В", "г")]

    found = preview(pieces, origin="a", known={("В", "г")})

    assert (pairs(found.snippets), found.duplicates) == ([("А", "б")], 2)


def test_no_more_snippets_than_fit():
    known = {(str(n), "x") for n in range(SNIPPETS_AT_MOST - 2)}
    told = []

    found = preview(
        (Piece(f"t{n}", "y", f"row {n}") for n in range(10)),
        origin="a",
        known=known,
        progress=lambda done, total: told.append((done, total)),
    )

    assert len(found.snippets) == 2
    assert [problem.where for problem in found.problems] == ["row 2"]
    assert told == [(3, 0)]


def test_ten_thousand_rows_are_read_with_progress():
    content = "title;text\n" + "\n".join(f"Вопрос {n};Ответ {n}." for n in range(10_000))
    told = []

    found = read_file("big.csv", content.encode(), progress=lambda done, _total: told.append(done))

    assert (len(found.snippets), told[-1], found.problems) == (10_000, 10_000, ())


def test_invisible_and_control_characters_go_away():
    (snippet,) = preview([Piece("a\u200bb\x00", "c\x07\ud800d")], origin="a").snippets

    assert (snippet.title, snippet.text) == ("ab", "cd")


def test_unknown_kind_of_file_is_refused_with_the_known_ones():
    with pytest.raises(CannotRead, match=r"\.csv"):
        read_file("a.exe", b"MZ")


def test_file_without_anything_says_so():
    assert read_file("a.txt", b" \n ").problems[0].sentence


# ---- pages ----

PAGE = """<html><head><title>Помощь</title><meta charset="{charset}"></head><body>
<nav>Меню Каталог Корзина</nav><main><h1>Доставка</h1><p>Возим <b>по Москве</b> бесплатно.</p>
<ul><li>До двери</li><li>До склада</li></ul><h2>Сроки</h2>
<table><tr><td>Москва</td><td>1 день</td></tr></table>
<!-- тайный комментарий --><script>alert(1)</script>
<details><summary>Можно ли ночью?</summary><p>Да, {filler}</p></details></main>
<footer>Все права защищены</footer></body></html>"""


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        page = PAGE.format(charset="windows-1251", filler="доставим. " * 40)
        answers = {
            "/": (200, "text/html", page.encode("cp1251")),
            "/utf": (200, "text/html; charset=utf-8", page.encode()),
            "/moved": (302, "", b""),
            "/loop": (302, "", b""),
            "/to-private": (302, "", b""),
            "/missing": (404, "text/html", b"no"),
            "/picture": (200, "image/png", b"\x89PNG"),
            "/huge": (200, "text/html", b"x" * (4 * 1024 * 1024)),
            "/price.pdf": (200, "application/pdf", make_pdf("Warranty is three years.")),
        }
        status, kind, body = answers[self.path]
        self.send_response(status)
        targets = {
            "/moved": "/utf",
            "/loop": "/loop",
            "/to-private": "http://169.254.169.254/latest",
        }
        if self.path in targets:
            self.send_header("Location", targets[self.path])
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the reader hangs up on a page that is too large
            self.wfile.write(body)

    def log_message(self, *_):
        """Silent."""


@pytest.fixture(scope="module")
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def session():
    with open_session(2, guard=AddressGuard(allow_private=True)) as session:
        yield session


@pytest.mark.parametrize("path", ["/", "/utf", "/moved"])
def test_page_gives_its_main_text_by_headings(site, session, path):
    found = read_page(site + path, session=session)

    assert [snippet.title for snippet in found.snippets] == [
        "Помощь — Доставка",
        "Доставка — Сроки",
        "Сроки — Можно ли ночью?",
    ]
    first, second, third = found.snippets
    assert first.text == "Возим по Москве бесплатно.\n\n- До двери\n- До склада"
    assert second.text == "Москва | 1 день |"
    assert third.text.startswith("Да, доставим.")
    expected = "/utf" if path == "/moved" else path
    assert {snippet.url for snippet in found.snippets} == {site + expected}
    assert found.origin == site + expected
    whole = " ".join(snippet.text for snippet in found.snippets)
    assert not [word for word in ("Корзина", "alert", "тайный", "права") if word in whole]


def test_pdf_behind_an_address_is_read(site, session):
    found = read_page(f"{site}/price.pdf", session=session)

    assert pairs(found.snippets) == [("price, page 1", "Warranty is three years.")]


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("/missing", "404"),
        ("/picture", "not a page"),
        ("/huge", "larger than 3 MB"),
        ("/loop", "without end"),
        ("/to-private", "cannot be reached"),
    ],
)
def test_page_that_cannot_be_read_says_why(site, session, path, advice):
    with pytest.raises(CannotRead, match=advice):
        read_page(site + path, session=session)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "file:///etc/passwd", "http://localhost/", "x y"]
)
def test_private_addresses_are_refused(url):
    with (
        open_session(2, guard=AddressGuard(allow_private=False)) as session,
        pytest.raises(CannotRead),
    ):
        read_page(url, session=session)


def test_page_without_main_gives_its_body():
    page = "<title>О нас</title><body><h2>Адрес</h2>Ленина, 5<br>вход со двора</body>"

    assert pairs(read_html(page)) == [("О нас — Адрес", "Ленина, 5\nвход со двора")]
