"""The judge by a vision-language model behind an OpenAI-compatible server."""

import re

import numpy as np
from jaxtyping import Bool, UInt8

from roboscape.annotate.segments.language import Ask, LanguageModel
from roboscape.annotate.segments.server import ServerSegmenter
from roboscape.core.errors import UserError
from roboscape.judge.protocol import Verdict, VerdictCounts
from roboscape.judge.rule import check_camera
from roboscape.simulators.protocol import Mask, Observation

QUESTION = """\
Frame 1 shows a robot before it began, frame 2 shows it now. The robot's task: {task}.
Is the task solved in frame 2? Answer with one word: "yes", "no", or "unknown" where the object \
of the task cannot be seen. Do not give the benefit of the doubt."""
ANSWERS = {"yes": True, "no": False, "unknown": None}


class LanguageJudge:
    """Shows a model each world's first and newest frame, a request a world; a `Judge`."""

    def __init__(self, ask: Ask, *, camera: str, task: str, answers: int = 2) -> None:
        """Make a judge.

        Args:
            ask: Shows images to a model and returns its answer.
            camera: Whose images are shown.
            task: What is to be done, in words.
            answers: How many answers are asked for until one can be read.
        """
        if not task:
            raise UserError(
                "a language model must be given the task in words, and this simulator has none; "
                "give --task, e.g. 'lift the red cube'"
            )
        self.ask, self.camera, self.task, self.answers = ask, camera, task, answers
        self.counts = VerdictCounts()
        self._first: dict[int, UInt8[np.ndarray, "h w 3"]] = {}

    @classmethod
    def of_server(cls, language: LanguageModel, *, camera: str, task: str) -> "LanguageJudge":
        """One that asks a server.

        Raises:
            ValueError: no model is named.
        """
        server = ServerSegmenter(language=language)
        return cls(server.ask, camera=camera, task=task, answers=language.answers)

    def reset(self, observation: Observation, *, where: Mask) -> None:
        """Keep the first frame of the chosen worlds.

        Raises:
            ValueError: no such camera.
        """
        check_camera(self.camera, observation, needs_depth=False)
        for world in np.flatnonzero(where):
            self._first[int(world)] = observation.rgb[self.camera][world].copy()

    def verdict(self, observation: Observation) -> Verdict:
        """The model's answer about every world.

        Raises:
            ValueError: the server cannot be reached, or no answer can be read.
        """
        check_camera(self.camera, observation, needs_depth=False)
        found = [
            self._answer(world, image) for world, image in enumerate(observation.rgb[self.camera])
        ]
        unknown = np.array([one is None for one in found], bool)
        success = np.array([bool(one) for one in found], bool)
        probability = np.where(unknown, np.nan, success.astype(np.float64))
        return self.counts.add(Verdict(success=success, unknown=unknown, probability=probability))

    def __call__(self, observation: Observation) -> Bool[np.ndarray, " b"]:
        """In which worlds the task is solved in this frame."""
        return self.verdict(observation).success

    def _answer(self, world: int, image: UInt8[np.ndarray, "h w 3"]) -> bool | None:
        if world not in self._first:
            raise UserError(f"world {world} was never reset; call `reset` with its first frame")
        images = np.stack([self._first[world], image])
        said = ""
        for _ in range(self.answers):
            said = self.ask(images, QUESTION.format(task=self.task))
            words = re.findall(r"[a-z]+", said.lower())
            if len(named := {word for word in words if word in ANSWERS}) == 1:
                return ANSWERS[named.pop()]
        raise UserError(
            f"expected the answer yes, no or unknown, got {said[:200]!r} ({self.answers} times "
            "none could be read); try a larger model"
        )
