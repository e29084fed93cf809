"""The host's view of app registrations. A client secret goes in and never comes out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bx_gpt_app.portals.models import AppRegistration
from bx_gpt_app.portals.registrations import DEFAULT

if TYPE_CHECKING:
    _Form = forms.ModelForm[AppRegistration]
    _Admin = admin.ModelAdmin[AppRegistration]
else:
    _Form, _Admin = forms.ModelForm, admin.ModelAdmin


class AppRegistrationForm(_Form):
    new_secret = forms.CharField(
        label="client_secret",
        required=False,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
        help_text=gettext_lazy("Leave it empty to keep the stored one. It is never shown."),
    )

    class Meta:
        model = AppRegistration
        fields = ("code", "title", "client_id", "new_secret", "oauth_url")

    def clean_new_secret(self) -> str:
        secret = str(self.cleaned_data["new_secret"]).strip()
        if not secret and not self.instance.pk:
            raise forms.ValidationError(_("A new registration needs its secret."))
        return secret

    def clean_oauth_url(self) -> str:
        url = str(self.cleaned_data["oauth_url"] or "").rstrip("/")
        if url and url not in settings.B24_OAUTH_URL:
            known = ", ".join(settings.B24_OAUTH_URL)
            raise forms.ValidationError(
                _("Not on the list of B24_OAUTH_URL: %(known)s.") % {"known": known}
            )
        return url

    def save(self, commit: bool = True) -> AppRegistration:
        if self.cleaned_data["new_secret"]:
            self.instance.client_secret = self.cleaned_data["new_secret"]
        return super().save(commit)


@admin.register(AppRegistration)
class AppRegistrationAdmin(_Admin):
    form = AppRegistrationForm
    list_display = ("code", "title", "client_id", "portal_count", "created_at")
    search_fields = ("code", "title", "client_id")

    @admin.display(description=gettext_lazy("portals"))
    def portal_count(self, row: AppRegistration) -> int:
        return row.portals.count()

    def get_readonly_fields(
        self, request: HttpRequest, obj: AppRegistration | None = None
    ) -> tuple[str, ...]:
        """Addresses carry the code: it stays. The default's keys come from the environment."""
        if obj is None:
            return ()
        from_environment = obj.code == DEFAULT and bool(settings.B24_CLIENT_ID)
        return ("code", "client_id") if from_environment else ("code",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and obj.portals.exists():
            return False
        return super().has_delete_permission(request, obj)
