"""Settings as in production, for `manage.py check --deploy`."""

import os

os.environ.update(
    {
        "ENV_FILE": "/nonexistent",
        "SECRET_KEY": "a-production-like-secret-with-more-than-fifty-characters-0123456789",
        "ENCRYPTION_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "PUBLIC_URL": "https://ai.example.ru",
        "DATABASE_URL": "sqlite:////tmp/unused.sqlite3",
    }
)
for _name in ("DEBUG", "DEMO", "ALLOWED_HOSTS", "ALLOW_PRIVATE_NETWORK", "SECURE_SSL_REDIRECT"):
    os.environ.pop(_name, None)

from bx_gpt_app.settings import *  # noqa: E402, F403
