"""What gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application
from django.db import connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bx_gpt_app.settings")  # noqa: TID251 - entry point

application = get_wsgi_application()

if connection.vendor == "sqlite":
    # The web process's few threads live long and keep their connections: opening one costs a third
    # of a whole event request. PostgreSQL has its pool for that.
    connection.settings_dict["CONN_MAX_AGE"] = None
