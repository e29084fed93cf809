"""Which OAuth client an address belongs to: `default` from the environment, others from /admin/."""

from __future__ import annotations

from django.conf import settings
from pydantic import SecretStr

from bx_gpt_app.portals.models import AppRegistration
from integrations.bitrix24.oauth import AppCredentials

DEFAULT = "default"


class UnknownApp(LookupError):
    """No app registration with this code: the address is wrong."""


def registration(code: str) -> AppRegistration:
    """The registration behind /b24/<code>/. The environment wins over the stored `default`.

    Raises: UnknownApp.
    """
    found = AppRegistration.objects.filter(code=code).first()
    if code != DEFAULT or not settings.B24_CLIENT_ID:
        if found is None:
            raise UnknownApp(code)
        return found
    keys = {"client_id": settings.B24_CLIENT_ID, "client_secret": settings.B24_CLIENT_SECRET}
    if found is None:
        return AppRegistration.objects.get_or_create(code=DEFAULT, defaults=keys)[0]
    if any(getattr(found, name) != value for name, value in keys.items()):
        for name, value in keys.items():
            setattr(found, name, value)
        found.save(update_fields=list(keys))
    return found


def credentials(app: AppRegistration) -> AppCredentials:
    return AppCredentials(client_id=app.client_id, client_secret=SecretStr(app.client_secret))


def allowed_servers(app: AppRegistration) -> list[str]:
    """Where `client_secret` may go, the default first. A registration can only pick from the list,
    except the demo's, whose server is this host's own local portal."""
    allowed = list(settings.B24_OAUTH_URL)
    if settings.DEMO and app.code == settings.DEMO_APP:
        return [settings.DEMO_PORTAL_URL]
    if app.oauth_url:
        chosen = app.oauth_url.rstrip("/")
        if chosen in allowed:
            allowed.remove(chosen)
            allowed.insert(0, chosen)
    return allowed
