"""Addresses of the settings screens, all under /b24/<app>/settings/."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path

from bx_gpt_app.screens.settings import (
    connection,
    costs,
    downloads,
    fields,
    knowledge,
    lines,
    log,
    model,
    overview,
    prompts,
    topics,
    transfer,
)


def _at(address: str, view: Callable[..., Any], name: str) -> URLPattern:
    return path(f"b24/<slug:app>/settings/{address}", view, name=f"settings-{name}")


urlpatterns = [
    _at("", overview.overview, "overview"),
    _at("first-try/", overview.first_try, "first-try"),
    _at("stop/", lines.stop_auto, "stop-auto"),
    _at("connection/", connection.connection, "connection"),
    _at("connection/check/", connection.check, "check"),
    _at("connection/rebind/", connection.rebind_portal, "rebind"),
    _at("connection/rebind/<str:task_id>/", connection.rebind_progress, "rebind-progress"),
    _at("connection/hook-token/", connection.new_hook_token, "hook-token"),
    _at("connection/export/", transfer.export, "export"),
    _at("connection/import/", transfer.import_file, "import"),
    _at("download/<str:ticket>/", downloads.download, "download"),
    _at("model/", model.model, "model"),
    _at("model/preset/", model.preset, "preset"),
    _at("model/check/", model.check, "model-check"),
    _at("model/probe/", model.try_out, "model-probe"),
    _at("model/list/", model.model_list, "model-list"),
    _at("prompts/", prompts.prompts, "prompts"),
    _at("prompts/try/", prompts.try_out, "prompt-try"),
    _at("prompts/try/<str:tasks>/", prompts.tried, "prompt-tried"),
    _at("prompts/diff/", prompts.compare, "prompt-diff"),
    _at("prompts/publish/", prompts.publish, "prompt-publish"),
    _at("prompts/<int:number>/restore/", prompts.restore, "prompt-restore"),
    _at("prompts/<int:number>/", prompts.version, "prompt-version"),
    _at("fields/", fields.fields, "fields"),
    _at("fields/new/", fields.edit_field, "field-new"),
    _at("fields/match/", fields.match_fields, "fields-match"),
    _at("fields/read/", fields.read_catalogue, "fields-read"),
    _at("fields/try/", fields.try_plan, "fields-try"),
    _at("fields/map/", fields.save_mappings, "fields-map"),
    _at("fields/crm/", fields.save_crm, "fields-crm"),
    _at("fields/field/<str:name>/", fields.edit_field, "field"),
    _at("fields/field/<str:name>/move/<str:where>/", fields.move_field, "field-move"),
    _at("fields/field/<str:name>/delete/", fields.delete_field, "field-delete"),
    _at("topics/", topics.topics, "topics"),
    _at("topics/new/", topics.edit_topic, "topic-new"),
    _at("topics/topic/<str:code>/", topics.edit_topic, "topic"),
    _at("topics/topic/<str:code>/delete/", topics.delete_topic, "topic-delete"),
    _at("lines/", lines.lines, "lines"),
    _at("lines/replies/", lines.replies, "replies"),
    _at("lines/read/", lines.read_lines, "lines-read"),
    _at("lines/<int:line_id>/", lines.line, "line"),
    _at("lines/<int:line_id>/whisper/", lines.whisper_tested, "whisper-tested"),
    _at("knowledge/", knowledge.knowledge, "knowledge"),
    _at("knowledge/unanswered/", knowledge.unanswered, "unanswered"),
    _at("knowledge/import/", knowledge.import_text, "knowledge-import"),
    _at("knowledge/new/", knowledge.edit_snippet, "snippet-new"),
    _at("knowledge/<int:pk>/", knowledge.edit_snippet, "snippet"),
    _at("knowledge/<int:pk>/delete/", knowledge.delete_snippet, "snippet-delete"),
    _at("costs/", costs.costs, "costs"),
    _at("costs/limits/", costs.limits, "limits"),
    _at("costs/export/", costs.export, "costs-export"),
    _at("log/", log.log, "log"),
    _at("log/quarantine/", log.quarantine, "quarantine"),
    _at("log/quarantine/act/", log.act, "quarantine-act"),
    _at("log/<int:pk>/", log.run, "run"),
]
