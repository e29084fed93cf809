"""Addresses that people see."""

from django.urls import include, path

from bx_gpt_app.screens import entry, health, install, oauth, operator, preferences, site

urlpatterns = [
    path("", site.landing),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
    path("b24/<slug:app>/", entry.entry, name="entry"),
    path("b24/<slug:app>/placement/", entry.placement, name="placement"),
    path("b24/<slug:app>/session/", entry.session, name="session"),
    path("b24/<slug:app>/install/", install.door, name="install"),
    path("b24/<slug:app>/install/check/", install.check),
    path("b24/<slug:app>/oauth/start/", oauth.start),
    path("b24/<slug:app>/oauth/callback/", oauth.callback),
    path("b24/<slug:app>/preferences/", preferences.change),
    path("b24/<slug:app>/dialogs/", operator.recent, name="dialogs"),
    path("b24/<slug:app>/dialogs/card/", operator.card),
    path("b24/<slug:app>/dialogs/<int:pk>/", operator.page, name="dialog"),
    path("b24/<slug:app>/dialogs/<int:pk>/draft/", operator.draft),
    path("b24/<slug:app>/dialogs/<int:pk>/values/", operator.values),
    path("b24/<slug:app>/dialogs/<int:pk>/values/<slug:name>/", operator.values_deed),
    path("b24/<slug:app>/dialogs/<int:pk>/values/<int:value>/<slug:name>/", operator.value_deed),
    path("b24/<slug:app>/dialogs/<int:pk>/<slug:name>/", operator.deed),
    path("", include("bx_gpt_app.screens.settings_urls")),
    path("demo/", include("bx_gpt_app.screens.demo")),
]
