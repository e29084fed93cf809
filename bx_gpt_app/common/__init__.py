"""What knows nothing of the product: encryption at rest, log format, request log."""
