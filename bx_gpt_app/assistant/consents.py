"""Who agreed, when and in which words, that clients' texts leave the house for a model server."""

from __future__ import annotations

from django.utils.translation import gettext as _

from bx_gpt_app.assistant.models import Consent
from bx_gpt_app.portals.models import Portal
from integrations.llm.providers import Provider


def covered(portal: Portal, server: Provider) -> bool:
    """May this server see what clients write as far as the company's own word is concerned?"""
    return server.is_own_network or given(portal, server) is not None


def given(portal: Portal, server: Provider) -> Consent | None:
    """The newest consent for this server. One for a server in the country does not reach abroad."""
    found = Consent.objects.filter(portal=portal, origin=server.origin[:300])
    if server.leaves_country:
        found = found.filter(abroad=True)
    return found.order_by("-pk").first()


def give(portal: Portal, server: Provider, *, user_id: int, user_name: str) -> Consent:
    """Keep the word. Giving it twice changes nothing."""
    return given(portal, server) or Consent.objects.create(
        portal=portal,
        origin=server.origin[:300],
        abroad=server.leaves_country,
        text=words(server),
        user_id=user_id,
        user_name=user_name[:160],
    )


def words(server: Provider) -> str:
    """What is agreed to, in the active language."""
    where = {"origin": server.origin}
    if server.leaves_country:
        return (
            _(
                "I know that what clients write goes to %(origin)s, a server outside the country. "
                "Our company answers for it: for telling clients, for their consent, and for the "
                "notices that the law asks for when personal data is sent abroad."
            )
            % where
        )
    return (
        _(
            "I know that what clients write goes to %(origin)s, a server outside our network. "
            "Our company answers for it: for telling clients and for their consent."
        )
        % where
    )
