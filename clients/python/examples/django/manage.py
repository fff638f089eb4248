#!/usr/bin/env python3
"""Runs as the role that owns the tables: PGDATABASE=notes PGUSER=notes_owner SECRET_KEY=… ./manage.py migrate"""

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notes.settings")
execute_from_command_line(sys.argv)
