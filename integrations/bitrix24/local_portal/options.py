"""What a local portal is like: its people, lines, fields, limits and habits."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Literal

SCOPES = (
    "crm",
    "im",
    "imbot",
    "imopenlines",
    "placement",
    "bizproc",
    "user_brief",
    "user_basic",
    "userfieldconfig",
    "contact_center",
)


@dataclass(frozen=True, slots=True)
class Employee:
    """A person who works in the portal."""

    id: int
    name: str
    last_name: str = ""
    admin: bool = False
    work_position: str = ""
    email: str = ""
    gender: Literal["M", "F", ""] = ""
    crm_access: bool = True
    app_access: bool = True


@dataclass(frozen=True, slots=True)
class LineOptions:
    """An open line. `settings` are its initial `imopenlines.config.*` values."""

    id: int
    name: str
    queue: tuple[int, ...] = (7,)
    settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UserField:
    """A custom field of a CRM type; `choices` are (id, title) of an enumeration."""

    name: str
    type: str
    title: str
    multiple: bool = False
    choices: tuple[tuple[int, str], ...] = ()
    settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SmartType:
    """A smart process: `id` names its custom fields, `entity_type_id` its items."""

    id: int
    entity_type_id: int
    title: str


PEOPLE = (
    Employee(1, "Анна", "Иванова", admin=True, work_position="Администратор", gender="F"),
    Employee(7, "Ольга", "Смирнова", work_position="Оператор", gender="F"),
    Employee(8, "Сергей", "Кузнецов", work_position="Оператор", gender="M"),
    Employee(9, "Пётр", "Посторонний", work_position="Бухгалтер", gender="M", crm_access=False),
)

LINES = (
    LineOptions(22, "Сайт и мессенджеры", queue=(7,)),
    LineOptions(23, "Сервис", queue=(7, 8)),
)


def _usual_fields(first_choice: int) -> tuple[UserField, ...]:
    return (
        UserField(
            "UF_CRM_TOPIC",
            "enumeration",
            "Тема обращения",
            choices=(
                (first_choice, "Установка оборудования"),
                (first_choice + 1, "Ремонт"),
                (first_choice + 2, "Доставка"),
                (first_choice + 3, "Консультация"),
            ),
        ),
        UserField(
            "UF_CRM_EQUIPMENT",
            "enumeration",
            "Оборудование",
            multiple=True,
            choices=((first_choice + 10, "котёл"), (first_choice + 11, "бойлер")),
        ),
        UserField("UF_CRM_SUBJECT", "string", "Суть обращения"),
        UserField("UF_CRM_ADDRESS", "address", "Адрес"),
        UserField("UF_CRM_VISIT", "date", "Дата визита"),
        UserField("UF_CRM_VISIT_AT", "datetime", "Время визита"),
        UserField("UF_CRM_BUDGET", "money", "Бюджет"),
        UserField("UF_CRM_AREA", "double", "Площадь"),
        UserField("UF_CRM_URGENT", "boolean", "Срочно"),
        UserField("UF_CRM_SITE", "url", "Сайт"),
    )


USER_FIELDS: dict[int, tuple[UserField, ...]] = {
    1: _usual_fields(79),
    2: _usual_fields(179),
    3: (UserField("UF_CRM_CITY", "string", "Город"),),
    128: (
        UserField("UF_CRM_3_1747309727", "string", "Что сделать"),
        UserField("UF_CRM_3_DIGIT", "double", "Количество"),
    ),
}


@dataclass(frozen=True, slots=True)
class PortalOptions:
    """How a local portal looks and behaves. The defaults are a calm cloud portal.

    `rate`/`burst` are the leaky bucket (requests per second, size); None switches it off, as on a
    self-hosted portal. `app_base_url` is where the application listens; the addresses of the
    installer, of the main page and of the OAuth callback are made from it and `app_code`.
    With `whispers_leak` the portal forgets SKIP_CONNECTOR, so that clients see whispers of bots.
    """

    host: str = "127.0.0.1"
    port: int = 0
    domain: str = ""
    member_id: str = field(default_factory=lambda: secrets.token_hex(16))
    client_id: str = "local.66f0c0ffee0001.12345678"
    client_secret: str = "local-portal-client-secret"  # noqa: S105 - not a secret of anybody
    application_token: str = field(default_factory=lambda: secrets.token_hex(16))
    app_base_url: str = "http://127.0.0.1:8000"
    app_code: str = "default"
    app_title: str = "ИИ-помощник"
    language: str = "ru"
    status: str = "L"
    licence: str = "ru_pro100"
    utc_offset_hours: int = 3
    scopes: tuple[str, ...] = SCOPES
    token_lifetime_seconds: int = 3600

    rate: float | None = 2.0
    burst: float | None = 50.0
    latency_ms: float = 0.0
    operating_limit_seconds: float | None = None

    legacy_bots: bool = False
    bot_revision: int = 36
    whispers_leak: bool = False
    taken_bot_codes: frozenset[str] = frozenset()
    crm_mode: Literal["classic", "simple"] = "classic"
    crm_binding_delay_seconds: float = 0.0

    deliver_duplicates: float = 0.0
    reorder_seconds: float = 0.0
    event_delay_seconds: float = 0.0
    event_timeout_seconds: float = 30.0
    event_workers: int = 4
    events_carry_tokens: bool = True

    people: tuple[Employee, ...] = PEOPLE
    lines: tuple[LineOptions, ...] = LINES
    user_fields: dict[int, tuple[UserField, ...]] = field(default_factory=lambda: USER_FIELDS)
    smart_types: tuple[SmartType, ...] = (SmartType(3, 128, "Заявки на монтаж"),)

    control: bool | None = None
    control_key: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    log_size: int = 5000

    @property
    def control_enabled(self) -> bool:
        """Control over HTTP is on by default only for a portal nobody else can reach."""
        if self.control is not None:
            return self.control
        return self.host in {"127.0.0.1", "::1", "localhost"}

    @property
    def app_root(self) -> str:
        return f"{self.app_base_url.rstrip('/')}/b24/{self.app_code}/"
