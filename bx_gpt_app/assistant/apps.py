"""Django's view of this package, and what it does when a portal is bound or leaves."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AssistantConfig(AppConfig):
    name = "bx_gpt_app.assistant"
    label = "assistant"
    verbose_name = _("Assistant")

    def ready(self) -> None:
        from bx_gpt_app.assistant.lines import apply_modes
        from bx_gpt_app.assistant.retention import erase
        from bx_gpt_app.portals import tasks

        if apply_modes not in tasks.after_binding:
            tasks.after_binding.append(apply_modes)
            tasks.after_leaving.append(erase)
