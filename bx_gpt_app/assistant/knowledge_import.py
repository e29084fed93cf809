"""Knowledge out of files and pages: texts, tables, Markdown, PDF and web pages become snippets.

Nothing is stored here: a `Preview` shows what was understood and what was not, row by row;
`knowledge.add_snippets` stores what the admin agreed to.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import PurePath
from urllib.parse import unquote, urljoin, urlsplit

import requests
from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString
from django.utils.translation import gettext as _
from pypdf import PdfReader

from bx_gpt_app.assistant.config import SnippetConfig
from integrations.llm.values import Topic
from integrations.llm.words import fold, sentences
from integrations.net import ForbiddenAddress, HostNotFound

SNIPPETS_AT_MOST = 10_000
TEXT_AT_MOST = 20_000
TITLE_AT_MOST = 200
FILE_AT_MOST = 20 * 1024 * 1024
PAGE_AT_MOST = 3 * 1024 * 1024
PDF_PAGES_AT_MOST = 500
PDF_SECONDS = 60.0
PAGE_SECONDS = 20.0
CONNECT_SECONDS = 5.0
REDIRECTS_AT_MOST = 5
PROBLEMS_AT_MOST = 200
COMFORTABLE_TEXT = 1500
"""Characters: longer runs of text are cut here, so that a source says one thing."""
HEADING_AT_MOST = 120
SHORTEST_MAIN_TEXT = 200
"""A page's <main> with less is not where its text is."""

Progress = Callable[[int, int], None]


class CannotRead(Exception):
    """The file or page gives nothing; the text says why and what to do. Show it to the admin."""


@dataclass(frozen=True)
class Piece:
    """A snippet as it was found, before it is checked. `where` names its row, page or part."""

    title: str
    text: str
    where: str = ""
    url: str = ""
    topic: str = ""
    internal: str = ""
    valid_until: str = ""


@dataclass(frozen=True)
class Problem:
    where: str
    sentence: str


@dataclass(frozen=True)
class Preview:
    """What would be added. `problems` are for people, the first `PROBLEMS_AT_MOST` of them."""

    snippets: tuple[SnippetConfig, ...] = ()
    problems: tuple[Problem, ...] = ()
    duplicates: int = 0
    origin: str = ""


@dataclass
class _Sieve:
    """Takes pieces one by one, keeps what is good and notes what is not."""

    topics: Mapping[str, str]
    known: set[tuple[str, str]]
    room: int
    kept: list[SnippetConfig] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    duplicates: int = 0

    def complain(self, where: str, sentence: str) -> None:
        if len(self.problems) < PROBLEMS_AT_MOST:
            self.problems.append(Problem(where, sentence))

    def take(self, piece: Piece) -> bool:
        """False when there is no room for more."""
        text, title = _clean(piece.text), _one_line(piece.title)
        if not text:
            self.complain(piece.where, _("There is no text; skipped."))
            return True
        parts = split_long(text, TEXT_AT_MOST)
        if len(parts) > 1:
            self.complain(piece.where, _("Too long for one snippet: cut at the ends of sentences."))
        extras = self._extras(piece)
        for number, part in enumerate(parts, start=1):
            name = title or first_words(part)
            snippet = SnippetConfig(
                title=_cut_title(name, f" ({number})" if number > 1 else ""), text=part, **extras
            )
            if (snippet.title, snippet.text) in self.known:
                self.duplicates += 1
                continue
            if len(self.kept) >= self.room:
                self.complain(
                    piece.where,
                    _("The knowledge base is full (%(most)d snippets): the rest is left out.")
                    % {"most": SNIPPETS_AT_MOST},
                )
                return False
            self.known.add((snippet.title, snippet.text))
            self.kept.append(snippet)
        return True

    def _extras(self, piece: Piece) -> dict[str, str | bool | None]:
        topic = self.topics.get(fold(piece.topic.strip()), "")
        if piece.topic.strip() and not topic:
            self.complain(
                piece.where,
                _("There is no topic “%(topic)s”: taken without a topic.")
                % {"topic": piece.topic.strip()[:60]},
            )
        valid_until = _day(piece.valid_until)
        if piece.valid_until.strip() and valid_until is None:
            self.complain(
                piece.where,
                _("“%(day)s” is not a date like 31.12.2026: taken without an end.")
                % {"day": piece.valid_until.strip()[:40]},
            )
        url = piece.url.strip()
        if url and (urlsplit(url).scheme not in ("http", "https") or len(url) > 1000):
            self.complain(piece.where, _("The address is not a link: left out."))
            url = ""
        return {
            "url": url,
            "topic": topic,
            "internal": fold(piece.internal.strip()) in _YES,
            "valid_until": valid_until,
        }


_YES = frozenset(("1", "y", "yes", "true", "да", "+", "x", "х"))


def preview(
    pieces: Iterable[Piece],
    *,
    origin: str,
    topics: Sequence[Topic] = (),
    known: Collection[tuple[str, str]] = (),
    progress: Progress | None = None,
    total: int = 0,
) -> Preview:
    """Check what a reader found. `known` are title and text of the snippets that are there already;
    `progress` is told how many pieces of how many (0: nobody knows) are done."""
    by_name = {fold(name): topic.code for topic in topics for name in (topic.title, topic.code)}
    sieve = _Sieve(by_name, set(known), room=max(0, SNIPPETS_AT_MOST - len(known)))
    for number, piece in enumerate(pieces, start=1):
        goes_on = sieve.take(piece)
        if progress and (number % 100 == 0 or not goes_on):
            progress(number, total)
        if not goes_on:
            break
    if not sieve.kept and not sieve.problems and not sieve.duplicates:
        sieve.complain("", _("Nothing was found here."))
    return Preview(tuple(sieve.kept), tuple(sieve.problems), sieve.duplicates, origin[:300])


def read_file(
    name: str,
    content: bytes,
    *,
    topics: Sequence[Topic] = (),
    known: Collection[tuple[str, str]] = (),
    progress: Progress | None = None,
) -> Preview:
    """A preview of an uploaded file, by its name's ending.

    Raises: CannotRead.
    """
    ending = PurePath(name).suffix.lower()
    if len(content) > FILE_AT_MOST:
        raise CannotRead(
            _("The file is larger than %(most)d MB: split it.") % {"most": FILE_AT_MOST // 1024**2}
        )
    reader = _READERS.get(ending)
    if reader is None:
        raise CannotRead(
            _("Files of this kind are not read. Take one of: %(kinds)s.")
            % {"kinds": ", ".join(sorted(_READERS))}
        )
    pieces = reader(content, PurePath(name).stem)
    return preview(pieces, origin=name, topics=topics, known=known, progress=progress)


# ---- text ----

_QUESTION = re.compile(r"^\s*(?:вопрос|question|в|q)\s*(?:№?\s*\d+)?\s*[:.)—–-]\s*(.*)$", re.I)
_ANSWER = re.compile(r"^\s*(?:ответ|answer|о|a|а)\s*(?:№?\s*\d+)?\s*[:.)—–-]\s*(.*)$", re.I)
_ONE_LINE_PAIR = re.compile(
    r"^\s*(?:вопрос|question)\s*:\s*(?P<question>.+?)\s*(?:ответ|answer)\s*:\s*(?P<answer>.+)$",
    re.I,
)
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")
_UNDERLINE = re.compile(r"^(=+|-+)\s*$")


def read_text(text: str) -> Iterator[Piece]:
    """Question-and-answer pairs, else parts under headings, else paragraphs."""
    text = _clean(text)
    pairs = list(_pairs(text))
    yield from pairs or _parts(text)


def _pairs(text: str) -> Iterator[Piece]:
    """«Вопрос: … Ответ: …», on lines of their own or on one line."""
    question: list[str] = []
    answer: list[str] | None = None
    found: list[tuple[str, str]] = []

    def close() -> None:
        if question and answer:
            found.append((" ".join(question), "\n".join(answer)))

    for line in text.split("\n"):
        if one_line := _ONE_LINE_PAIR.match(line):
            close()
            question, answer = [one_line["question"]], [one_line["answer"]]
        elif asked := _QUESTION.match(line):
            close()
            question, answer = [asked[1]], None
        elif question and (answered := _ANSWER.match(line)):
            answer = [answered[1]]
        elif answer is not None:
            answer.append(line)
        elif question:
            question.append(line.strip())
    close()
    for number, (asked_, answered_) in enumerate(found, start=1):
        where = _("question %(number)d") % {"number": number}
        long = len(asked_) > TITLE_AT_MOST
        yield Piece(asked_, f"{asked_}\n{answered_}" if long else answered_, where)


def _parts(text: str) -> Iterator[Piece]:
    """Paragraphs; those under one heading stay together as long as they are comfortable to read."""
    title, gathered, number = "", list[str](), 0

    def piece() -> Piece:
        return Piece(title, "\n".join(gathered), _("part %(number)d") % {"number": number})

    for block in filter(None, (part.strip() for part in re.split(r"\n\s*\n", text))):
        first, _separator, rest = block.partition("\n")
        heading = _is_heading(first) and (bool(rest) or not _is_list(block))
        if gathered and (heading or not title or _length(gathered) + len(block) > COMFORTABLE_TEXT):
            number += 1
            yield piece()
            gathered = []
        if heading:
            title, block = first.strip().rstrip(":"), rest.strip()
        gathered += [block] if block else []
    if gathered:
        number += 1
        yield piece()
    elif title and not number:
        yield Piece("", title, _("part %(number)d") % {"number": 1})


def _length(lines: Sequence[str]) -> int:
    return sum(len(line) for line in lines)


def _is_heading(line: str) -> bool:
    line = line.strip()
    return (
        3 <= len(line) <= HEADING_AT_MOST
        and line[-1] not in ".,;…»)"
        and not line.startswith(("-", "*", "•", "—"))
        and (line[0].isupper() or line[0].isdigit())
        and len(line.split()) <= 12
    )


def _is_list(block: str) -> bool:
    return all(re.match(r"\s*(?:[-*•—]|\d+[.)])\s", line) for line in block.split("\n"))


# ---- Markdown ----


def read_markdown(text: str, *, title: str = "", url: str = "") -> Iterator[Piece]:
    """Parts by their headings; a part's title names the headings above it."""
    path: list[tuple[int, str]] = [(0, title)] if title else []
    gathered: list[str] = []
    for level, line in [*_markdown_lines(text), (1, "")]:
        if not level:
            gathered.append(line)
            continue
        body = _clean("\n".join(gathered))
        if body:
            names = [name for _level, name in path[-2:]]
            yield from _comfortable(" — ".join(names), body, url)
        gathered = []
        path = [*((above, name) for above, name in path if above < level), (level, line)]


def _markdown_lines(text: str) -> Iterator[tuple[int, str]]:
    """(level of a heading or 0, text without marks), line by line; code is left as it is."""
    text = re.sub(r"\A---\n.*?\n---\n", "", _clean(text), count=1, flags=re.S)
    lines = text.split("\n")
    fenced = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif fenced:
            yield 0, line
        elif heading := _HEADING.match(line):
            yield len(heading[1]), _without_marks(heading[2])
        elif _UNDERLINE.match(line) and number and lines[number - 1].strip():
            continue
        elif number + 1 < len(lines) and line.strip() and _UNDERLINE.match(lines[number + 1]):
            yield (1 if lines[number + 1].startswith("=") else 2), _without_marks(line.strip())
        else:
            yield 0, _without_marks(line)


def _without_marks(line: str) -> str:
    line = re.sub(r"!\[([^\]]*)\]\([^)]*\)", r"\1", line)
    line = re.sub(r"\[([^\]]+)\]\((https?://[^)\s]+)[^)]*\)", r"\1 (\2)", line)
    line = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", line)
    return re.sub(r"(\*\*|__|`)(?=\S)(.+?)(?<=\S)\1", r"\2", line)


def _comfortable(title: str, text: str, url: str = "", where: str = "") -> Iterator[Piece]:
    """Cut into lengths that say one thing each; the title stays with every one."""
    for part in split_long(text, COMFORTABLE_TEXT):
        yield Piece(title, part, where or title, url)


# ---- tables ----

_COLUMNS = {
    "title": ("title", "question", "name", "заголовок", "название", "вопрос", "наименование"),
    "text": (
        "text",
        "answer",
        "content",
        "description",
        "текст",
        "ответ",
        "описание",
        "содержание",
    ),
    "url": ("url", "link", "address", "ссылка", "адрес", "страница"),
    "topic": ("topic", "category", "тема", "категория", "раздел", "рубрика"),
    "internal": ("internal", "внутреннее", "внутренний", "для сотрудников", "служебное"),
    "valid_until": ("valid_until", "valid until", "until", "действует до", "годен до", "до"),
}
_BY_HEADER = {name: column for column, names in _COLUMNS.items() for name in names}
_BY_POSITION = ("title", "text", "url", "topic")
_DELIMITERS = (";", ",", "\t", "|")


def read_csv(content: bytes) -> Iterator[Piece]:
    """Rows of a table. Encoding and delimiter are found out; columns go by their headers, without
    headers by position: title, text, link, topic.

    Raises: CannotRead.
    """
    text = decode(content)
    rows = _rows(text)
    if not rows:
        raise CannotRead(_("The table is empty."))
    columns = [_BY_HEADER.get(fold(" ".join(cell.split())), "") for cell in rows[0]]
    if "text" in columns or "title" in columns:
        if "text" not in columns:
            raise CannotRead(_("There is no column “text”: add one with the texts."))
        first = 2
    else:
        width = max(len(row) for row in rows)
        columns = ["text"] if width == 1 else [*_BY_POSITION[:width]]
        first = 1
    for number, row in enumerate(rows[first - 1 :], start=first):
        cells = {name: cell for name, cell in zip(columns, row, strict=False) if name}
        if any(cell.strip() for cell in cells.values()):
            where = _("row %(number)d") % {"number": number}
            yield Piece(**{"title": "", "text": "", **cells}, where=where)


def _rows(text: str) -> list[list[str]]:
    """The table by the delimiter that gives the most known headers, then the most even rows."""
    csv.field_size_limit(FILE_AT_MOST)
    text = text.lstrip("\ufeff")
    if named := re.match(r"sep=(.)\r?\n", text):
        return _parsed(text[named.end() :], named[1])
    sample = "\n".join(text.split("\n")[:50])

    def merit(delimiter: str) -> tuple[int, int, int]:
        rows = _parsed(sample, delimiter)
        headers = sum(fold(cell.strip()) in _BY_HEADER for cell in rows[0]) if rows else 0
        widths = [len(row) for row in rows[:-1] or rows]
        usual = max(set(widths), key=widths.count) if widths else 0
        return headers, widths.count(usual) if usual > 1 else 0, usual

    return _parsed(text, max(_DELIMITERS, key=merit))


def _parsed(text: str, delimiter: str) -> list[list[str]]:
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return [row for row in rows if any(cell.strip() for cell in row)]
    except csv.Error:
        raise CannotRead(_("The table cannot be read: save it as CSV once more.")) from None


_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CYRILLIC_ENCODINGS = ("cp1251", "cp866", "koi8-r")
_FREQUENT_LETTERS = frozenset("оеаинтсрвлкмдпу")


def decode(content: bytes, declared: str = "") -> str:
    """Bytes as text: by mark, declaration, as UTF-8, else the Cyrillic encoding that reads best."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    for encoding in filter(None, (declared, "utf-8")):
        try:
            return content.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue

    def readable(text: str) -> int:
        return sum(letter in _FREQUENT_LETTERS for letter in text[:20_000])

    return max((content.decode(name, "replace") for name in _CYRILLIC_ENCODINGS), key=readable)


# ---- PDF ----


def read_pdf(content: bytes, title: str = "") -> Iterator[Piece]:
    """Text page by page. Raises: CannotRead."""
    until = time.monotonic() + PDF_SECONDS
    found = 0
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise CannotRead(_("The PDF is protected by a password: save it without one."))
        named = reader.metadata.title if reader.metadata else None
        name = _one_line(named or "") or title
        for number, page in enumerate(reader.pages, start=1):
            if number > PDF_PAGES_AT_MOST or time.monotonic() > until:
                raise CannotRead(_("The PDF is too long: split it into several files."))
            text = _unwrapped(page.extract_text())
            where = _("page %(number)d") % {"number": number}
            for piece in _comfortable(f"{name}, {where}", text, where=where):
                found += 1
                yield piece
    except CannotRead:
        raise
    except Exception:  # noqa: BLE001  pypdf raises whatever a broken file makes it stumble over
        raise CannotRead(_("The PDF is damaged: open it and save it once more.")) from None
    if not found:
        raise CannotRead(_("The PDF has no text, only pictures: recognise the text first."))


def _unwrapped(text: str) -> str:
    """Lines of a page joined to paragraphs; hyphens at line ends go away."""
    text = re.sub(r"(?<=[^\W\d_])[-\u00ad]\n(?=[a-zа-яё])", "", _clean(text))
    return re.sub(r"(?<![.!?:;…\n])\n(?=[a-zа-яё0-9(«])", " ", text)


# ---- web pages ----

_NOT_CONTENT = (
    "script", "style", "noscript", "template", "svg", "nav", "header", "footer", "aside", "form",
    "iframe", "button", "select",
)  # fmt: skip
_HEADINGS = {"h1": "#", "h2": "##", "h3": "###", "h4": "####", "h5": "#####", "h6": "######"}
_AS_HEADING = {**_HEADINGS, "summary": "####", "dt": "####"}
_BLOCKS = frozenset(
    ("p", "div", "li", "tr", "table", "ul", "ol", "section", "article", "br", "dd", "dl", "details",
     "blockquote", "pre", "main", "figure", "hr")
)  # fmt: skip

_LINES = ("li", "tr", "br")
"""What only begins a new line; other blocks are paragraphs."""


def read_page(
    url: str,
    *,
    session: requests.Session,
    topics: Sequence[Topic] = (),
    known: Collection[tuple[str, str]] = (),
    progress: Progress | None = None,
) -> Preview:
    """A preview of a web page. `session` is `portals.clients.http_session()`: it reaches allowed
    addresses only, wherever a redirect leads.

    Raises: CannotRead.
    """
    url = url.strip()
    if "://" not in url:
        url = f"https://{url}"
    body, kind, charset, final = _fetched(url, session)
    name = unquote(PurePath(urlsplit(final).path).stem)
    if kind == "application/pdf":
        pieces = _linked(read_pdf(body, name), final)
    elif kind in ("text/plain", "text/markdown"):
        pieces = _linked(read_markdown(decode(body, charset), title=name), final)
    elif kind in ("text/html", "application/xhtml+xml", ""):
        pieces = read_html(decode(body, charset or _declared(body)), url=final)
    else:
        raise CannotRead(_("The address is not a page, a text or a PDF."))
    return preview(pieces, origin=final, topics=topics, known=known, progress=progress)


def read_html(page: str, *, url: str = "") -> Iterator[Piece]:
    """The main text of a page, cut by its headings."""
    soup = BeautifulSoup(page, "html.parser")
    title = _one_line(soup.title.get_text()) if soup.title else ""
    main = soup.find("main") or soup.find(None, {"role": "main"}) or soup.find("article")
    whole = soup.body or soup
    root = main if main and len(main.get_text(strip=True)) > SHORTEST_MAIN_TEXT else whole
    for tag in root(_NOT_CONTENT):
        tag.decompose()
    lines = "".join(_as_markdown(root))
    tidy = re.sub(r"[ \t\xa0]+", " ", lines)
    yield from read_markdown(re.sub(r" ?\n ?", "\n", tidy), title=title, url=url)


def _as_markdown(element: Tag) -> Iterator[str]:
    for child in element.children:
        if not isinstance(child, Tag):
            if type(child) is NavigableString:  # not a comment
                yield re.sub(r"\s+", " ", child)
        elif child.name in _AS_HEADING:
            heading = _one_line(child.get_text(" "))
            yield f"\n\n{_AS_HEADING[child.name]} {heading}\n" if heading else ""
        elif child.name in ("td", "th"):
            yield f"{_one_line(child.get_text(' '))} | "
        elif child.name == "title":
            continue
        else:
            block = child.name in _BLOCKS
            yield "\n" if block else ""
            yield "- " if child.name == "li" else ""
            yield from _as_markdown(child)
            yield "\n" if block and child.name not in _LINES else ""


def _linked(pieces: Iterable[Piece], url: str) -> Iterator[Piece]:
    for piece in pieces:
        yield Piece(piece.title, piece.text, piece.where, url)


def _declared(body: bytes) -> str:
    found = re.search(rb"<meta[^>]+charset\s*=\s*[\"']?([\w-]+)", body[:4096], re.I)
    return found[1].decode("ascii") if found else ""


def _fetched(url: str, session: requests.Session) -> tuple[bytes, str, str, str]:
    """Body, kind, charset and final address of a page, within limits of size and time."""
    until = time.monotonic() + PAGE_SECONDS
    for _redirect in range(REDIRECTS_AT_MOST + 1):
        try:
            with session.get(
                url,
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT_SECONDS, PAGE_SECONDS / 2),
                headers={"Accept": "text/html, text/plain, application/pdf;q=0.8"},
            ) as response:
                if response.is_redirect:
                    url = urljoin(url, response.headers["location"])
                    continue
                if response.status_code != 200:
                    raise CannotRead(
                        _("The page answered with code %(code)d.") % {"code": response.status_code}
                    )
                kind, charset = _content_type(response.headers.get("content-type", ""))
                return _body(response, until), kind, charset, url
        except (ForbiddenAddress, HostNotFound) as error:
            raise CannotRead(
                _("The page cannot be reached: %(reason)s.") % {"reason": error}
            ) from None
        except (requests.RequestException, OSError):
            raise CannotRead(_("The page did not answer: check the address.")) from None
    raise CannotRead(_("The page leads from address to address without end."))


def _body(response: requests.Response, until: float) -> bytes:
    found = bytearray()
    for chunk in response.iter_content(64 * 1024):
        found += chunk
        if len(found) > PAGE_AT_MOST:
            raise CannotRead(
                _("The page is larger than %(most)d MB.") % {"most": PAGE_AT_MOST // 1024**2}
            )
        if time.monotonic() > until:
            raise CannotRead(_("The page came too slowly: try later."))
    return bytes(found)


def _content_type(header: str) -> tuple[str, str]:
    kind, _separator, rest = header.partition(";")
    found = re.search(r"charset\s*=\s*[\"']?([\w-]+)", rest, re.I)
    return kind.strip().lower(), found[1] if found else ""


# ---- small things ----


def split_long(text: str, most: int) -> list[str]:
    """The text in parts of at most `most` characters, cut at sentence ends where there are any."""
    if len(text) <= most:
        return [text] if text else []
    parts, current = list[str](), ""
    for line in text.split("\n"):
        between = "\n"
        for sentence in sentences(line) or [""]:
            for piece in _hard_cut(sentence, most):
                if current and len(current) + len(between) + len(piece) > most:
                    parts.append(current.strip())
                    current = ""
                current += (between if current else "") + piece
                between = " "
    return [part for part in (*parts, current.strip()) if part]


def _hard_cut(sentence: str, most: int) -> Iterator[str]:
    """A sentence longer than a part: at spaces, else anywhere."""
    while len(sentence) > most:
        cut = sentence.rfind(" ", most // 2, most)
        cut = cut if cut > 0 else most
        yield sentence[:cut].rstrip()
        sentence = sentence[cut:].lstrip()
    yield sentence


def first_words(text: str) -> str:
    """A title for a text without one: its first sentence, shortened at a word."""
    line = _one_line((sentences(text[:2000]) or [text])[0])
    if len(line) <= 80:
        return line.rstrip(".:;,")
    return line[:80].rsplit(" ", 1)[0].rstrip(".:;,") + "…"


def _cut_title(title: str, ending: str) -> str:
    room = TITLE_AT_MOST - len(ending)
    return (title if len(title) <= room else title[: room - 1].rstrip() + "…") + ending


def _one_line(text: str) -> str:
    return " ".join(_clean(text).split())


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060\ufeff]")


def _clean(text: str) -> str:
    """Without control and invisible characters; line ends as \\n, no runs of empty lines."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = text.encode("utf-8", "ignore").decode()  # lone surrogates
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()


def _day(text: str) -> str | None:
    """ISO form of a day written as 2026-12-31 or 31.12.2026."""
    text = text.strip()
    for form in ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%d.%m.%y"):
        try:
            found: date = datetime.strptime(text, form).date()  # noqa: DTZ007  a day has no zone
        except ValueError:
            continue
        return found.isoformat()
    return None


_Reader = Callable[[bytes, str], Iterable[Piece]]
_READERS: Mapping[str, _Reader] = {
    ".txt": lambda content, _title: read_text(decode(content)),
    ".csv": lambda content, _title: read_csv(content),
    ".tsv": lambda content, _title: read_csv(content),
    ".md": lambda content, title: read_markdown(decode(content), title=title),
    ".markdown": lambda content, title: read_markdown(decode(content), title=title),
    ".pdf": read_pdf,
    ".html": lambda content, _title: read_html(decode(content, _declared(content))),
    ".htm": lambda content, _title: read_html(decode(content, _declared(content))),
}
KINDS = tuple(_READERS)
"""Endings of the files that `read_file` takes."""
