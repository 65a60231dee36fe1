"""MLflow's user interface on a home's own store."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from autoprune.core.errors import StudyError
from autoprune.search.signals import terminable
from autoprune.tracking.store import default_uri


def command(home: Path, host: str, port: int) -> list[str]:
    """Return the command line that serves a home's store."""
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", default_uri(home)),
        *("--default-artifact-root", (home.resolve() / "artifacts").as_uri()),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def serve(home: Path, host: str = "127.0.0.1", port: int = 5000) -> int:
    """Serve MLflow's user interface until it is interrupted; return its exit code.

    Raises
    ------
    StudyError
        If the home has no store yet, or the port is taken.
    """
    home = Path(home)
    if not (home / "mlflow.db").is_file():
        raise StudyError(
            "--home",
            "must hold a study that was mirrored",
            str(home),
            "run `autoprune search` or `autoprune sync` first",
        )
    check_free(host, port)
    # The user's own store must not win over the home's; MLflow's job workers cost gigabytes.
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    # A session of its own, so that everything the server starts can be ended with it.
    with (
        subprocess.Popen(
            command(home, host, port), env=environment, start_new_session=True
        ) as server,
        terminable(),
    ):
        try:
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)


def check_free(host: str, port: int) -> None:
    """Raise `StudyError` unless the port can be listened on."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyError(
            "--port", f"must be free on {host} ({reason})", port, "choose another with --port"
        ) from error
