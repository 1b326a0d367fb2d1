"""A team's server for real: PostgreSQL, accounts, artifacts through the server. Slow, and skipped
where the parts are not installed.

The Python packages may lie apart: `pip install --target DIR psycopg2-binary Flask-WTF`, then
`MODULEWISE_TEAM=DIR pytest ...`.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mirrored_runs import assert_equal, cell_of, runs_of, whole

from modulewise.cli.ui import answers

mlflow = pytest.importorskip("mlflow")

PACKAGES = os.environ.get("MODULEWISE_TEAM", "")
PATHS = os.pathsep.join(p for p in (PACKAGES, os.environ.get("PYTHONPATH", "")) if p)
PASSWORD = "a-long-password-of-the-admin"
MEMBER = ("ada", "a-long-password-of-a-member")


def postgres() -> Path | None:
    """Folder of the newest PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    there = found[-1] if found else shutil.which("initdb")
    return Path(there).parent if there else None


def lacking() -> str:
    if not postgres():
        return "PostgreSQL is not installed"
    check = subprocess.run(
        [sys.executable, "-c", "import psycopg2, flask_wtf"],
        env=os.environ | {"PYTHONPATH": PATHS},
        capture_output=True,
        check=False,
    )
    return "psycopg2 and Flask-WTF are not installed" if check.returncode else ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of its own that listens on a Unix socket only, run by an unprivileged user; the
    folder of its socket."""
    if why := lacking():
        pytest.skip(why)
    bin_, folder = (
        postgres(),
        Path(
            subprocess.run(
                ["mktemp", "-d", "/tmp/mwpg.XXXXXX"], capture_output=True, text=True
            ).stdout.strip()
        ),
    )
    user: Any = {}
    if os.getuid() == 0:
        who = pwd.getpwnam("postgres")
        os.chown(folder, who.pw_uid, who.pw_gid)
        user = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
    run: Any = {"check": True, "cwd": folder, "capture_output": True, **user}
    subprocess.run(
        [
            f"{bin_}/initdb",
            "-D",
            f"{folder}/data",
            "-U",
            "mlflow",
            "--auth-local=trust",
            "--auth-host=reject",
            "--no-sync",
        ],
        **run,
    )
    words = [
        f"{bin_}/postgres",
        "-D",
        f"{folder}/data",
        "-k",
        str(folder),
        "-c",
        "listen_addresses=",
        "-c",
        "fsync=off",
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log, **user)
    for _ in range(100):
        if (
            subprocess.run(
                [f"{bin_}/pg_isready", "-h", str(folder)], capture_output=True
            ).returncode
            == 0
        ):
            break
        time.sleep(0.1)
    for name in ("mlflow", "mlflow_auth"):
        subprocess.run([f"{bin_}/createdb", "-h", str(folder), "-U", "mlflow", name], **run)
    yield str(folder)
    server.send_signal(signal.SIGINT)
    server.wait(timeout=30)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def team(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `mlflow server` with accounts."""
    folder = tmp_path_factory.mktemp("team")
    at = f"?host={database}"
    lines = [
        "[mlflow]",
        "default_permission = EDIT",
        f"database_uri = postgresql+psycopg2://mlflow@/mlflow_auth{at}",
    ]
    lines += ["admin_username = admin", f"admin_password = {PASSWORD}"]
    lines += ["authorization_function = mlflow.server.auth:authenticate_request_basic_auth"]
    (folder / "auth.ini").write_text("\n".join(lines) + "\n")
    env = os.environ | {
        "PYTHONPATH": PATHS,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    env |= {
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-this-test",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    port = free_port()
    words = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--app-name",
        "basic-auth",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    words += ["--workers", "1", "--backend-store-uri", f"postgresql+psycopg2://mlflow@/mlflow{at}"]
    words += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(words, env=env, stdout=log, stderr=log, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    for _ in range(900):
        if answers(port):
            break
        assert server.poll() is None, (folder / "log").read_text()
        time.sleep(0.1)
    yield uri
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def track(runs: Path, uri: str, name: str | None, password: str | None) -> tuple[int, str]:
    """`modulewise track` with an account: exit status and all it prints."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_TRACKING")}
    env |= (
        {}
        if name is None
        else {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password or ""}
    )
    words = [
        sys.executable,
        "-c",
        "from modulewise.cli.app import main; main()",
        "track",
        "--runs",
        str(runs),
        "--uri",
        uri,
    ]
    done = subprocess.run(
        words,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


def create_user(uri: str, name: str, password: str) -> None:
    """As the admin, by the same request as in docs/mlflow.md."""
    body = json.dumps({"username": name, "password": password}).encode()
    account = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {account}"}
    urllib.request.urlopen(
        urllib.request.Request(f"{uri}/api/2.0/mlflow/users/create", body, headers), timeout=20
    )


@pytest.mark.slow
def test_a_team_with_accounts(tmp_path: Path, team: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    folders = [whole(cell_of("team", seed=s), runs) for s in range(3)]
    (tmp_path / "reports" / "s").mkdir(parents=True)
    (tmp_path / "reports" / "s" / "report.html").write_text("<p>report")
    refused = f"error: cannot use MLflow at {team}: user name or password refused; "
    refused += "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD hold them\n"
    assert track(runs, team, None, None) == (1, refused)
    assert track(runs, team, "admin", "wrong") == (1, refused)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(team, timeout=10)

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    create_user(team, *MEMBER)
    status, text = track(runs, team, *MEMBER)
    assert (
        status == 0
        and text.startswith("tracked 3 runs: 3 new")
        and text.endswith("0 failed, reports sent: 1\n")
    ), text
    for seed, folder in enumerate(folders):
        (run,) = [r for r in runs_of(team, "team") if r.data.tags["seed"] == str(seed)]
        assert_equal(team, run, folder)
        assert {a.path for a in mlflow.MlflowClient(team).list_artifacts(run.info.run_id)} == {
            "cell.json",
            "result.json",
            "train.log",
            "plots",
        }

    later = whole(
        cell_of("team", seed=7), runs
    )  # another account may write to the experiment, because of default_permission
    assert track(runs, team, "admin", PASSWORD)[1].startswith("tracked 4 runs: 1 new")
    (run,) = [r for r in runs_of(team, "team") if r.data.tags["seed"] == "7"]
    assert_equal(team, run, later)
    assert track(runs, team, *MEMBER) == (
        0,
        "tracked 4 runs: 0 new, 0 metrics sent, 4 unchanged, 0 failed\n",
    )


@pytest.mark.slow
def test_a_mirror_straight_into_the_database(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a server in between, from a machine that reaches the database and the artifacts'
    folder."""
    for path in filter(None, PATHS.split(os.pathsep)):
        monkeypatch.syspath_prepend(path)
    monkeypatch.setenv("PYTHONPATH", PATHS)
    folder = whole(cell_of("direct"), tmp_path / "runs")
    uri = f"postgresql+psycopg2://mlflow:secret@/mlflow?host={database}"
    status, text = track(tmp_path / "runs", uri, None, None)
    assert status == 0 and text.startswith("tracked 1 runs: 1 new"), text
    (run,) = runs_of(uri, "direct")
    assert_equal(uri, run, folder)
