"""Forms of the settings screens. The rules are PortalConfig's; forms put them into words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args
from urllib.parse import urlsplit

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bx_gpt_app.assistant.config import PortalConfig
from integrations.llm.prompt import VARIABLES, check_variables
from integrations.llm.providers import PRESETS, preset_for
from integrations.llm.values import FieldType

FIELD_TYPES: Mapping[str, Any] = {
    "string": gettext_lazy("Short text"),
    "text": gettext_lazy("Long text"),
    "person_name": gettext_lazy("Person’s name"),
    "phone": gettext_lazy("Phone"),
    "email": gettext_lazy("E-mail"),
    "number": gettext_lazy("Number"),
    "money": gettext_lazy("Sum of money"),
    "date": gettext_lazy("Date"),
    "datetime": gettext_lazy("Date and time"),
    "bool": gettext_lazy("Yes or no"),
    "choice": gettext_lazy("One of a list"),
    "url": gettext_lazy("Link"),
    "address": gettext_lazy("Address"),
}
if set(FIELD_TYPES) != set(get_args(FieldType)):  # a new type must get its words
    raise RuntimeError("every field type needs a title")

HOST_PRESET = ""
NO_AUTOFILL = {"autocomplete": "off", "spellcheck": "false"}


def lines_of(text: str) -> list[str]:
    """Non-empty lines without blanks around them."""
    return [line.strip() for line in text.splitlines() if line.strip()]


class LinesField(forms.CharField):
    """A list of short texts, one a line."""

    def __init__(self, *, item_length: int = 200, most: int = 100, **options: Any) -> None:
        widget = forms.Textarea(attrs={"rows": options.pop("rows", 3), **NO_AUTOFILL})
        super().__init__(required=False, widget=widget, **options)
        self.item_length, self.most = item_length, most

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> Any:
        rows = lines_of(super().clean(value))
        if len(rows) > self.most:
            raise ValidationError(_("At most %(most)s lines.") % {"most": self.most})
        if any(len(row) > self.item_length for row in rows):
            raise ValidationError(
                _("A line may have at most %(most)s characters.") % {"most": self.item_length}
            )
        return rows


def _address(**options: Any) -> forms.CharField:
    attrs = {**NO_AUTOFILL, "inputmode": "url", "placeholder": "https://api.openai.com/v1"}
    return forms.CharField(
        label=gettext_lazy("Address of the server"),
        max_length=500,
        required=False,
        widget=forms.TextInput(attrs=attrs),
        **options,
    )


def _key(**options: Any) -> forms.CharField:
    # Rendered without its value: a key goes in and never comes out again.
    return forms.CharField(
        label=gettext_lazy("Key"),
        max_length=4000,
        required=False,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
        **options,
    )


def _model_name(list_id: str) -> forms.CharField:
    return forms.CharField(
        label=gettext_lazy("Model"),
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={**NO_AUTOFILL, "list": list_id}),
    )


CURRENCIES = [(code, code) for code in ("RUB", "USD", "EUR", "KZT", "BYN")]
HEADER = re.compile(r"^([A-Za-z0-9!#$%&'*+.^_`|~-]{1,100})\s*:\s*([\x20-\x7e]{1,2000})$")


def _price(label: Any) -> forms.FloatField:
    return forms.FloatField(label=label, required=False, min_value=0)


def _currency() -> forms.ChoiceField:
    return forms.ChoiceField(label=gettext_lazy("Currency"), required=False, choices=CURRENCIES)


class ServerForm(forms.Form):
    """One model server. Keys and headers are write-only."""

    MAIN = ("preset", "base_url", "project", "api_key", "forget_key", "model")
    """What nearly everybody needs; the rest is folded."""

    preset = forms.ChoiceField(label=gettext_lazy("Service"), required=False)
    base_url = _address()
    project = forms.CharField(
        label=gettext_lazy("Project"),
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs=NO_AUTOFILL),
    )
    api_key = _key()
    forget_key = forms.BooleanField(label=gettext_lazy("Delete the stored key"), required=False)
    model = _model_name("models")
    temperature = forms.FloatField(
        label=gettext_lazy("Temperature"),
        required=False,
        min_value=0,
        max_value=2,
        help_text=gettext_lazy("0 is strict, 1 is free. 0.2 suits replies to clients."),
    )
    leaves_country = forms.ChoiceField(
        label=gettext_lazy("Data leaves the country"),
        required=False,
        choices=[
            ("", gettext_lazy("as the service says")),
            ("yes", gettext_lazy("yes")),
            ("no", gettext_lazy("no, the server is ours or in Russia")),
        ],
        help_text=gettext_lazy("Where the server stands decides what you must tell your clients."),
    )
    mask = forms.ChoiceField(
        label=gettext_lazy("Personal data for this server"),
        required=False,
        choices=[
            ("", gettext_lazy("as set for all servers")),
            ("yes", gettext_lazy("always replace")),
            ("no", gettext_lazy("send as it is")),
        ],
    )
    price_input = _price(gettext_lazy("Price of a million tokens in"))
    price_output = _price(gettext_lazy("Price of a million tokens out"))
    price_currency = _currency()
    deadline_seconds = forms.IntegerField(
        label=gettext_lazy("Wait for an answer, seconds"),
        required=False,
        min_value=5,
        max_value=600,
    )
    max_in_flight = forms.IntegerField(
        label=gettext_lazy("Requests at once"),
        required=False,
        min_value=1,
        max_value=500,
        help_text=gettext_lazy("Up to 40 are counted over all workers together."),
    )
    max_input_chars = forms.IntegerField(
        label=gettext_lazy("Longest request, characters"),
        required=False,
        min_value=2000,
        max_value=1_000_000,
        help_text=gettext_lazy("Older messages and knowledge that do not fit are left out."),
    )
    extra_headers = forms.CharField(
        label=gettext_lazy("Additional headers, one a line"),
        required=False,
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 2, "placeholder": "X-Name: value", **NO_AUTOFILL}),
    )
    forget_headers = forms.BooleanField(
        label=gettext_lazy("Delete the stored headers"), required=False
    )
    ca_bundle = forms.CharField(
        label=gettext_lazy("Additional certificates, PEM"),
        required=False,
        max_length=100_000,
        widget=forms.Textarea(attrs={"rows": 3, **NO_AUTOFILL}),
        help_text=gettext_lazy(
            "Only for servers whose certificate is not widely known, such as GigaChat."
        ),
    )

    def __init__(
        self, data: Any = None, *, initial: Any = None, second: bool = False, needed: bool = True
    ) -> None:
        """`second`: the fallback, which is never the host's; `needed`: is it used at all?"""
        super().__init__(data, initial=initial, prefix="fallback" if second else None)
        self.second, self._needed = second, needed
        field = self.fields["preset"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - tells mypy what it is
        hosts = [] if second else [(HOST_PRESET, _("The host’s model"))]
        field.choices = [*hosts, *((code, preset.title) for code, preset in PRESETS.items())]
        if second:
            self.fields["model"].widget.attrs["list"] = "fallback-models"
        chosen = str(self["preset"].value() or "")
        if PRESETS.get(chosen, PRESETS["other"]).needs_project:
            self.fields["project"].label = _("Folder")
            self.fields["project"].help_text = _("The identifier of the folder in Yandex Cloud.")

    def add_prefix(self, field_name: str) -> str:
        return f"{self.prefix}_{field_name}" if self.prefix else field_name

    @property
    def folded(self) -> list[forms.BoundField]:
        """Fields of the folded part, in order."""
        return [self[name] for name in self.fields if name not in self.MAIN]

    @property
    def folded_errors(self) -> bool:
        return any(field.errors for field in self.folded)

    def clean_base_url(self) -> str:
        return _checked_address(self.cleaned_data["base_url"])

    def clean_extra_headers(self) -> dict[str, str] | None:
        """None: nothing was typed, what is stored stays."""
        headers: dict[str, str] = {}
        for number, line in enumerate(lines_of(self.cleaned_data["extra_headers"]), start=1):
            found = HEADER.match(line)
            if found is None:
                raise ValidationError(
                    _("Line %(line)s: write a header like “X-Name: value”.") % {"line": number}
                )
            headers[found[1]] = found[2].strip()
        return headers or None

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if not self._needed:
            return data
        address_wanted = data.get("preset") or self.second
        if address_wanted and not data.get("base_url") and "base_url" not in self.errors:
            self.add_error("base_url", _("Enter the server’s address."))
        if (data.get("base_url") or self.second) and not data.get("model"):
            self.add_error("model", _("Enter the model’s name."))
        kind = data.get("preset") or preset_for(data.get("base_url") or "")
        if (
            PRESETS.get(kind, PRESETS["other"]).needs_project
            and not data.get("project")
            and "://" not in (data.get("model") or "")
        ):
            self.add_error("project", _("Enter the folder: models are addressed by it."))
        both_prices(self, data)
        return data


def both_prices(form: forms.Form, data: Mapping[str, Any]) -> None:
    if (data.get("price_input") is None) != (data.get("price_output") is None):
        form.add_error("price_output", _("Enter both prices or none."))


class RouteForm(forms.Form):
    """What holds for all servers: is there a second one, what saves money, what is hidden."""

    with_fallback = forms.BooleanField(
        label=gettext_lazy("Use a second model while the first does not answer"), required=False
    )
    mask_personal_data = forms.BooleanField(
        label=gettext_lazy("Replace phones, e-mails and other personal data before text leaves"),
        required=False,
    )
    mask_names = forms.BooleanField(
        label=gettext_lazy("Replace names too"),
        required=False,
        help_text=gettext_lazy(
            "Names in lower case may slip through. If none may leave, use a server of your own."
        ),
    )
    cheaper = forms.ChoiceField(
        label=gettext_lazy("When 90 % of a limit of spending is used up"),
        choices=[
            ("", gettext_lazy("go on with the same model")),
            ("main", gettext_lazy("ask another model of the first server")),
            ("fallback", gettext_lazy("ask the second server")),
        ],
        required=False,
        widget=forms.RadioSelect,
    )
    cheaper_model = _model_name("models")
    price_input = _price(gettext_lazy("Price of a million tokens in"))
    price_output = _price(gettext_lazy("Price of a million tokens out"))
    price_currency = _currency()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["cheaper_model"].label = _("Cheaper model")
        self.fields["cheaper_model"].help_text = _(
            "For the second server it may stay empty: its own model is asked."
        )

    def add_prefix(self, field_name: str) -> str:
        return f"cheaper_{field_name}" if field_name.startswith("price_") else field_name

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if data.get("cheaper") == "main" and not data.get("cheaper_model"):
            self.add_error("cheaper_model", _("Enter the model’s name."))
        if data.get("cheaper") == "fallback" and not data.get("with_fallback"):
            self.add_error("cheaper", _("There is no second server: set one up above."))
        both_prices(self, data)
        return data


def _checked_address(value: str) -> str:
    if not value:
        return ""
    try:
        parts = urlsplit(value.strip())
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
        _port = parts.port
    except ValueError:
        sound = False
    if not sound:
        raise ValidationError(_("Write an address like https://api.openai.com/v1."))
    return value.strip().rstrip("/")


class PromptForm(forms.Form):
    text = forms.CharField(
        label=gettext_lazy("Instructions for the model"),
        max_length=20_000,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 16, "class": "code", "spellcheck": "false"}),
    )

    def clean_text(self) -> str:
        text = str(self.cleaned_data["text"]).replace("\r\n", "\n")
        mistakes = [
            _("Line %(line)s: there is no variable “%(name)s”.")
            % {"line": mistake.line, "name": mistake.name or "{{"}
            for mistake in check_variables(text)
        ]
        if mistakes:
            known = ", ".join(f"{{{{ {name} }}}}" for name in VARIABLES)
            raise ValidationError([*mistakes, _("Known are: %(known)s.") % {"known": known}])
        if not text.strip():
            raise ValidationError(_("The instructions are empty."))
        return text


class NoteForm(forms.Form):
    note = forms.CharField(label=gettext_lazy("What has changed"), max_length=200)


class FieldForm(forms.Form):
    """One thing to look for in what clients write."""

    name = forms.RegexField(
        r"^[A-Za-z][A-Za-z0-9_]{0,39}$",
        label=gettext_lazy("Code"),
        help_text=gettext_lazy("Latin letters, digits, underscores: phone, visit_date."),
        error_messages={
            "invalid": gettext_lazy("Latin letters, digits and underscores; a letter first.")
        },
        widget=forms.TextInput(attrs=NO_AUTOFILL),
    )
    type = forms.ChoiceField(label=gettext_lazy("What it is"), choices=list(FIELD_TYPES.items()))
    description = forms.CharField(
        label=gettext_lazy("What to look for"),
        max_length=500,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text=gettext_lazy("In your own words: the model reads it."),
    )
    choices = LinesField(
        label=gettext_lazy("Values of the list, one a line"), item_length=120, most=100
    )
    max_length = forms.IntegerField(
        label=gettext_lazy("Longest text, characters"),
        required=False,
        min_value=1,
        max_value=10_000,
    )

    def __init__(self, *args: Any, taken: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self._taken = taken

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if name == "topic":
            raise ValidationError(_("“topic” is taken by the topic itself."))
        if name in self._taken:
            raise ValidationError(_("There is such a field already."))
        return name

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if (
            data.get("type") == "choice"
            and not data.get("choices")
            and "choices" not in self.errors
        ):
            self.add_error("choices", _("A list needs at least one value."))
        return data


class TopicForm(forms.Form):
    title = forms.CharField(label=gettext_lazy("Name"), max_length=120)
    code = forms.RegexField(
        r"^[A-Za-z][A-Za-z0-9_-]{0,39}$",
        label=gettext_lazy("Code"),
        help_text=gettext_lazy(
            "Latin letters and digits: delivery. It is stored in runs and files."
        ),
        error_messages={
            "invalid": gettext_lazy(
                "Latin letters, digits, hyphens and underscores; a letter first."
            )
        },
        widget=forms.TextInput(attrs=NO_AUTOFILL),
    )
    description = forms.CharField(
        label=gettext_lazy("What belongs here"), max_length=1000, required=False
    )
    examples = LinesField(
        label=gettext_lazy("Examples of clients’ words, one a line"), item_length=300, most=20
    )
    instruction = forms.CharField(
        label=gettext_lazy("How to answer on this topic"),
        max_length=2000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    auto = forms.BooleanField(
        label=gettext_lazy("Replies may go out by themselves"),
        required=False,
        help_text=gettext_lazy("Only on lines in automatic mode."),
    )
    handoff = forms.BooleanField(label=gettext_lazy("Always hand over to a person"), required=False)

    def __init__(self, *args: Any, taken: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self._taken = taken

    def clean_code(self) -> str:
        if self.cleaned_data["code"] in self._taken:
            raise ValidationError(_("There is such a topic already."))
        return str(self.cleaned_data["code"])


MODES = [
    ("off", gettext_lazy("Off")),
    ("suggest", gettext_lazy("Suggestions")),
    ("auto", gettext_lazy("Automatic")),
]


class LineForm(forms.Form):
    mode = forms.ChoiceField(label=gettext_lazy("Mode"), choices=MODES, widget=forms.RadioSelect)
    working_hours_only = forms.BooleanField(
        label=gettext_lazy("Answer by itself in working hours only"), required=False
    )
    delay_seconds = forms.IntegerField(
        label=gettext_lazy("Hold a reply back, seconds"),
        min_value=0,
        max_value=120,
        help_text=gettext_lazy("So long an operator can stop or edit it."),
    )
    whisper = forms.BooleanField(
        label=gettext_lazy("Show suggestions inside the chat, to operators only"), required=False
    )


class RepliesForm(forms.Form):
    """What holds for the replies of all lines."""

    mode = forms.ChoiceField(
        label=gettext_lazy("New lines start with"),
        choices=MODES[:2],
        help_text=gettext_lazy("For lines that have no mode of their own yet."),
    )

    language = forms.ChoiceField(
        label=gettext_lazy("Language when the client’s cannot be told"),
        choices=[("ru", "Русский"), ("en", "English"), ("kk", "Қазақша"), ("uk", "Українська")],
    )
    max_length = forms.IntegerField(label=gettext_lazy("Longest reply, characters"), min_value=1)
    debounce_seconds = forms.FloatField(
        label=gettext_lazy("Wait for the client to finish, seconds"), min_value=0, max_value=60
    )
    min_confidence = forms.FloatField(
        label=gettext_lazy("Lowest confidence to answer by itself"),
        min_value=0,
        max_value=1,
        help_text=gettext_lazy("From 0 to 1. Below it the assistant only suggests."),
    )
    signature = forms.CharField(
        label=gettext_lazy("Signature of automatic replies"), max_length=300, required=False
    )
    handoff_message = forms.CharField(
        label=gettext_lazy("What the client is told when a person takes over"), max_length=1000
    )
    stop_words = LinesField(
        label=gettext_lazy("Stop words, one a line"),
        most=200,
        help_text=gettext_lazy("A message with one of them is always left to a person."),
    )
    contacts = LinesField(
        label=gettext_lazy("The company’s phones, e-mails and links, one a line"),
        most=50,
        help_text=gettext_lazy("A reply may name only these and those of the knowledge base."),
    )
    email = forms.BooleanField(
        label=gettext_lazy("Read incoming e-mails of CRM cards"), required=False
    )
    form = forms.BooleanField(label=gettext_lazy("Read leads from web forms"), required=False)

    def __init__(self, *args: Any, automatic: bool = False, **options: Any) -> None:
        """`automatic`: new lines answer by themselves already, which this form may only end."""
        super().__init__(*args, **options)
        if automatic:
            field = self.fields["mode"]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101 - tells mypy what it is
            field.choices = MODES


class CrmForm(forms.Form):
    write = forms.ChoiceField(
        label=gettext_lazy("Writing to the CRM"),
        choices=[
            ("auto", gettext_lazy("Write what is certain, ask about the rest")),
            ("confirm", gettext_lazy("The operator confirms each value")),
            ("off", gettext_lazy("Write nothing")),
        ],
    )
    timeline_comment = forms.BooleanField(
        label=gettext_lazy("Leave a note in the card’s timeline"), required=False
    )


RATE = re.compile(r"^([A-Za-z]{3})\s*[=:]?\s*(\d+(?:[.,]\d+)?)$")


class LimitsForm(forms.Form):
    daily_cost = forms.FloatField(label=gettext_lazy("Money a day"), required=False, min_value=0)
    monthly_cost = forms.FloatField(
        label=gettext_lazy("Money a month"), required=False, min_value=0
    )
    currency = forms.ChoiceField(
        label=gettext_lazy("Currency of the limits"),
        required=False,
        choices=[("", gettext_lazy("that of the model’s price")), *CURRENCIES],
    )
    rates = LinesField(
        label=gettext_lazy("Rates of other currencies, one a line"),
        item_length=40,
        most=10,
        rows=2,
        help_text=gettext_lazy(
            "When two servers are paid in different money: what one unit of the other currency is "
            "worth in that of the limits, such as USD 92.5."
        ),
    )
    daily_tokens = forms.IntegerField(
        label=gettext_lazy("Tokens a day"), required=False, min_value=0
    )
    monthly_tokens = forms.IntegerField(
        label=gettext_lazy("Tokens a month"), required=False, min_value=0
    )
    dialog_tokens = forms.IntegerField(
        label=gettext_lazy("Tokens of one dialog"), required=False, min_value=0
    )
    requests_per_minute = forms.IntegerField(
        label=gettext_lazy("Model calls a minute"), min_value=1, max_value=10_000
    )

    def clean_currency(self) -> str | None:
        return self.cleaned_data["currency"] or None

    def clean_rates(self) -> dict[str, float]:
        rates: dict[str, float] = {}
        for number, line in enumerate(self.cleaned_data["rates"], start=1):
            found = RATE.match(line)
            value = float(found[2].replace(",", ".")) if found else 0.0
            if found is None or value <= 0:
                raise ValidationError(
                    _("Line %(line)s: write a rate like “USD 92.5”.") % {"line": number}
                )
            rates[found[1].upper()] = value
        return rates


class SnippetForm(forms.Form):
    title = forms.CharField(label=gettext_lazy("Title"), max_length=200)
    text = forms.CharField(
        label=gettext_lazy("Text"), max_length=20_000, widget=forms.Textarea(attrs={"rows": 8})
    )
    topic = forms.ChoiceField(label=gettext_lazy("Topic"), required=False)
    url = forms.URLField(
        label=gettext_lazy("Link"),
        max_length=1000,
        required=False,
        assume_scheme="https",
        help_text=gettext_lazy("The reply may give it to the client."),
    )
    valid_until = forms.DateField(
        label=gettext_lazy("Valid until"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text=gettext_lazy("After this day it is not used."),
    )
    internal = forms.BooleanField(
        label=gettext_lazy("For operators only: never tell it to clients"), required=False
    )

    def __init__(self, *args: Any, config: PortalConfig, **options: Any) -> None:
        super().__init__(*args, **options)
        field = self.fields["topic"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - tells mypy what it is
        field.choices = [("", _("Any")), *((t.code, t.title) for t in config.topics)]


class ImportForm(forms.Form):
    """A file, a page or a text to be cut into snippets: one of the three."""

    file = forms.FileField(
        label=gettext_lazy("File"),
        required=False,
        widget=forms.ClearableFileInput(attrs={"accept": ".txt,.md,.csv,.html,.htm,.pdf"}),
        help_text=gettext_lazy(
            "Text, Markdown, HTML, PDF, or CSV with the columns question and answer."
        ),
    )
    url = forms.CharField(
        label=gettext_lazy("Or the address of a page"),
        required=False,
        max_length=1000,
        widget=forms.TextInput(attrs={**NO_AUTOFILL, "inputmode": "url"}),
    )
    text = forms.CharField(
        label=gettext_lazy("Or a text"),
        required=False,
        max_length=100_000,
        widget=forms.Textarea(attrs={"rows": 8}),
        help_text=gettext_lazy(
            "Questions and answers, rules, price lists. Headings become titles."
        ),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        given = [name for name in ("file", "url", "text") if data.get(name)]
        if len(given) != 1 and not self.errors:
            raise ValidationError(
                _("Choose a file, enter an address or paste a text: one of them.")
            )
        return data


class ConfigurationFileForm(forms.Form):
    file = forms.FileField(
        label=gettext_lazy("Configuration file"),
        required=False,
        widget=forms.ClearableFileInput(attrs={"accept": ".yaml,.yml"}),
    )
    text = forms.CharField(
        label=gettext_lazy("Or its text"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 6, **NO_AUTOFILL}),
    )


class CasesFileForm(forms.Form):
    file = forms.FileField(
        label=gettext_lazy("File of test cases"),
        required=False,
        widget=forms.ClearableFileInput(attrs={"accept": ".yaml,.yml"}),
    )
    text = forms.CharField(
        label=gettext_lazy("Or its text"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 10, "class": "code", **NO_AUTOFILL}),
    )
