"""Django's view of this package."""

from django.apps import AppConfig


class InboxConfig(AppConfig):
    name = "bx_gpt_app.inbox"
    label = "inbox"
    verbose_name = "Inbox"
