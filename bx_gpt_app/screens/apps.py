"""Django's view of this package, and what it forgets when a portal leaves."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ScreensConfig(AppConfig):
    name = "bx_gpt_app.screens"
    label = "screens"
    verbose_name = _("Screens")

    def ready(self) -> None:
        from bx_gpt_app.portals import tasks
        from bx_gpt_app.screens import admin_words
        from bx_gpt_app.screens.preferences import forget

        admin_words.speak()
        if forget not in tasks.after_leaving:
            tasks.after_leaving.append(forget)
