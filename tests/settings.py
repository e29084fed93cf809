"""Settings of the test run: the real ones, with an environment that depends on nothing outside."""

import os
from pathlib import Path

os.environ.update(
    {
        "ENV_FILE": "/nonexistent",
        "SECRET_KEY": "test-secret-key-that-is-long-enough-for-django-to-accept-it",
        "ENCRYPTION_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "DATABASE_URL": os.environ.get("TEST_DATABASE_URL") or "sqlite:////tmp/unused.sqlite3",
        "PUBLIC_URL": "http://localhost:8000",
        "ALLOWED_HOSTS": "*",
        "ALLOW_PRIVATE_NETWORK": "on",
        "B24_CLIENT_ID": "local.test",
        "B24_CLIENT_SECRET": "test-client-secret",
        "B24_OAUTH_URL": "http://127.0.0.1:1",
        "OPENAI_API_KEY": "",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "OPENAI_MODEL": "demo-rules-1",
        "LOG_JSON": "off",
        "DEMO": "off",
        "DEBUG": "off",
    }
)

from bx_gpt_app.settings import *  # noqa: F403
from bx_gpt_app.settings import DATABASES, LOGGING, VAR_DIR

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, not memory: the tests' threads and processes share it like the product's do.
    VAR_DIR.mkdir(exist_ok=True)
    DATABASES["default"]["TEST"] = {"NAME": str(Path(VAR_DIR) / f"test-{os.getpid()}.sqlite3")}
LOGGING["root"]["level"] = "WARNING"
