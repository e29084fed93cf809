"""Django's view of this package."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PortalsConfig(AppConfig):
    name = "bx_gpt_app.portals"
    label = "portals"
    verbose_name = _("Portals")
