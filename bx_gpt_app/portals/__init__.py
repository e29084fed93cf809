"""Tenants: app registrations, portals, their tokens, and a client for each."""
