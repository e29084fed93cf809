"""The portal's CRM fields, cached: reading them for every message would double the requests."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.client import PortalClient
from integrations.bitrix24.crm import FieldInfo, read_fields

KEEP_SECONDS = 3600


def catalogue(portal: Portal, entity_type_id: int) -> dict[str, FieldInfo]:
    """The fields as last read, by the admin's names (TITLE, PHONE, UF_CRM_…); empty when never
    read."""
    entry: Mapping[str, Any] = portal.field_cache.get(str(entity_type_id), {})
    return {name: _stored(info) for name, info in entry.get("fields", {}).items()}


def _stored(info: Mapping[str, Any]) -> FieldInfo:
    choices = tuple((str(code), str(title)) for code, title in info["choices"])
    return FieldInfo(**{**info, "choices": choices})


def is_fresh(portal: Portal, entity_type_id: int) -> bool:
    entry = portal.field_cache.get(str(entity_type_id))
    return bool(entry) and time.time() - entry["at"] < KEEP_SECONDS


def refresh_catalogue(
    portal: Portal, client: PortalClient, entity_type_id: int
) -> dict[str, FieldInfo]:
    """Read one item type's fields from the portal and keep them. Raises: Bitrix24Error."""
    infos = read_fields(client, entity_type_id, language=portal.language)
    portal.refresh_from_db(fields=["field_cache"])
    portal.field_cache[str(entity_type_id)] = {
        "at": time.time(),
        "fields": {name: asdict(info) for name, info in infos.items()},
    }
    portal.save(update_fields=["field_cache"])
    return infos


def fields_for_writing(
    portal: Portal, client: PortalClient, entity_type_id: int
) -> dict[str, FieldInfo]:
    """The cached fields, read anew when they are older than an hour."""
    if is_fresh(portal, entity_type_id):
        return catalogue(portal, entity_type_id)
    return refresh_catalogue(portal, client, entity_type_id)


def forget_catalogue(portal: Portal) -> None:
    """The admin changed custom fields: what we know of them is old."""
    Portal.objects.filter(pk=portal.pk).update(field_cache={})
