"""Django's view of this package, and what it forgets when a portal leaves."""

from django.apps import AppConfig


class ScreensConfig(AppConfig):
    name = "bx_gpt_app.screens"
    label = "screens"
    verbose_name = "Screens"

    def ready(self) -> None:
        from bx_gpt_app.portals import tasks
        from bx_gpt_app.screens.preferences import forget

        if forget not in tasks.after_leaving:
            tasks.after_leaving.append(forget)
