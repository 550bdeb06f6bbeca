"""`roboscape judge`: people compare videos blindly, in a page behind a secret link."""

import logging
import secrets
from dataclasses import dataclass
from pathlib import Path

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, read_json, write_json
from roboscape.dataset.reader import LeRobotDataset
from roboscape.human_evaluation.answers import AnswerFile
from roboscape.human_evaluation.report import draw_report, report_json, report_of
from roboscape.human_evaluation.server import EvaluationServer
from roboscape.human_evaluation.trials import TRIALS, Trials, read_trials, write_trials
from roboscape.rollout.bundle import PROBED, Bundle

log = logging.getLogger(__name__)

TOKEN, REPORT = "token.txt", "report.md"


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Serve pairs of videos (recorded and imagined, or of two models) to people, and count."""

    output: Path
    """Folder of the evaluation: videos, secret, answers, report. One that stands there is gone on
    with: the same link, the answers so far kept."""
    checkpoint: tuple[str, ...] = ("lift",)
    """Bundles to compare with the recording and with each other."""
    dataset: Path | None = None
    """Recordings; needed for a new evaluation."""
    episodes: tuple[int, ...] = ()
    """Numbers of the episodes; the first ten where none is named."""
    horizon: int = 15
    """Imagined frames of a video."""
    seed: int = 0
    """Decides which video of a pair is shown on which side."""
    host: str = "127.0.0.1"
    """Address to listen at; anything but this machine's own is reached by all who have the link."""
    port: int = 8766
    """Port to listen at; 0 takes a free one."""
    automatic: Path | None = None
    """Answers of an automatic judge, JSON: source, then episode number, then true or false."""
    report_only: bool = False
    """Write the report of the answers so far and end."""


def run(config: Judge) -> None:
    """Make the videos where they are missing, serve until interrupted, write the report.

    Raises:
        ValueError: a new evaluation without dataset or checkpoint, or other answers than expected.
    """
    trials = prepared(config)
    if not config.report_only:
        serve(config, trials)
    report = report_of(
        trials,
        AnswerFile(config.output).read(),
        automatic=None if config.automatic is None else read_json(config.automatic),
    )
    text = draw_report(report)
    with atomic_path(config.output / REPORT) as temporary:
        temporary.write_text(text)
    write_json(config.output / "report.json", report_json(report))
    log.info("%s", text)


def prepared(config: Judge) -> Trials:
    """The evaluation's trials, which are first made where there are none."""
    if (config.output / TRIALS).is_file():
        return read_trials(config.output)
    if config.dataset is None or config.report_only:
        raise UserError(f"{config.output} holds no evaluation; a new one needs --dataset")
    if config.output.exists():
        raise UserError(
            f"expected a new folder or one of an earlier evaluation, got {config.output}, which "
            "holds something else; choose another --output"
        )
    names = [Path(name).name for name in config.checkpoint]
    if not names or len(set(names)) < len(names):
        raise UserError(f"expected checkpoints of different names, got {list(config.checkpoint)}")
    dataset = LeRobotDataset(config.dataset)
    trials = write_trials(
        config.output,
        dataset=dataset,
        bundles={
            name: Bundle.from_pretrained(checkpoint).for_imagining(PROBED)
            for name, checkpoint in zip(names, config.checkpoint, strict=True)
        },
        episodes=config.episodes or range(min(10, dataset.num_episodes)),
        horizon=config.horizon,
        seed=config.seed,
    )
    with atomic_path(config.output / TOKEN) as temporary:
        temporary.write_text(secrets.token_urlsafe(24))
    return trials


def serve(config: Judge, trials: Trials) -> None:
    """Answer until interrupted."""
    token = (config.output / TOKEN).read_text()
    server = EvaluationServer(
        config.output, trials, token=token, address=(config.host, config.port)
    )
    with server:
        log.info(
            "%d pairs. Give people this link: http://%s:%d/%s/\nCtrl-C ends and writes the report.",
            len(trials.trials),
            config.host,
            server.server_port,
            token,
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log.info("ended")
