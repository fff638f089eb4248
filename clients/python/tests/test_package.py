"""The built wheel, in an environment that has nothing else."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from server import RUN

HERE = Path(__file__).parents[1]


def test_the_wheel_installs_into_an_empty_environment_and_the_readmes_first_example_runs_as_printed(server, db):
    copy, built, venv = RUN / "source", RUN / "dist", RUN / "empty"
    for folder in (copy, built, venv):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE, copy)
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", built, copy], check=True, capture_output=True)
    (wheel,) = built.glob("auth_ext-*-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.endswith("LICENSE")]
    assert "auth_ext/py.typed" in names and not [name for name in names if "test" in name]
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = str(venv / "bin/python")
    pip = [python, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", os.environ["AUTH_EXT_WHEELS"]]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # No driver is a hard dependency.
    subprocess.run([*pip, str(wheel)], check=True, env=clean)
    subprocess.run([python, "-c", "import auth_ext, auth_ext.asgi"], check=True, env=clean, cwd=RUN)
    subprocess.run([*pip, f"{wheel}[psycopg]", "psycopg-binary"], check=True, env=clean)
    example = re.search(r"## First example.*?```python\n(.*?)```", (HERE / "README.md").read_text(), re.S)[1]
    env = clean | {"PGHOST": str(server.home), "PGPORT": str(server.port), "PGUSER": "postgres", "PGDATABASE": db}
    run = subprocess.run([python, "-c", example], env=env, cwd=RUN, capture_output=True, text=True, timeout=60)
    assert run.stdout.splitlines() == ["hello 1", "again 1", "refused: session_version_mismatch"], run.stderr
