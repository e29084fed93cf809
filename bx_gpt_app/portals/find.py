"""Finding a portal by what a person at the command line knows of it."""

from __future__ import annotations

from bx_gpt_app.portals.models import Portal


class PortalNotFound(LookupError):
    """No portal, or more than one, is meant; the text is one sentence that says what to do."""


def find_portal(member_id: str, app: str = "") -> Portal:
    """The portal with this MEMBER_ID. `app`: code of its registration, needed if it has several.

    Raises: PortalNotFound.
    """
    portals = Portal.objects.filter(member_id=member_id).select_related("registration")
    if app:
        portals = portals.filter(registration__code=app)
    found = list(portals.order_by("registration__code"))
    if not found:
        where = f" in app registration '{app}'" if app else ""
        raise PortalNotFound(
            f"There is no portal '{member_id}'{where}: see `manage.py portal list`."
        )
    if len(found) > 1:
        codes = ", ".join(portal.registration.code for portal in found)
        raise PortalNotFound(
            f"The portal '{member_id}' has several app registrations: add --app, one of {codes}."
        )
    return found[0]
