"""Every address of the product."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("bx_gpt_app.inbox.urls")),
    path("", include("bx_gpt_app.screens.urls")),
]
handler400 = "bx_gpt_app.screens.errors.bad_request"
handler403 = "bx_gpt_app.screens.errors.forbidden"
handler404 = "bx_gpt_app.screens.errors.not_found"
handler500 = "bx_gpt_app.screens.errors.server_error"
