"""Counters of the doors, for /metrics."""

from prometheus_client import Counter, Histogram

events_received = Counter("b24_events_received_total", "Events stored.", ["kind"])
events_dropped = Counter(
    "b24_events_dropped_total", "Genuine events not stored, by reason.", ["reason"]
)
events_refused = Counter("b24_events_refused_total", "Events of unknown senders.")
events_found = Counter("b24_events_found_total", "Messages found whose event never came.")
queue_fetches = Counter("b24_queue_fetches_total", "Looks into queues of bots.", ["result"])
event_seconds = Histogram(
    "b24_event_request_seconds",
    "Time inside an event request.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
hook_calls = Counter("hook_calls_total", "Calls of the hook by HTTP status.", ["status"])
