"""`roboscape serve-predictions`: a learned simulator behind WorldArena 2's protocol, over HTTP."""

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from roboscape.core.errors import UserError
from roboscape.play.play import listen
from roboscape.rollout.bundle import Bundle, Compute
from roboscape.rollout.identity import checkpoint_sha256
from roboscape.rollout.sampling import GREEDY, Sampling
from roboscape.simulators.learned import LearnedSimulator

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ServePredictions:
    """Serve a learned simulator's predictions over HTTP, by WorldArena 2's protocol."""

    checkpoint: str = "lift"
    """Name (`lift` comes with the package), folder or hub name of a bundle."""
    profile_id: str = "roboscape"
    """Name under which the model's inputs and outputs are offered."""
    host: str = "127.0.0.1"
    """Address to listen at; any but this machine's own needs `token_file`."""
    port: int = 8002
    """Port to listen at; 0: any that is free."""
    token_file: Path | None = None
    """File that holds the Bearer token of clients."""
    sampling: Sampling = GREEDY
    """How tokens are chosen; at temperature 0 all seeds give the same."""
    compute: Annotated[Compute, tyro.conf.arg(name="")] = field(
        default_factory=lambda: Compute(precision="fp32")
    )
    """Where and in which format; `auto` may choose another one after a restart."""


def run(config: ServePredictions) -> None:
    """Serve until interrupted.

    Raises:
        ValueError: the extra `play` is not installed, the port is taken, no token where one is due.
    """
    try:
        import uvicorn

        from roboscape.play.prediction_server import PredictionService
        from roboscape.play.server import LOOPBACK, Doors
    except ModuleNotFoundError as error:
        raise UserError(
            f"this needs {error.name}; install it with `pip install 'roboscape[play]'`"
        ) from error
    has_file = config.token_file is not None and config.token_file.is_file()
    token = config.token_file.read_text().strip() if config.token_file and has_file else None
    if not token and (config.token_file or config.host not in LOOPBACK):
        raise UserError(
            "expected --token-file to name a file with the clients' token, as is needed to listen "
            f"at {config.host} or where one is given; got {config.token_file}"
        )
    listening = listen(config.host, config.port)
    bundle = Bundle.from_pretrained(config.checkpoint).for_imagining(config.compute)
    simulator = LearnedSimulator(
        bundle,
        cameras=bundle.world_model.config.views or ("image",),
        sampling=config.sampling,
        decode="rgb",
    )
    deciding = f"{checkpoint_sha256(config.checkpoint)} {config.sampling} {config.compute}"
    version = hashlib.sha256(deciding.encode()).hexdigest()[:16]
    service = PredictionService(simulator, version=version, profile_id=config.profile_id)
    log.info("serving at http://%s:%d (stop with Ctrl-C)", *listening.getsockname()[:2])
    app = service.app(Doors(token=token))
    settings = uvicorn.Config(app, access_log=False, log_level="warning", limit_concurrency=16)
    uvicorn.Server(settings).run(sockets=[listening])
