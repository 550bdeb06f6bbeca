"""`roboscape play`: drive a learned simulator in a browser, with the true one beside it."""

import logging
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from roboscape.core.errors import UserError
from roboscape.dataset.reader import LeRobotDataset
from roboscape.play.limits import DEFAULT_LIMITS, Limits
from roboscape.rollout.bundle import PROBED, Bundle, Compute

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Play:
    """Serve a page on which a learned simulator is driven, with the true one beside it."""

    checkpoint: str = "lift"
    """Name (`lift` comes with the package), folder or hub name of a bundle."""
    dataset: Path | None = None
    """LeRobot dataset to start from and to replay. Without one, worlds begin with the true
    simulator's scene of a seed."""
    task: str = ""
    """Task of the true simulator, `Lift` or `metaworld/<name>`; where not given: the dataset's, as
    far as it tells, else Lift."""
    cameras: tuple[str, ...] = ()
    """Names of the cameras that are the bundle's views, in its order; those of its training where
    none is named."""
    policies: tuple[str, ...] = ()
    """Policies that players may let drive: names or folders of compact ones, or addresses of policy
    servers (`ws://host:port`); where none is named, those that come with the package and fit."""
    truth: bool = True
    """Whether worlds begin with the true simulator beside them; a player can change it."""
    host: str = "127.0.0.1"
    """Address to listen on. Beyond this machine, pages need the token that is printed."""
    port: int = 8000
    """Port to listen on; 0: any that is free."""
    output: Path = Path("runs/play")
    """Folder for recorded sessions, a dataset a checkpoint."""
    limits: Limits = DEFAULT_LIMITS
    """What players may ask for."""
    compute: Annotated[Compute, tyro.conf.arg(name="")] = PROBED
    """Where and in which format."""


def run(config: Play) -> None:
    """Serve until interrupted.

    Raises:
        ValueError: the extra `play` is not installed, the port is taken, nothing to start from.
    """
    try:
        import uvicorn

        from roboscape.play.server import LOOPBACK, Doors, make_app
    except ModuleNotFoundError as error:
        raise UserError(
            f"this needs {error.name}; install it with `pip install 'roboscape[play]'`"
        ) from error
    from roboscape.play.stage import open_stage

    listening = listen(config.host, config.port)
    stage = open_stage(
        Bundle.from_pretrained(config.checkpoint).for_imagining(config.compute),
        name=config.checkpoint,
        dataset=None if config.dataset is None else LeRobotDataset(config.dataset),
        task=config.task,
        cameras=config.cameras,
        output=config.output,
        limits=config.limits,
        policies=config.policies,
    )
    is_loopback = config.host in LOOPBACK
    doors = Doors(token=None if is_loopback else secrets.token_urlsafe(24))
    app = make_app(stage, doors=doors, with_truth=config.truth)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            ws="websockets-sansio",
            ws_max_size=config.limits.message_bytes,
            # Pictures do not shrink much, and on this machine bytes are cheaper than time.
            ws_per_message_deflate=not is_loopback,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
    )
    log.info("Open %s in a browser; Ctrl-C ends it.", address(listening, doors.token))
    if not is_loopback:
        log.info("The address holds a secret: only those who have it can drive.")
    try:
        server.run(sockets=[listening])
    finally:
        stage.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ValueError: the address or port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except (OSError, OverflowError) as error:
        found.close()
        raise UserError(
            f"cannot listen on {host} port {port} ({error}); choose another --port, or 0 for any "
            "that is free"
        ) from error
    return found


def address(listening: socket.socket, token: str | None) -> str:
    """The page's address; a token stands behind the #, which no browser sends to anybody."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"#token={token}" if token else "")
