"""The client's side of Bitrix24: calls, tokens, events, CRM, open lines, bots, placements."""
