"""Django's view of this package."""

from django.apps import AppConfig


class PortalsConfig(AppConfig):
    name = "bx_gpt_app.portals"
    label = "portals"
    verbose_name = "Portals"
