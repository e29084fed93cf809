"""The CRM's field catalogue and directories, and the names fields have in each API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LEAD, DEAL, CONTACT, COMPANY = 1, 2, 3, 4

TYPE_NAMES = {LEAD: "LEAD", DEAL: "DEAL", CONTACT: "CONTACT", COMPANY: "COMPANY"}
WITH_PHONES = {LEAD, CONTACT, COMPANY}
MULTIFIELD_LIMIT = 250  # crm/lib/fieldmultitable.php


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field. `name` is what `crm.item.*` calls it, `upper` what the legacy methods do."""

    name: str
    upper: str
    type: str
    title: str
    multiple: bool = False
    read_only: bool = False
    immutable: bool = False
    required: bool = False
    status_type: str = ""
    max_length: int = 0
    choices: tuple[tuple[int, str], ...] = ()
    custom: bool = False
    settings: dict[str, Any] = field(default_factory=dict, hash=False)

    def describe(self, *, legacy: bool) -> dict[str, Any]:
        """Source: api-reference/crm/universal/crm-item-fields, api-reference/crm/leads"""
        shown = self.upper if legacy and self.custom else self.title
        about: dict[str, Any] = {
            "type": self.type,
            "isRequired": self.required,
            "isReadOnly": self.read_only,
            "isImmutable": self.immutable,
            "isMultiple": self.multiple,
            "isDynamic": self.custom,
            "title": shown,
        }
        if self.status_type:
            about["statusType"] = self.status_type
        if self.custom:
            about |= {"listLabel": self.title, "formLabel": self.title, "filterLabel": self.title}
            about["settings"] = dict(self.settings)
        if self.choices:
            about["items"] = [{"ID": str(key), "VALUE": text} for key, text in self.choices]
        if not legacy:
            about["upperName"] = self.upper
        return about


def _upper(name: str) -> str:
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in name).upper()


def spec(name: str, type_: str, title: str, **more: Any) -> FieldSpec:
    upper = more.pop("upper", "") or _upper(name)
    return FieldSpec(name, upper, type_, title, **more)


def _person() -> tuple[FieldSpec, ...]:
    return (
        spec("honorific", "crm_status", "Обращение", status_type="HONORIFIC"),
        spec("name", "string", "Имя", max_length=50),
        spec("secondName", "string", "Отчество", max_length=50),
        spec("lastName", "string", "Фамилия", max_length=50),
        spec("birthdate", "date", "Дата рождения"),
        spec("post", "string", "Должность", max_length=255),
    )


def _common(*, created: str = "DATE_CREATE", updated: str = "DATE_MODIFY") -> tuple[FieldSpec, ...]:
    return (
        spec("id", "integer", "ID", read_only=True),
        spec("createdTime", "datetime", "Дата создания", upper=created, read_only=True),
        spec("updatedTime", "datetime", "Дата изменения", upper=updated, read_only=True),
        spec("createdBy", "user", "Кем создан", upper="CREATED_BY_ID", read_only=True),
        spec("updatedBy", "user", "Кем изменён", upper="MODIFY_BY_ID", read_only=True),
        spec("assignedById", "user", "Ответственный"),
        spec("opened", "boolean", "Доступен для всех"),
        spec("comments", "text", "Комментарий"),
        spec("sourceId", "crm_status", "Источник", status_type="SOURCE"),
        spec("sourceDescription", "text", "Дополнительно об источнике"),
        spec("originatorId", "string", "Внешний источник", max_length=255),
        spec("originId", "string", "Идентификатор во внешнем источнике", max_length=255),
        spec("webformId", "integer", "CRM-форма", read_only=True),
        spec("observers", "user", "Наблюдатели", multiple=True),
        *(
            spec(f"utm{tail}", "string", f"UTM {tail}", upper=f"UTM_{tail.upper()}")
            for tail in ("Source", "Medium", "Campaign", "Content", "Term")
        ),
    )


def _money() -> tuple[FieldSpec, ...]:
    return (
        spec("opportunity", "double", "Сумма"),
        spec("currencyId", "crm_currency", "Валюта"),
        spec("isManualOpportunity", "boolean", "Сумма задана вручную"),
    )


def _clients() -> tuple[FieldSpec, ...]:
    return (
        spec("companyId", "crm_company", "Компания"),
        spec("contactId", "crm_contact", "Контакт"),
        spec("contactIds", "crm_contact", "Контакты", multiple=True),
    )


def _stage(upper: str, directory: str) -> tuple[FieldSpec, ...]:
    semantic = "STATUS_SEMANTIC_ID" if upper == "STATUS_ID" else "STAGE_SEMANTIC_ID"
    return (
        spec("stageId", "crm_status", "Стадия", upper=upper, status_type=directory),
        spec("stageSemanticId", "string", "Группа стадии", upper=semantic, read_only=True),
    )


BUILT_IN: dict[int, tuple[FieldSpec, ...]] = {
    LEAD: (
        spec("title", "string", "Название лида", max_length=255),
        *_person(),
        spec("companyTitle", "string", "Название компании", max_length=255),
        *_stage("STATUS_ID", "STATUS"),
        spec("statusDescription", "text", "Дополнительно о стадии"),
        *_money(),
        *_clients(),
        *_common(),
    ),
    DEAL: (
        spec("title", "string", "Название", max_length=255),
        spec("typeId", "crm_status", "Тип", status_type="DEAL_TYPE"),
        spec("categoryId", "crm_category", "Воронка", immutable=True),
        *_stage("STAGE_ID", "DEAL_STAGE"),
        spec("probability", "integer", "Вероятность"),
        *_money(),
        *_clients(),
        spec("begindate", "date", "Дата начала"),
        spec("closedate", "date", "Дата завершения"),
        spec("additionalInfo", "text", "Дополнительная информация"),
        spec("leadId", "crm_lead", "Лид", read_only=True),
        *_common(),
    ),
    CONTACT: (
        *_person(),
        spec("typeId", "crm_status", "Тип контакта", status_type="CONTACT_TYPE"),
        spec("companyId", "crm_company", "Компания"),
        spec("companyIds", "crm_company", "Компании", multiple=True),
        spec("export", "boolean", "Участвует в экспорте"),
        spec("leadId", "crm_lead", "Лид", read_only=True),
        *_common(),
    ),
    COMPANY: (
        spec("title", "string", "Название компании", max_length=255),
        spec(
            "typeId", "crm_status", "Тип компании", upper="COMPANY_TYPE", status_type="COMPANY_TYPE"
        ),
        spec("industry", "crm_status", "Сфера деятельности", status_type="INDUSTRY"),
        spec("employees", "crm_status", "Количество сотрудников", status_type="EMPLOYEES"),
        spec("revenue", "double", "Годовой оборот"),
        *_common(),
    ),
}


def smart_specs(entity_type_id: int) -> tuple[FieldSpec, ...]:
    """Built-in fields of a smart process' items."""
    return (
        spec("title", "string", "Название", max_length=255),
        spec("categoryId", "crm_category", "Воронка", immutable=True),
        *_stage("STAGE_ID", f"DYNAMIC_{entity_type_id}_STAGE_1"),
        *_money(),
        *_clients(),
        spec("begindate", "date", "Дата начала"),
        spec("closedate", "date", "Дата завершения"),
        *_common(created="CREATED_TIME", updated="UPDATED_TIME"),
    )


def camel_of(uf_name: str) -> str:
    """The name `crm.item.*` gives a custom field without `useOriginalUfNames`.

    Source: api-reference/crm/universal/index
    """
    tail = uf_name.removeprefix("UF_CRM_")
    parts = tail.split("_")
    plain = all(part.isdigit() or part.isalpha() for part in parts)
    if not plain or (len(parts) == 1 and tail.isdigit()):
        return f"ufCrm_{tail}"
    name = "ufCrm"
    for part in parts:
        if part.isdigit() and name[-1].isdigit():
            name += f"_{part}"
        else:
            name += part if part.isdigit() else part.capitalize()
    return name


@dataclass(frozen=True, slots=True)
class Status:
    """One entry of a directory."""

    id: int
    directory: str
    code: str
    title: str
    sort: int
    semantics: str = ""
    category_id: int | None = None


def _directory(
    name: str, *entries: tuple[str, str], semantics: dict[str, str] | None = None
) -> list[tuple[str, str, str, str]]:
    return [(name, code, title, (semantics or {}).get(code, "")) for code, title in entries]


def directories(smart_type_ids: tuple[int, ...]) -> list[Status]:
    """All directories of a fresh portal. Source: api-reference/crm/status"""
    rows = [
        *_directory(
            "SOURCE",
            ("CALL", "Звонок"),
            ("EMAIL", "Электронная почта"),
            ("WEB", "Веб-сайт"),
            ("ADVERTISING", "Реклама"),
            ("PARTNER", "Существующий клиент"),
            ("RECOMMENDATION", "По рекомендации"),
            ("TRADE_SHOW", "Выставка"),
            ("WEBFORM", "CRM-форма"),
            ("CALLBACK", "Обратный звонок"),
            ("RC_GENERATOR", "Генератор продаж"),
            ("STORE", "Интернет-магазин"),
            ("OTHER", "Другое"),
        ),
        *_directory(
            "STATUS",
            ("NEW", "Новый"),
            ("IN_PROCESS", "В работе"),
            ("PROCESSED", "Обработан"),
            ("JUNK", "Некачественный лид"),
            ("CONVERTED", "Качественный лид"),
            semantics={"JUNK": "F", "CONVERTED": "S"},
        ),
        *_deal_stages("DEAL_STAGE", ""),
        *_deal_stages("DEAL_STAGE_1", "C1:"),
        *_directory("DEAL_TYPE", ("SALE", "Продажа"), ("SERVICE", "Сервисное обслуживание")),
        *_directory("CONTACT_TYPE", ("CLIENT", "Клиенты"), ("SUPPLIER", "Поставщики")),
        *_directory("COMPANY_TYPE", ("CUSTOMER", "Клиент"), ("SUPPLIER", "Поставщик")),
        *_directory("INDUSTRY", ("IT", "Информационные технологии"), ("OTHER", "Другое")),
        *_directory("EMPLOYEES", ("EMPLOYEES_1", "менее 50"), ("EMPLOYEES_2", "50-250")),
        *_directory("HONORIFIC", ("HNR_RU_1", "г-н"), ("HNR_RU_2", "г-жа")),
    ]
    for number in smart_type_ids:
        prefix = f"DT{number}_1:"
        rows += _directory(
            f"DYNAMIC_{number}_STAGE_1",
            (f"{prefix}NEW", "Начало"),
            (f"{prefix}PREPARATION", "Подготовка"),
            (f"{prefix}SUCCESS", "Успех"),
            (f"{prefix}FAIL", "Провал"),
            semantics={f"{prefix}SUCCESS": "S", f"{prefix}FAIL": "F"},
        )
    sort: dict[str, int] = {}
    statuses = []
    for number, (name, code, title, semantics) in enumerate(rows, start=9):
        sort[name] = sort.get(name, 0) + 10
        category = 1 if name == "DEAL_STAGE_1" else 0 if name == "DEAL_STAGE" else None
        statuses.append(Status(number, name, code, title, sort[name], semantics, category))
    return statuses


def _deal_stages(name: str, prefix: str) -> list[tuple[str, str, str, str]]:
    return _directory(
        name,
        (f"{prefix}NEW", "Новая"),
        (f"{prefix}PREPARATION", "Подготовка документов"),
        (f"{prefix}EXECUTING", "В работе"),
        (f"{prefix}WON", "Сделка успешна"),
        (f"{prefix}LOSE", "Сделка провалена"),
        semantics={f"{prefix}WON": "S", f"{prefix}LOSE": "F"},
    )
