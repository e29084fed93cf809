"""Notes in a user's bell in the portal."""

from __future__ import annotations

from integrations.bitrix24.client import PortalClient
from integrations.bitrix24.errors import CallRejected
from integrations.bitrix24.limiter import Priority


def notify(client: PortalClient, user_id: int, text: str, *, tag: str) -> int:
    """A note from the application to one user; its id.

    A second one with the same tag takes the place of the first, so repeating it shows no more
    than one. Tags are compared over all users: name the user in it.
    Raises: as `PortalClient.call`; CallRejected also when the portal made no note.
    Source: api-reference/chats/notifications/im-notify-system-add.
    """
    result = client.call(
        "im.notify.system.add",
        {"USER_ID": user_id, "MESSAGE": text, "TAG": tag},
        priority=Priority.BACKGROUND,
        repeatable=True,
    )
    if not isinstance(result, int) or result is False:
        raise CallRejected("The portal made no notification.", code="notification_not_added")
    return int(result)
