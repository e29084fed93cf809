"""Fields are called as the portal calls them, on our screens and in its own timeline."""

from __future__ import annotations

from bx_gpt_app.assistant.context import item_facts
from bx_gpt_app.assistant.models import Run
from tests.screens_settings.conftest import Visitor, text_of


def test_phone_of_a_russian_portal_is_called_by_its_russian_name(world):
    world.configure(mode="suggest")

    world.client_says("Мой телефон +7 916 123-45-67, перезвоните")
    world.work_until(lambda: Run.objects.filter(state="done").exists())

    notes = [one["text"] for one in world.b24.timeline(1, world.lead()["id"])]
    screen = text_of(Visitor(world.portal).get("fields/"))
    assert any("Телефон" in note for note in notes), notes
    assert not any("Phone" in one for one in (*notes, screen))
    assert "Телефон" in screen


def test_facts_of_a_card_are_told_by_names_and_not_by_codes(world):
    """Also before the fields of this kind of card were read."""
    portal = world.portal
    snapshot = {
        "LEAD_77": {"title": "Заявка", "stageId": "NEW"},
        "DEAL_5": {"title": "Котёл", "opportunity": 1200},
    }

    lead, deal = item_facts(portal, snapshot)

    assert "Заявка" in lead.facts.values()
    assert "TITLE" not in lead.facts
    assert "NEW" not in lead.facts.values()
    assert deal.facts == {"Название": "Котёл", "Сумма": "1200"}
