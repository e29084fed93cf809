"""Settings: assembled here from the environment, explained in .env.example. No logic lives here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.utils.csp import CSP
from django.utils.translation import gettext_lazy as _

from bx_gpt_app.environment import LOOPBACK, Environment

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(Path(os.environ.get("ENV_FILE", BASE_DIR / ".env")))

# ---- what differs per deployment (contract of .env.example) ----

DEBUG = env.switch("DEBUG")
DEMO = env.switch("DEMO")
SECRET_KEY = env.text("SECRET_KEY")
env.required("SECRET_KEY", SECRET_KEY, "run `make run` once or put 50 random characters into .env")
ENCRYPTION_KEYS = env.fernet_keys("ENCRYPTION_KEYS")
env.required(
    "ENCRYPTION_KEYS", ENCRYPTION_KEYS, "run `make run` once or put a Fernet key into .env"
)

PORT = env.number("PORT", 8000, least=1, most=65535)
BIND_ADDRESS = env.text("BIND_ADDRESS", "127.0.0.1")
PUBLIC_URL = env.url("PUBLIC_URL", f"http://127.0.0.1:{PORT}")
_public = urlsplit(PUBLIC_URL)
ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", (_public.hostname or "",))
if _public.hostname in LOOPBACK:
    ALLOWED_HOSTS += [name for name in LOOPBACK if name not in ALLOWED_HOSTS]

ALLOW_PRIVATE_NETWORK = env.switch("ALLOW_PRIVATE_NETWORK")
B24_CLIENT_ID = env.text("B24_CLIENT_ID")
B24_CLIENT_SECRET = env.text("B24_CLIENT_SECRET")
B24_OAUTH_URL = env.urls_for_secrets(
    "B24_OAUTH_URL",
    ("https://oauth.bitrix24.tech", "https://oauth.bitrix.info"),
    allow_private=ALLOW_PRIVATE_NETWORK,
)
if bool(B24_CLIENT_ID) != bool(B24_CLIENT_SECRET):
    env.wrong("B24_CLIENT_ID", "B24_CLIENT_ID and B24_CLIENT_SECRET go together: set both or none")

OPENAI_API_KEY = env.text("OPENAI_API_KEY")
OPENAI_BASE_URL = env.url("OPENAI_BASE_URL", "https://api.openai.com/v1")
OPENAI_MODEL = env.text("OPENAI_MODEL", "gpt-4o-mini")
if env.text("OPENAI_LOG") and not DEBUG:
    env.wrong("OPENAI_LOG", "prints clients' texts into the log: unset it")
# The SDK reads these by itself when an argument is missing; every argument is passed, and what
# belongs to one provider must not travel to another.
for _name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS", "OPENAI_ADMIN_KEY"):
    os.environ.pop(_name, None)

WORKER_CONCURRENCY = env.number("WORKER_CONCURRENCY", 100, least=1, most=1000)
WEB_THREADS = env.number("WEB_THREADS", 16, least=2, most=256)
WEB_PROCESSES = env.number("WEB_PROCESSES", 1, least=1, most=64)
PORTAL_LANES = env.number("PORTAL_LANES", 20, least=1, most=1000)
RETENTION_DAYS = env.number("RETENTION_DAYS", 14, least=3, most=3650)
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOG_JSON = env.switch("LOG_JSON", not DEBUG)

# The local portal and the model of /demo/, started by `make run` (manage.py serve --demo).
DEMO_PORTAL_URL = env.url("DEMO_PORTAL_URL", f"http://127.0.0.1:{min(PORT + 1, 65535)}")
DEMO_MODEL_URL = env.url("DEMO_MODEL_URL", f"http://127.0.0.1:{min(PORT + 2, 65535)}")
DEMO_CONTROL_KEY = env.text("DEMO_CONTROL_KEY")
DEMO_APP = "demo"

# ---- database ----

VAR_DIR = BASE_DIR / "var"
_database: dict[str, Any] = env.database("DATABASE_URL", f"sqlite:///{VAR_DIR / 'db.sqlite3'}")
if _database["ENGINE"].endswith("sqlite3"):
    _database["ENGINE"] = "bx_gpt_app.common.sqlite3"
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # FULL: an event that was answered with 200 survives a power cut.
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-4000;"
        ),
    }
    env.folder_of("DATABASE_URL", _database["NAME"])
else:
    _database["OPTIONS"] = {
        "connect_timeout": 5,
        **_database.get("OPTIONS", {}),
        # Connections are given back before every wait on the network, so few serve many threads.
        "pool": {
            "min_size": 1,
            "max_size": env.number("DATABASE_POOL", 30, least=4, most=500),
            "timeout": 30,
        },
    }
DATABASES: dict[str, dict[str, Any]] = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

env.stop_if_wrong()

# ---- Django ----

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_ox",
    "heroicons",
    "bx_gpt_app.common",
    "bx_gpt_app.portals",
    "bx_gpt_app.assistant",
    "bx_gpt_app.inbox",
    "bx_gpt_app.screens",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "bx_gpt_app.common.middleware.RequestLog",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "bx_gpt_app.common.middleware.AdminLanguage",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "bx_gpt_app.screens.errors.ReadableRefusals",
]
ROOT_URLCONF = "bx_gpt_app.urls"
WSGI_APPLICATION = "bx_gpt_app.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("ru", _("Russian"))]
LOCALE_PATHS = [BASE_DIR / "bx_gpt_app" / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "bx_gpt_app" / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# ---- security: pages of the site and /admin/; frame pages set their own headers ----

_https = _public.scheme == "https"
SECURE_SSL_REDIRECT = env.switch("SECURE_SSL_REDIRECT", _https)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _https else None
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _https
SECURE_HSTS_PRELOAD = _https
SECURE_REFERRER_POLICY = "same-origin"
# A frame page's parent is the portal, on another origin: COOP would change nothing for it.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "bx_gpt_app.screens.errors.csrf_failure"
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "script-src": [CSP.SELF],
    "style-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
    "form-action": [CSP.SELF],
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576
DATA_UPLOAD_MAX_NUMBER_FIELDS = 5_000

# ---- background work: tasks only wake workers up, rows are the truth ----

TASKS = {
    "default": {
        "BACKEND": "django_ox.backend.OxBackend",
        "QUEUES": ["default", "background"],
        "OPTIONS": {
            "LOCK_TIMEOUT": 60,
            "MAX_ATTEMPTS": 3,
            "BACKOFF_INITIAL": 2,
            "BACKOFF_MAX": 60,
            "SCHEDULES": {
                "sweep": {"task": "bx_gpt_app.assistant.tasks.sweep", "every": 5},
                "housekeeping": {
                    "task": "bx_gpt_app.assistant.tasks.housekeeping",
                    "cron": "17 * * * *",
                },
                "catch-up": {"task": "bx_gpt_app.inbox.catch_up.catch_up_everywhere", "every": 600},
                "heartbeat": {"task": "bx_gpt_app.inbox.catch_up.heartbeat", "every": 20},
                "fetch-events": {"task": "bx_gpt_app.inbox.fetch.fetch_everywhere", "every": 10},
                "probe-models": {
                    "task": "bx_gpt_app.assistant.probing.probe_weekly",
                    "cron": "23 3 * * *",
                },
                "probe-new-models": {
                    "task": "bx_gpt_app.assistant.probing.probe_new",
                    "every": 900,
                },
                "tell-admins": {
                    "task": "bx_gpt_app.assistant.notices.tell_everywhere",
                    "every": 300,
                },
                "portal-health": {
                    "task": "bx_gpt_app.portals.tasks.check_portals",
                    "cron": "41 * * * *",
                },
            },
        },
    }
}

# ---- logs: JSON lines in production; never tokens, never clients' texts ----

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {"()": "bx_gpt_app.common.logs.JsonLines"},
        "plain": {"()": "bx_gpt_app.common.logs.PlainLines"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "json" if LOG_JSON else "plain",
        },
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django_ox": {"level": "WARNING"},
        "django.tasks": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
        "httpx2": {"level": "WARNING"},
        "httpcore2": {"level": "WARNING"},
        "openai": {"level": "WARNING"},
        "urllib3": {"level": "WARNING"},
    },
}
