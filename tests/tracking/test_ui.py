from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from autoprune.core.errors import StudyError
from autoprune.tracking.ui import check_free, command, serve


def test_the_server_gets_the_homes_store_and_artifacts(tmp_path: Path) -> None:
    found = command(tmp_path, "127.0.0.1", 5001)
    assert found[:4] == [sys.executable, "-m", "mlflow", "server"]
    options = dict(zip(found[4::2], found[5::2], strict=True))
    assert options["--backend-store-uri"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert options["--default-artifact-root"] == (tmp_path / "artifacts").as_uri()
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "5001")


def test_a_busy_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StudyError, match=rf"--port must be free on 127.0.0.1 .*; got {port};"):
            serve(tmp_path, "127.0.0.1", port)


@pytest.mark.mlflow
def test_the_server_ends_with_all_it_started(tmp_path: Path, empty_store: Path) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import sys, pathlib; from autoprune.tracking.ui import serve\n"
    code += "sys.exit(serve(pathlib.Path(sys.argv[1]), '127.0.0.1', int(sys.argv[2])))"
    ours = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ours.stderr is not None
    assert any("Uvicorn running" in line for line in ours.stderr)
    started = psutil.Process(ours.pid).children(recursive=True)
    assert len(started) >= 2
    ours.terminate()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
    assert ours.wait(30) == 0
    ours.stderr.close()
    check_free("127.0.0.1", port)


def test_a_free_port_passes() -> None:
    check_free("127.0.0.1", 0)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("203.0.113.1", 5000)])
def test_a_wrong_port_or_host_is_refused(host: str, port: int) -> None:
    with pytest.raises(StudyError, match="--port must be free on"):
        check_free(host, port)


def test_a_home_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="--home must hold a study that was mirrored"):
        serve(tmp_path)
