"""The doors: events of portals and calls of the hook are received once and routed."""
