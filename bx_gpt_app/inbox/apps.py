"""Django's view of this package, and what it does when a portal is bound."""

from django.apps import AppConfig


class InboxConfig(AppConfig):
    name = "bx_gpt_app.inbox"
    label = "inbox"
    verbose_name = "Inbox"

    def ready(self) -> None:
        from bx_gpt_app.inbox import fetch
        from bx_gpt_app.portals import tasks

        if fetch.before_binding not in tasks.before_binding:
            tasks.before_binding.append(fetch.before_binding)
            tasks.after_binding.append(fetch.after_binding)
