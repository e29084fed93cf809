"""Every address of the product."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("bx_gpt_app.inbox.urls")),
    path("", include("bx_gpt_app.screens.urls")),
]
handler404 = "bx_gpt_app.inbox.views.not_found"
