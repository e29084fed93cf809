"""Which model servers there are and how they differ; a preset is a prior, not a promise."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, SecretStr

from integrations.llm.schema import Dialect
from integrations.llm.values import Frozen

LimitField = Literal["max_tokens", "max_completion_tokens"]
Step = Literal["json_schema", "tool", "json_object", "text"]
CHAT_DEADLINE_SECONDS = 45.0
LOCAL_DEADLINE_SECONDS = 120.0
SHARED_PLACES = 40
"""A server that takes more calls at once than this has no fixed number of places for us: each
process counts its own, which costs nothing."""


class Shape(StrEnum):
    """Ways to ask for a structure, strongest first."""

    JSON_SCHEMA = "json_schema"
    """`{"type": "json_schema", "json_schema": {"name", "strict", "schema"}}`"""
    SCHEMA_BARE = "json_schema_bare"
    """`{"type": "json_schema", "json_schema": <the schema itself>}`"""
    SCHEMA_FLAT = "json_schema_flat"
    """`{"type": "json_schema", "schema": …}`"""
    OBJECT_SCHEMA = "json_object_schema"
    """`{"type": "json_object", "schema": …}`"""
    TOOL = "tool"
    """One function that must be called."""
    JSON_OBJECT = "json_object"
    """`{"type": "json_object"}`, the schema is in the prompt."""
    TEXT = "text"
    """Nothing but the prompt."""

    @property
    def carries_schema(self) -> bool:
        return self not in (Shape.JSON_OBJECT, Shape.TEXT)

    @property
    def how(self) -> Step:
        """Name of the step for statistics: the four schema shapes are one."""
        match self:
            case Shape.TOOL:
                return "tool"
            case Shape.JSON_OBJECT:
                return "json_object"
            case Shape.TEXT:
                return "text"
            case _:
                return "json_schema"


SCHEMA_SHAPES = (
    Shape.JSON_SCHEMA, Shape.SCHEMA_BARE, Shape.SCHEMA_FLAT, Shape.OBJECT_SCHEMA,
)  # fmt: skip
WHOLE_LADDER = tuple(Shape)


class Capabilities(Frozen):
    """What a server was seen to do. `None` means "not looked at"."""

    shape: Shape
    """The strongest shape that works."""
    enforced: bool = False
    """Does the server make the model follow the schema, or only accept it?"""
    limit_field: LimitField | None = None
    temperature: bool = True
    """May the temperature be set?"""
    rejected: tuple[Shape, ...] = ()
    ignored: tuple[Shape, ...] = ()
    """Shapes that were accepted without effect."""
    usage: bool | None = None
    usage_in_stream: bool | None = None
    seed: bool | None = None
    logprobs: bool | None = None
    models: tuple[str, ...] = ()
    prompt_tokens: int | None = None
    answered_in_ms: int | None = None
    probed: bool = False
    """Learned by a probe, not only by the way."""
    notes: tuple[str, ...] = ()
    """Codes of what else was noticed: keys of `WORDS`."""

    def in_words(self, language: str) -> str:
        """The result of a connection test as one line for an admin; ru or en."""
        words = WORDS["ru" if language == "ru" else "en"]
        state = "enforced" if self.enforced else "believed" if not self.probed else "not_enforced"
        parts = [f"{words[self.shape.how]}: {words[state]}"]
        if self.limit_field:
            parts.append(f"{words['limit']}: {self.limit_field}")
        if self.answered_in_ms is not None:
            seconds = f"{max(self.answered_in_ms, 100) / 1000:.1f}"
            decimal = seconds.replace(".", ",") if language == "ru" else seconds
            parts.append(f"{words['answered']} {decimal} {words['s']}")
        if self.prompt_tokens is not None:
            parts.append(f"{words['prompt']}: {self.prompt_tokens}")
        parts.extend(words[note] for note in self.notes if note in words)
        return "; ".join(parts)


WORDS: Mapping[str, Mapping[str, str]] = {
    "ru": {
        "json_schema": "ответ по схеме", "tool": "вызов функции", "json_object": "JSON без схемы",
        "text": "просим словами", "enforced": "сервер следит сам",
        "not_enforced": "проверяем и исправляем сами", "believed": "ещё не проверено",
        "limit": "ограничение длины", "answered": "ответил за", "s": "с",
        "prompt": "токенов в запросе", "no_usage": "сервер не считает токены, оценим сами",
        "wrong_template": "похоже, у модели неверный шаблон чата",
        "limit_ignored": "ограничение длины не действует",
        "no_temperature": "температура не настраивается",
        "unsure": "часть проверок не удалась, повторите позже",
    },
    "en": {
        "json_schema": "answer by schema", "tool": "function call", "json_object": "plain JSON",
        "text": "asked in words", "enforced": "enforced", "not_enforced": "checked and mended here",
        "believed": "not tested yet", "limit": "limit field", "answered": "answered in", "s": "s",
        "prompt": "prompt tokens", "no_usage": "the server counts no tokens, we will estimate",
        "wrong_template": "the model's chat template looks wrong",
        "limit_ignored": "the length limit has no effect",
        "no_temperature": "the temperature cannot be set",
        "unsure": "some checks failed, repeat them later",
    },
}  # fmt: skip


class Prices(Frozen):
    """Money per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    currency: str = "USD"


class Preset(Frozen):
    """What is known about a kind of server before it was ever called."""

    title: str
    base_url: str = ""
    hosts: tuple[str, ...] = ()
    """Ends of host names that belong to it."""
    models: tuple[str, ...] = ()
    """Examples for the settings screen."""
    shapes: tuple[Shape, ...] = WHOLE_LADDER
    dialect: Dialect = "strict"
    limit_field: LimitField = "max_tokens"
    headers: Mapping[str, str] = Field(default_factory=dict)
    body: Mapping[str, JsonValue] = Field(default_factory=dict)
    needs_key: bool = True
    needs_project: bool = False
    leaves_country: bool = True
    """Does personal data cross the Russian border?"""
    max_in_flight: int = 50
    deadline_seconds: float = CHAT_DEADLINE_SECONDS
    max_input_chars: int = 60_000


A, B, C, D = SCHEMA_SHAPES
TOOL, OBJECT, TEXT = Shape.TOOL, Shape.JSON_OBJECT, Shape.TEXT

PRESETS: Mapping[str, Preset] = {
    "openai": Preset(
        title="OpenAI",
        base_url="https://api.openai.com/v1",
        hosts=("api.openai.com",),
        models=("gpt-4o-mini", "gpt-4.1-mini", "gpt-5-mini"),
        shapes=(A, TOOL, OBJECT, TEXT),
        limit_field="max_completion_tokens",
    ),
    "azure": Preset(
        title="Azure OpenAI",
        base_url="https://RESOURCE.openai.azure.com/openai/v1",
        hosts=("openai.azure.com", "services.ai.azure.com"),
        models=("gpt-4o-mini", "gpt-4.1-mini"),
        shapes=(A, TOOL, OBJECT, TEXT),
        limit_field="max_completion_tokens",
    ),
    "yandex": Preset(
        title="Yandex AI Studio",
        base_url="https://llm.api.cloud.yandex.net/v1",
        hosts=("api.cloud.yandex.net", "ai.api.cloud.yandex.net"),
        models=("yandexgpt/latest", "yandexgpt-lite/latest", "qwen3-235b-a22b-fp8/latest"),
        shapes=(A, B, OBJECT, TEXT),
        # Requests are kept by the service unless this header is sent.
        headers={"x-data-logging-enabled": "false"},
        needs_project=True,
        leaves_country=False,
        max_in_flight=10,
    ),
    "gigachat": Preset(
        title="GigaChat (gpt2giga)",
        base_url="http://127.0.0.1:8090/v1",
        models=("GigaChat-2", "GigaChat-2-Pro", "GigaChat-2-Max"),
        shapes=(A, TOOL, TEXT),
        needs_key=False,
        leaves_country=False,
        max_in_flight=10,
    ),
    "deepseek": Preset(
        title="DeepSeek",
        base_url="https://api.deepseek.com/v1",
        hosts=("api.deepseek.com",),
        models=("deepseek-v4-flash", "deepseek-v4-pro"),
        shapes=(OBJECT, TEXT),
        # Thinking is on by default and is paid for.
        body={"thinking": {"type": "disabled"}},
    ),
    "qwen": Preset(
        title="Qwen (DashScope)",
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        hosts=("aliyuncs.com",),
        models=("qwen-plus", "qwen3.5-flash"),
        shapes=(A, OBJECT, TEXT),
    ),
    "openrouter": Preset(
        title="OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        hosts=("openrouter.ai",),
        models=("openai/gpt-4o-mini", "qwen/qwen3-235b-a22b"),
        shapes=(A, TOOL, OBJECT, TEXT),
        # Otherwise a route that does not know response_format drops it in silence.
        body={"provider": {"require_parameters": True}},
    ),
    "mistral": Preset(
        title="Mistral",
        base_url="https://api.mistral.ai/v1",
        hosts=("api.mistral.ai",),
        models=("mistral-small-latest", "mistral-large-latest"),
        shapes=(A, OBJECT, TEXT),
    ),
    "ollama": Preset(
        title="Ollama",
        base_url="http://127.0.0.1:11434/v1",
        models=("qwen3:8b", "gemma3:12b", "llama3.1:8b"),
        shapes=(A, OBJECT, TEXT),
        dialect="rich",
        needs_key=False,
        leaves_country=False,
        max_in_flight=1,
        deadline_seconds=LOCAL_DEADLINE_SECONDS,
        max_input_chars=20_000,
    ),
    "vllm": Preset(
        title="vLLM",
        base_url="http://127.0.0.1:8000/v1",
        models=("Qwen/Qwen3-8B",),
        shapes=(A, TOOL, OBJECT, TEXT),
        dialect="rich",
        limit_field="max_completion_tokens",
        needs_key=False,
        leaves_country=False,
        max_in_flight=32,
        deadline_seconds=LOCAL_DEADLINE_SECONDS,
    ),
    "llamacpp": Preset(
        title="llama.cpp",
        base_url="http://127.0.0.1:8080/v1",
        models=("local",),
        # The flat shape is documented but was seen to have no effect.
        shapes=(A, D, OBJECT, TEXT),
        dialect="rich",
        needs_key=False,
        leaves_country=False,
        max_in_flight=1,
        deadline_seconds=LOCAL_DEADLINE_SECONDS,
        max_input_chars=12_000,
    ),
    "transformers": Preset(
        title="HuggingFace transformers serve",
        base_url="http://127.0.0.1:8000/v1",
        models=("Qwen/Qwen2.5-1.5B-Instruct",),
        # response_format is accepted and has no effect; too long a prompt blocks the whole server.
        shapes=(TEXT,),
        dialect="rich",
        needs_key=False,
        leaves_country=False,
        max_in_flight=1,
        deadline_seconds=LOCAL_DEADLINE_SECONDS,
        max_input_chars=12_000,
    ),
    "lmstudio": Preset(
        title="LM Studio",
        base_url="http://127.0.0.1:1234/v1",
        models=("qwen2.5-7b-instruct",),
        shapes=(A, TOOL, TEXT),
        dialect="rich",
        needs_key=False,
        leaves_country=False,
        max_in_flight=1,
        deadline_seconds=LOCAL_DEADLINE_SECONDS,
        max_input_chars=20_000,
    ),
    "other": Preset(title="OpenAI-compatible server", needs_key=False),
}

LOCAL_PORTS: Mapping[int, str] = {11434: "ollama", 1234: "lmstudio", 8090: "gigachat"}
"""Ports that say what a server without a telling name is."""

OWN_ENDINGS = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
"""Names that only a private network gives out (RFC 6761, 6762, 8375; ICANN's `.internal`)."""


class Provider(Frozen):
    """One configured model on one server."""

    kind: str = "other"
    base_url: str
    """As far as `/v1`; never taken from the environment."""
    api_key: SecretStr = SecretStr("")
    """Empty: the server wants none, and no Authorization header is sent."""
    model: str
    temperature: float | None = Field(default=0.2, ge=0, le=2)
    organization: str = ""
    project: str = ""
    """Yandex: the folder."""
    extra_headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    extra_body: Mapping[str, JsonValue] = Field(default_factory=dict)
    ca_bundle: str = Field(default="", repr=False)
    """PEM text of additional certificate authorities (the Russian state CA for GigaChat)."""
    prices: Prices | None = None
    leaves_country: bool = True
    mask: bool | None = None
    """Replace personal data in what this server gets? None: as the question says."""
    max_in_flight: int = Field(default=50, ge=1)
    """Calls at once to this account. Up to `SHARED_PLACES` are counted over all processes."""
    deadline_seconds: float = Field(default=CHAT_DEADLINE_SECONDS, gt=0)
    max_input_chars: int = Field(default=60_000, ge=1000)
    limit_field: LimitField | None = None
    capabilities: Capabilities | None = None

    @property
    def preset(self) -> Preset:
        return PRESETS.get(self.kind, PRESETS["other"])

    @property
    def origin(self) -> str:
        """Scheme, host and port of the server: where the words of clients go to."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def is_own_network(self) -> bool:
        """Do the words of clients stay on this machine or in the network around it?"""
        return is_own_network(self.base_url)

    @property
    def account(self) -> str:
        """Name of this server and account. A changed key, header or certificate is another one.

        Nothing in it can be turned back into the key.
        """
        headers = tuple(sorted(self.extra_headers.items()))
        secret = repr((self.api_key.get_secret_value(), self.project, headers, self.ca_bundle))
        digest = hashlib.sha256(secret.encode()).hexdigest()[:16]
        return f"{self.base_url.rstrip('/')}|{digest}"

    @property
    def key(self) -> str:
        """Name of server, account and model: what a circuit and learned abilities belong to."""
        return f"{self.account}|{self.model}"

    @property
    def model_on_server(self) -> str:
        """The name that the server knows: Yandex wants the folder in it."""
        if self.kind == "yandex" and self.project and "://" not in self.model:
            return f"gpt://{self.project}/{self.model}"
        return self.model


def preset_for(base_url: str) -> str:
    """Kind of the server at this address, "other" when nothing gives it away."""
    try:
        parts = urlsplit(base_url)
        host, port = (parts.hostname or "").casefold(), parts.port
    except ValueError:
        return "other"
    for kind, preset in PRESETS.items():
        if any(host == end or host.endswith("." + end) for end in preset.hosts):
            return kind
    return LOCAL_PORTS.get(port or 0, "other")


def provider(
    *, base_url: str, model: str, api_key: str = "", kind: str = "", **more: Any
) -> Provider:
    """A provider with everything its preset knows; whatever is passed explicitly wins."""
    kind = kind or preset_for(base_url)
    preset = PRESETS.get(kind, PRESETS["other"])
    local = is_own_network(base_url)
    known: dict[str, Any] = {
        "leaves_country": preset.leaves_country and not local,
        "max_in_flight": preset.max_in_flight,
        "deadline_seconds": preset.deadline_seconds,
        "max_input_chars": preset.max_input_chars,
    }
    return Provider.model_validate(
        {
            **known,
            **more,
            "kind": kind,
            "base_url": base_url or preset.base_url,
            "api_key": SecretStr(api_key),
            "model": model,
            # Headers and body are merged: the preset's part (no logging, no thinking) must survive
            # an admin who adds one of his own.
            "extra_headers": {**preset.headers, **more.get("extra_headers", {})},
            "extra_body": {**preset.body, **more.get("extra_body", {})},
        }
    )


def is_own_network(base_url: str) -> bool:
    """Is it this machine or a private network, as far as the address itself tells?"""
    try:
        host = (urlsplit(base_url).hostname or "").casefold()
    except ValueError:
        return False
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        # A name without a dot, or under an ending that the public network does not have.
        return bool(host) and ("." not in host or host.endswith(OWN_ENDINGS))
