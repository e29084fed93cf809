"""A reply as plain text that a portal's chat shows as it is, cut to length at a sentence end."""

from __future__ import annotations

import re

from integrations.llm.values import Doubt

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e0fff]"
)
_CODE_FENCE = re.compile(r"```[\w-]*\n?(.*?)```", re.S)
_IMAGE = re.compile(
    r"!\[([^\]]*)\]\(([^)]*)\)|<img\b[^>]*>|\[img\b[^\]]*\].*?\[/img\]", re.I | re.S
)
_MARKDOWN_LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([^)\s]+)(?:\s\"[^\"]*\")?\)")
_BB_LINK = re.compile(r"\[url=([^\]\s]+)\](.*?)\[/url\]", re.I | re.S)
_BBCODE = re.compile(
    r"\[/?(?:b|i|u|s|url|user|chat|img|icon|quote|code|color|size|send|put|call|"
    r"pch|list|table|tr|td|disk|timestamp|br)\b[^\]\n]*\]",
    re.I,
)
_ACTIVE_HTML = re.compile(r"<(script|style|iframe|object|svg)\b.*?(?:</\1\s*>|$)", re.I | re.S)
_HTML_LINK = re.compile(r"<a\b[^>]*href\s*=\s*[\"']?([^\"'\s>]+)[^>]*>(.*?)</a>", re.I | re.S)
_HTML = re.compile(r"</?[a-z][^<>]{0,300}>", re.I)
_BULLET = re.compile(r"(?m)^[ \t]*[*+•][ \t]+")
_HEADING = re.compile(r"(?m)^[ \t]*#{1,6}[ \t]+")
_EMPHASIS = re.compile(
    r"(\*\*\*|\*\*|__|~~|(?<![\w*])\*(?=\S)|(?<![\w_])_(?=\S))(.+?)\1(?!\w)", re.S
)
_RULE = re.compile(r"(?m)^[ \t]*(?:-{3,}|={3,}|\*{3,})[ \t]*$")
_CITATION = re.compile(
    r"\s?(?:\[(?:\d{1,2}|source|источник|kb|doc)[^\]\n]{0,30}\](?!\()|【[^】]*】)", re.I
)


def plain_text(reply: str) -> tuple[str, list[Doubt]]:
    """The reply without Markdown, HTML, BBCode, citation marks and invisible characters.

    Pictures and active HTML never come from an honest answer, so they are doubted.
    """
    doubts: list[Doubt] = []

    def dropped(match: re.Match[str]) -> str:
        doubts.append(Doubt(kind="markup", text=match.group()[:80]))
        return ""

    def link(label: str, address: str) -> str:
        return address if label.strip() in ("", address) else f"{label} ({address})"

    text = _INVISIBLE.sub("", reply.replace("\r\n", "\n").replace("\r", "\n"))
    text = _ACTIVE_HTML.sub(dropped, text)
    text = _IMAGE.sub(dropped, text)
    text = _HTML_LINK.sub(lambda match: link(match.group(2), match.group(1)), text)
    text = re.sub(r"<br\s*/?>|</p>|</li>", "\n", text, flags=re.I)
    text = _HTML.sub("", text)
    text = _CODE_FENCE.sub(r"\1", text)
    text = _MARKDOWN_LINK.sub(lambda match: link(match.group(1), match.group(2)), text)
    text = _BB_LINK.sub(lambda match: link(match.group(2), match.group(1)), text)
    text = _CITATION.sub("", _BBCODE.sub("", text))
    text = _RULE.sub("", _HEADING.sub("", _BULLET.sub("- ", text)))
    for _ in range(3):
        text = _EMPHASIS.sub(r"\2", text)
    text = re.sub(r"`([^`\n]*)`", r"\1", text)
    text = re.sub(r"[ \t]+\n", "\n", re.sub(r"\n{3,}", "\n\n", text))
    return text.strip(), doubts


def neutralise(text: str) -> str:
    """Brackets, quote marks and rulers lose the meaning they have in a portal's chat."""
    text = text.replace("[", "[\u200b").replace(">>", ">\u200b>")
    return re.sub(r"-{6,}", "—", text)


def shorten(text: str, max_length: int) -> tuple[str, bool]:
    """The text cut at its last sentence end within the limit; False when there was none."""
    if len(text) <= max_length:
        return text, True
    head = text[:max_length]
    ends = [match.end() for match in re.finditer(r"[.!?…](?=[\s\"»)]|$)|\n", head)]
    # an end in the first third would throw away too much of the answer
    if ends and ends[-1] >= max_length // 3:
        return head[: ends[-1]].rstrip(), True
    cut = head[: max_length - 1]
    return (cut[: cut.rindex(" ")] if " " in cut else cut).rstrip(" ,;:-–—") + "…", False
