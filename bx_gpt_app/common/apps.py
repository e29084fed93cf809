"""Django's view of this package."""

from django.apps import AppConfig


class CommonConfig(AppConfig):
    name = "bx_gpt_app.common"
    label = "common"
    verbose_name = "Common"
