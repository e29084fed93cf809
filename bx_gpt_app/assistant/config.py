"""A portal's configuration as one value: checked whole, exported and imported as YAML.

`PortalConfig` is the file of `manage.py portal export`, the form behind the settings screens and
what the pipeline reads. Secrets are never part of it on the way out: `api_key` is always null
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from django.utils.translation import gettext as _
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from bx_gpt_app.assistant import mistakes
from integrations.llm.prompt import check_variables
from integrations.llm.values import FieldSpec, Topic


def _yaml_off(value: object) -> object:
    """YAML reads a bare `off` as false; it means the word here."""
    return "off" if value is False else value


Mode = Annotated[Literal["off", "suggest", "auto"], BeforeValidator(_yaml_off)]
Policy = Literal["append", "fill_empty", "overwrite"]
ENTITIES = ("lead", "deal", "contact", "company")


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class LineConfig(Part):
    mode: Mode = "suggest"
    working_hours_only: bool = False
    delay_seconds: int = Field(default=0, ge=0, le=120)
    """How long an automatic reply waits, visible to operators, before it goes out."""
    whisper: bool = False
    """Show the suggestion inside the chat as a message that only operators see."""


Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Prices(Part):
    """Money per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    currency: Currency = "USD"


def _extra(**rules: Any) -> Any:
    """A key that the file shows only where it is set."""
    return Field(default=None, exclude_if=lambda value: value is None, **rules)


HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
HeaderValue = Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,2000}$")]


_DEFAULT_PORTS = {"https": 443, "http": 80}


class ModelConfig(Part):
    """One model server. Null means: what the host of this installation set."""

    base_url: str | None = None
    api_key: str | None = Field(default=None, repr=False)
    model: str | None = None
    temperature: float | None = Field(default=0.2, ge=0, le=2)
    preset: str | None = _extra()
    project: str | None = _extra(max_length=200)
    """Yandex: the folder; OpenAI: the project."""
    extra_headers: dict[HeaderName, HeaderValue] | None = _extra(repr=False)
    ca_bundle: str | None = _extra()
    prices: Prices | None = _extra()
    data_leaves_country: bool | None = _extra()
    mask_personal_data: bool | None = _extra()
    """For this server only; null: as `privacy` says."""
    max_in_flight: int | None = _extra(ge=1, le=500)
    deadline_seconds: int | None = _extra(ge=5, le=600)
    max_input_chars: int | None = _extra(ge=2000, le=1_000_000)

    @field_validator("base_url")
    @classmethod
    def _http_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            is_sound = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number, half an IPv6 address
            is_sound = False
        if not is_sound or parts.username:
            raise ValueError(_("must be an address like https://api.openai.com/v1"))
        return value.rstrip("/")

    @property
    def origin(self) -> str:
        """Where a key may travel: scheme, host and port of the server, empty for the host's own."""
        if not self.base_url:
            return ""
        parts = urlsplit(self.base_url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        is_usual = parts.port in (None, _DEFAULT_PORTS[parts.scheme])
        return f"{parts.scheme}://{host}" + ("" if is_usual else f":{parts.port}")


class CheaperConfig(Part):
    """The model that answers when most of a limit is used up: it costs less than the first one."""

    server: Literal["main", "fallback"] = "main"
    model: str | None = None
    """Null: the second server's own model."""
    prices: Prices | None = _extra()
    """Null: the public price of this model, or the second server's own."""


class RouteConfig(ModelConfig):
    """The model that answers, the second one that is used while the first is down, and the one
    that saves money."""

    fallback: ModelConfig | None = None
    cheaper: CheaperConfig | None = _extra()

    @field_validator("cheaper")
    @classmethod
    def _another_model(
        cls, value: CheaperConfig | None, info: ValidationInfo
    ) -> CheaperConfig | None:
        if value and value.server == "fallback" and not info.data.get("fallback"):
            raise ValueError(_("there is no second server (llm.fallback)"))
        if value and value.server == "main" and not value.model:
            raise ValueError(_("needs the name of a model"))
        return value


class ReplyConfig(Part):
    max_length: int = Field(default=600, ge=1)
    debounce_seconds: float = Field(default=2, ge=0, le=60)
    min_confidence: float = Field(default=0.6, ge=0, le=1)
    handoff_message: str = Field(
        default="Передаю вопрос коллеге, он скоро ответит.", max_length=1000
    )
    signature: str = Field(default="", max_length=300)
    contacts: list[str] = Field(default_factory=list, max_length=50)
    """The company's own phones, e-mails and links, which a reply may name besides sources."""
    stop_words: list[str] = Field(default_factory=list, max_length=200)
    """A client's message with one of them is always left to a person."""


class Mapping_(Part):
    """Where a value goes. `from` is a field's name or `topic`."""

    source: str = Field(alias="from", pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")
    entity: str
    to: str = Field(pattern=r"^[A-Z][A-Z0-9_]{0,99}(\+[A-Z][A-Z0-9_]{0,99})?$")
    policy: Policy = "fill_empty"
    confirm: bool = False
    """Always ask the operator first, whatever `crm.write` says."""

    @field_validator("entity", mode="before")
    @classmethod
    def _known_entity(cls, value: object) -> str:
        text = str(value).strip().lower()
        if text in ENTITIES or (text.isdigit() and int(text) > 0):
            return text
        known = ", ".join(ENTITIES)
        raise ValueError(
            _("must be one of: %(known)s, or a smart process's entityTypeId") % {"known": known}
        )


class CrmConfig(Part):
    write: Annotated[Literal["auto", "confirm", "off"], BeforeValidator(_yaml_off)] = "auto"
    timeline_comment: bool = True


class ChannelsConfig(Part):
    """What is listened to besides open lines."""

    email: bool = False
    form: bool = False

    @property
    def any(self) -> bool:
        return self.email or self.form


class SnippetConfig(Part):
    title: str = Field(min_length=1, max_length=200)
    text: str = Field(min_length=1, max_length=20_000)
    url: str = Field(default="", max_length=1000)
    topic: str = Field(default="", max_length=40)
    internal: bool = False
    valid_until: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}-\d{2}$")

    @field_validator("url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError(_("must be an address like https://example.ru/delivery"))
        return value


class PrivacyConfig(Part):
    mask_personal_data: bool = True
    mask_names: bool = Field(default=False, exclude_if=lambda value: not value)


class LimitsConfig(Part):
    monthly_tokens: int | None = Field(default=None, ge=0)
    requests_per_minute: int = Field(default=60, ge=1, le=10_000)
    daily_tokens: int | None = _extra(ge=0)
    monthly_cost: float | None = _extra(ge=0)
    daily_cost: float | None = _extra(ge=0)
    dialog_tokens: int | None = _extra(ge=0)
    currency: Currency | None = _extra()
    """Of the limits of money; null: the currency that the model is paid in."""
    rates: dict[Currency, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, exclude_if=lambda value: not value
    )
    """What one unit of another currency is worth in `currency`."""


DEFAULT_PROMPT = """\
Вы — помощник компании и отвечаете её клиентам в чате. Пишите коротко, вежливо и по делу.
Отвечайте на вопрос клиента, опираясь на базу знаний.
Если ответа в ней нет, задайте уточняющий вопрос или скажите, что передадите вопрос коллеге.
"""
DEFAULT_TOPICS = (
    Topic(code="sales", title="Покупка и цены", description="цена, наличие, заказ, условия"),
    Topic(code="delivery", title="Доставка", description="сроки, стоимость, где заказ"),
    Topic(code="service", title="Установка и ремонт", description="монтаж, поломка, выезд мастера"),
    Topic(
        code="complaint", title="Жалоба", description="недоволен, возврат, претензия", handoff=True
    ),
    Topic(code="other", title="Другое", description="всё остальное"),
)
DEFAULT_FIELDS = (
    FieldSpec(name="name", type="person_name", description="имя клиента"),
    FieldSpec(name="phone", type="phone", description="телефон клиента"),
    FieldSpec(name="email", type="email", description="почта клиента"),
    FieldSpec(name="subject", type="string", description="суть обращения", max_length=120),
)


def _default_mappings() -> tuple[Mapping_, ...]:
    rows = []
    for entity in ("lead", "contact"):
        rows += [
            {"from": "phone", "entity": entity, "to": "PHONE", "policy": "append"},
            {"from": "email", "entity": entity, "to": "EMAIL", "policy": "append"},
            {"from": "name", "entity": entity, "to": "NAME+LAST_NAME", "policy": "fill_empty"},
        ]
    rows += [
        {"from": "phone", "entity": "deal", "to": "PHONE", "policy": "append"},
        {"from": "email", "entity": "deal", "to": "EMAIL", "policy": "append"},
        {"from": "phone", "entity": "company", "to": "PHONE", "policy": "append"},
        {"from": "email", "entity": "company", "to": "EMAIL", "policy": "append"},
    ]
    return tuple(Mapping_.model_validate(row) for row in rows)


class PortalConfig(Part):
    version: Literal[1] = 1
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")] = "ru"
    mode: Mode = "suggest"
    lines: dict[Annotated[str, Field(pattern=r"^[1-9]\d{0,9}$")], LineConfig] = Field(
        default_factory=dict
    )
    llm: RouteConfig = RouteConfig()
    reply: ReplyConfig = ReplyConfig()
    prompt: str = Field(default=DEFAULT_PROMPT, min_length=1, max_length=20_000)
    topics: tuple[Topic, ...] = Field(default=DEFAULT_TOPICS, max_length=30)
    fields: tuple[FieldSpec, ...] = Field(default=DEFAULT_FIELDS, max_length=25)
    mappings: tuple[Mapping_, ...] = Field(default_factory=_default_mappings, max_length=200)
    crm: CrmConfig = CrmConfig()
    channels: ChannelsConfig = ChannelsConfig()
    knowledge: tuple[SnippetConfig, ...] = Field(default=(), max_length=10_000)
    privacy: PrivacyConfig = PrivacyConfig()
    limits: LimitsConfig = LimitsConfig()

    @field_validator("lines", mode="before")
    @classmethod
    def _line_numbers_as_text(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return {str(key): line for key, line in value.items()}
        return value

    @field_validator("prompt")
    @classmethod
    def _known_variables(cls, value: str) -> str:
        told = _("line %(n)s: unknown variable %(name)s")
        wrong = [told % {"n": one.line, "name": one.name} for one in check_variables(value)]
        if wrong:
            raise ValueError("; ".join(wrong))
        return value

    def line(self, line_id: int | None) -> LineConfig:
        """How the assistant behaves in a line: its own entry, else the portal's mode."""
        return self.lines.get(str(line_id)) or LineConfig(mode=self.mode)

    def topic(self, code: str | None) -> Topic | None:
        return next((topic for topic in self.topics if topic.code == code), None)

    def without_secrets(self) -> PortalConfig:
        """The same with every key and header gone: what may be shown and exported."""
        hidden = {"api_key": None, "extra_headers": None}
        fallback = self.llm.fallback.model_copy(update=hidden) if self.llm.fallback else None
        route = self.llm.model_copy(update={**hidden, "fallback": fallback})
        return self.model_copy(update={"llm": route})


class ConfigProblems(ValueError):
    """Everything that is wrong with a configuration, one line each with its path."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def _entries(data: Mapping[str, Any], name: str, default: Iterable[BaseModel]) -> list[Any]:
    """The rows of a list as they stand in the file, well-formed or not; else the defaults."""
    rows = data.get(name)
    if rows is None:
        return [entry.model_dump(by_alias=True) for entry in default]
    return [row if isinstance(row, Mapping) else {} for row in rows] if _is_list(rows) else []


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _cross_references(data: Mapping[str, Any]) -> list[str]:
    """Names that are used twice or point nowhere. Reads the raw file, so that these mistakes are
    told together with those of form."""
    topics = _entries(data, "topics", DEFAULT_TOPICS)
    fields = _entries(data, "fields", DEFAULT_FIELDS)
    problems = [*_repeated("topics", "code", topics), *_repeated("fields", "name", fields)]
    for position, field in enumerate(fields):
        if field.get("type") == "choice" and not field.get("choices"):
            what = _("a choice needs at least one")
            problems.append(f"fields[{position}].choices: {what}")
        if field.get("name") == "topic":
            what = _("'topic' is taken by the topic itself")
            problems.append(f"fields[{position}].name: {what}")
    known = {field.get("name") for field in fields} | {"topic"}
    for position, mapping in enumerate(_entries(data, "mappings", ())):
        source = mapping.get("from", mapping.get("source"))
        if source is not None and source not in known:
            what = _("there is no field '%(name)s'") % {"name": source}
            problems.append(f"mappings[{position}].from: {what}")
    codes = {topic.get("code") for topic in topics} | {"", None}
    for position, snippet in enumerate(_entries(data, "knowledge", ())):
        if snippet.get("topic") not in codes:
            what = _("there is no topic '%(name)s'") % {"name": snippet["topic"]}
            problems.append(f"knowledge[{position}].topic: {what}")
    return problems


def _repeated(where: str, key: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    seen: set[str] = set()
    problems = []
    for position, row in enumerate(rows):
        name = row.get(key)
        if isinstance(name, str) and name in seen:
            what = _("'%(name)s' is used twice") % {"name": name}
            problems.append(f"{where}[{position}].{key}: {what}")
        seen.add(str(name))
    return problems


def check_config(data: object) -> PortalConfig:
    """Raises: ConfigProblems with all mistakes at once."""
    if not isinstance(data, Mapping):
        raise ConfigProblems([_("file: must be a mapping of keys such as version, mode, prompt")])
    problems = _cross_references(data)
    config = None
    try:
        config = PortalConfig.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems += [mistakes.in_words(mistake, PortalConfig) for mistake in found]
    if config is None or problems:
        raise ConfigProblems(problems)
    return config


SECTIONS = ("llm", "reply", "crm", "channels", "privacy", "limits")
"""Parts whose own keys may be left out of a file; lists and lines are taken whole."""


def read_yaml(text: str, onto: PortalConfig | None = None) -> PortalConfig:
    """The configuration in a file; what the file leaves out stays as it is in `onto`.

    Raises: ConfigProblems (with the line of a YAML mistake).
    """
    try:
        data = yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigProblems([mistakes.yaml_in_words(error)]) from None
    except RecursionError:
        raise ConfigProblems([_("file: nested too deeply")]) from None
    if onto is not None and isinstance(data, Mapping):
        data = _laid_over(as_document(onto.without_secrets()), data)
    return check_config(data)


def _laid_over(stored: dict[str, Any], told: Mapping[Any, Any]) -> dict[Any, Any]:
    whole: dict[Any, Any] = {**stored, **told}
    for name in SECTIONS:
        if isinstance(told.get(name), Mapping):
            whole[name] = {**stored[name], **told[name]}
    if isinstance(told.get("llm"), Mapping) and "base_url" in told["llm"]:
        # Another server does not inherit the prices, the folder or the certificates of the old one.
        old = stored["llm"]
        if str(told["llm"]["base_url"] or "").rstrip("/") != (old["base_url"] or ""):
            kept = {name: old[name] for name in ("fallback", "cheaper") if name in old}
            whole["llm"] = {**kept, **told["llm"]}
    return whole


class Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: the first of them would be lost in silence. Refuses
    references too: a few lines of them would fill the memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "references (*name) are not read", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _value in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' stands twice", key_node.start_mark
                )
            seen.add(key if isinstance(key, str | int) else str(key))
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks, so that a prompt stays readable in a diff."""


def _block_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _block_text)


def as_document(config: PortalConfig) -> dict[str, Any]:
    """Plain data of the file: aliases as in the contract, tuples as lists."""
    return config.model_dump(mode="json", by_alias=True)


def write_yaml(config: PortalConfig) -> str:
    """The file without secrets; reading it back gives an equal configuration."""
    return yaml.dump(
        as_document(config.without_secrets()),
        Dumper=_Dumper,
        allow_unicode=True,
        sort_keys=False,
        width=100,
    )
