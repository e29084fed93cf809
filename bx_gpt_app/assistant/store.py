"""A portal's configuration: rows on one side, one `PortalConfig` on the other."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from typing import Any

from django.db import transaction
from django.utils import timezone

from bx_gpt_app.assistant.config import (
    ConfigProblems,
    ModelConfig,
    PortalConfig,
    RouteConfig,
    SnippetConfig,
    as_document,
)
from bx_gpt_app.assistant.models import Configuration, PromptVersion, Snippet
from bx_gpt_app.portals.models import Portal

_IN_OTHER_TABLES = ("prompt", "knowledge")


def load(portal: Portal) -> tuple[PortalConfig, int]:
    """The pipeline's view: settings and the active prompt, without the knowledge texts.

    Returns the configuration and its revision. A portal that was never configured has the defaults.
    """
    # Asked for every event: neither the encrypted columns nor whole rows are wanted here.
    rows = Configuration.objects.filter(pk=portal.pk).values_list("document", "revision")
    texts = PromptVersion.objects.filter(portal=portal, active=True).values_list("text", flat=True)
    stored, revision = rows.first() or ({}, 0)
    document: dict[str, Any] = dict(stored)
    prompt = texts.first()
    if prompt is not None:
        document["prompt"] = prompt
    return _from_document(document), revision


def load_whole(portal: Portal) -> PortalConfig:
    """Everything the configuration file shows, knowledge included."""
    config, _revision = load(portal)
    return config.model_copy(update={"knowledge": tuple(_snippets(portal))})


def save(portal: Portal, new: PortalConfig, *, by: str) -> bool:
    """Store a whole configuration atomically. False when it equals the stored one.

    A null key keeps the stored key, an empty one deletes it.
    """
    with transaction.atomic():
        row, _created = Configuration.objects.select_for_update().get_or_create(portal=portal)
        old = load_whole(portal)
        keys_changed = _take_secrets(row, new.llm)
        visible = new.without_secrets()
        changed = keys_changed or visible != old.without_secrets()
        if not changed:
            return False
        document = as_document(visible)
        for name in _IN_OTHER_TABLES:
            document.pop(name)
        row.document = document
        row.revision += 1
        row.updated_by = by[:160]
        if visible.llm != old.without_secrets().llm or keys_changed:
            row.capabilities, row.capabilities_at = {}, None
        row.save()
        if new.prompt != old.prompt or not portal.prompts.filter(active=True).exists():
            publish_prompt(portal, new.prompt, note="", author=by)
        if new.knowledge != old.knowledge:
            _replace_snippets(portal, new.knowledge)
    return True


def change(portal: Portal, *, by: str, **parts: Any) -> PortalConfig:
    """Replace top-level parts (`mode=…`, `lines=…`) and check the whole again.

    Raises: ConfigProblems.
    """
    current = load_whole(portal)
    document = as_document(current)
    document |= parts
    if "topics" in parts:  # a piece of knowledge outlives the topic it was filed under
        codes = {topic["code"] for topic in parts["topics"] if "code" in topic}
        for snippet in document["knowledge"]:
            snippet["topic"] = snippet["topic"] if snippet["topic"] in codes else ""
    from bx_gpt_app.assistant.config import check_config

    new = check_config(document)
    save(portal, new, by=by)
    return new


def publish_prompt(
    portal: Portal,
    text: str,
    *,
    note: str,
    author: str,
    score: dict[str, int] | None = None,
) -> PromptVersion:
    """A new active version; earlier ones stay as they were.

    `score` is what the portal's test cases said of the text, None when they were not asked.
    """
    with transaction.atomic():
        Portal.objects.select_for_update().get(pk=portal.pk)
        # The draft's number is the one it is published under.
        portal.prompts.filter(draft=True).delete()
        last = portal.prompts.order_by("-number").values_list("number", flat=True).first() or 0
        portal.prompts.filter(active=True).update(active=False)
        return PromptVersion.objects.create(
            portal=portal,
            number=last + 1,
            text=text,
            note=note[:200],
            author=author[:160],
            active=True,
            score=score,
        )


def keys_left_behind(portal: Portal, old: PortalConfig, new: PortalConfig) -> list[tuple[str, str]]:
    """(its server, the new server) of every stored key that the new configuration has no use for.

    A key never travels to another server by itself: somebody enters it there.
    """
    row = Configuration.objects.filter(pk=portal.pk).first()
    left = []
    for before, after, fallback in (
        (old.llm, new.llm, False),
        (old.llm.fallback, new.llm.fallback, True),
    ):
        if before is None or after is None or after.api_key is not None or not after.base_url:
            continue
        if api_key_for(row, before, fallback=fallback) and before.origin != after.origin:
            left.append((before.origin, after.origin))
    return left


def api_key_for(row: Configuration | None, model: ModelConfig, *, fallback: bool) -> str:
    """The stored key, if it was entered for this very server; else nothing."""
    if row is None:
        return ""
    prefix = "fallback_" if fallback else ""
    if getattr(row, f"{prefix}api_key_origin") != model.origin:
        return ""
    return str(getattr(row, f"{prefix}api_key"))


def secret_headers_for(row: Configuration | None, model: ModelConfig) -> dict[str, str]:
    if row is None or not row.secret_headers:
        return {}
    stored: dict[str, dict[str, str]] = json.loads(row.secret_headers)
    return stored.get(model.origin, {})


def _from_document(document: dict[str, Any]) -> PortalConfig:
    try:
        return PortalConfig.model_validate(document)
    except (ConfigProblems, ValueError):
        # Written by a newer version of the product: what is understood is kept, the rest waits.
        known = {key: value for key, value in document.items() if key in PortalConfig.model_fields}
        return PortalConfig.model_validate(known)


def _take_secrets(row: Configuration, route: RouteConfig) -> bool:
    changed = _take_key(row, route, "") | _take_headers(row, route)
    if route.fallback:
        changed |= _take_key(row, route.fallback, "fallback_") | _take_headers(row, route.fallback)
    return changed


def _take_key(row: Configuration, model: ModelConfig, prefix: str) -> bool:
    if model.api_key is None:
        return False
    setattr(row, f"{prefix}api_key", model.api_key)
    setattr(row, f"{prefix}api_key_origin", model.origin if model.api_key else "")
    return True


def _take_headers(row: Configuration, model: ModelConfig) -> bool:
    if model.extra_headers is None:
        return False
    stored: dict[str, dict[str, str]] = json.loads(row.secret_headers or "{}")
    stored[model.origin] = model.extra_headers
    row.secret_headers = json.dumps({origin: value for origin, value in stored.items() if value})
    return True


def _snippets(portal: Portal) -> Iterable[SnippetConfig]:
    for snippet in portal.snippets.all():
        yield SnippetConfig(
            title=snippet.title,
            text=snippet.text,
            url=snippet.url,
            topic=snippet.topic,
            internal=snippet.internal,
            valid_until=snippet.valid_until.isoformat() if snippet.valid_until else None,
        )


def _replace_snippets(portal: Portal, wanted: Iterable[SnippetConfig]) -> None:
    """Equal title and text is the same snippet: it keeps its id and its use count.

    Only what differs is written: a large base would hold up everybody's writes for seconds.
    """
    existing = {(row.title, row.text): row for row in portal.snippets.all()}
    new: list[Snippet] = []
    for position, snippet in enumerate(wanted):
        facts = {
            "position": position,
            "url": snippet.url,
            "topic": snippet.topic,
            "internal": snippet.internal,
            "valid_until": date.fromisoformat(snippet.valid_until) if snippet.valid_until else None,
        }
        row = existing.pop((snippet.title, snippet.text), None)
        if row is None:
            words = {"title": snippet.title, "text": snippet.text}
            new.append(Snippet(portal=portal, created_at=timezone.now(), **words, **facts))
        elif any(getattr(row, name) != value for name, value in facts.items()):
            for name, value in facts.items():
                setattr(row, name, value)
            row.save(update_fields=[*facts, "updated_at"])
    gone = [row.pk for row in existing.values()]
    portal.snippets.filter(pk__in=gone).delete()
    Snippet.objects.bulk_create(new, batch_size=500)
