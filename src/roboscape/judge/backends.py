"""The choice of a success judge by name."""

from dataclasses import dataclass, field
from typing import Literal

from roboscape.annotate.segments.language import LanguageModel
from roboscape.core.errors import UserError
from roboscape.judge.classifier import ClassifierJudge
from roboscape.judge.language import LanguageJudge
from roboscape.judge.protocol import Judge
from roboscape.judge.rule import RuleJudge
from roboscape.judge.tokens import TokenJudge
from roboscape.simulators.protocol import WorldSpec
from roboscape.tokens.state_reader import StateReader

BUNDLED_JUDGE = "lift-judge"


@dataclass(frozen=True, kw_only=True)
class JudgeChoice:
    """Which judge says whether a task is solved."""

    kind: Literal["classifier", "rule", "tokens", "vlm"] = "classifier"
    """`classifier`: trained on RGB and depth; `rule`: the height of Lift's cube, from pixels;
    `tokens`: the same, from imagined tokens, by the bundle's object reader; `vlm`: a
    vision-language model behind an OpenAI-compatible server, a request a world and frame."""
    weights: str = BUNDLED_JUDGE
    """The classifier: a bundled name, a folder, or a hub repository."""
    language: LanguageModel = field(default_factory=LanguageModel)
    """The vision-language model."""


def open_judge(
    choice: JudgeChoice,
    *,
    spec: WorldSpec,
    camera: str = "",
    object_reader: StateReader | None = None,
) -> Judge:
    """The chosen judge, for worlds of a specification.

    Args:
        choice: Which one.
        spec: The worlds'; their camera and image size must be the judge's.
        camera: The one that a rule or a language model looks through; the first where not given.
        object_reader: Of the bundle that imagines these worlds, for the judge by tokens.

    Raises:
        ValueError: a judge without weights, of another camera, image size or rate, or that needs
            depth or an object reader where there is none.
    """
    if choice.kind == "tokens":
        if object_reader is None:
            raise UserError(
                "the judge by tokens needs worlds that a bundle with an object reader imagines "
                "(`lift`); a true simulator has no tokens. Use another kind of judge"
            )
        return TokenJudge(object_reader, spec=spec)
    if choice.kind == "classifier":
        return _classifier(choice, spec=spec)
    known = {one.name: one for one in spec.cameras}
    name = camera or spec.cameras[0].name
    if name not in known:
        raise UserError(f"these worlds have no camera {name!r}; they have {', '.join(known)}")
    if choice.kind == "vlm":
        return LanguageJudge.of_server(choice.language, camera=name, task=spec.task)
    if not known[name].has_depth:
        raise UserError(f"the judge by rule needs depth, and camera {name!r} has none")
    return RuleJudge(name)


def _classifier(choice: JudgeChoice, *, spec: WorldSpec) -> ClassifierJudge:
    """The trained classifier of a choice; the rest is as for `open_judge`."""
    known = {one.name: one for one in spec.cameras}
    judge = ClassifierJudge.from_pretrained(choice.weights)
    wanted = judge.config
    found = known.get(wanted.camera)
    if found is None:
        raise UserError(
            f"the judge {choice.weights!r} was trained on camera {wanted.camera!r}, and these "
            f"worlds show {', '.join(known)}; train one on that camera (`roboscape train judge`), "
            "or use another kind of judge"
        )
    if (found.height, found.width) != (wanted.image_size, wanted.image_size):
        raise UserError(
            f"the judge {choice.weights!r} reads {wanted.image_size} x {wanted.image_size} pixels, "
            f"and camera {found.name!r} gives {found.height} x {found.width}; train one at that "
            "size (`roboscape train judge`)"
        )
    if not found.has_depth or abs(spec.frame_hz - wanted.frame_hz) > 1e-6 * wanted.frame_hz:
        raise UserError(
            f"the judge {choice.weights!r} reads RGB and depth at {wanted.frame_hz:g} frames a "
            f"second, and these worlds give {'' if found.has_depth else 'no '}depth at "
            f"{spec.frame_hz:g}"
        )
    return judge
