#!/usr/bin/env python
"""Django's command line."""

import os
import sys

NEED_DATABASE = ("demo", "evaluate", "migrate", "portal", "probe", "worker")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bx_gpt_app.settings")
    from django.core.management import execute_from_command_line

    from bx_gpt_app.common.database import UNUSABLE, require_database, stop_without_database

    if sys.argv[1:2] and sys.argv[1] in NEED_DATABASE and not {"-h", "--help"} & set(sys.argv):
        require_database()
    try:
        execute_from_command_line(sys.argv)
    except UNUSABLE as error:
        stop_without_database(error)


if __name__ == "__main__":
    main()
