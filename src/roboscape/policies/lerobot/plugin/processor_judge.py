"""lerobot's processors around our judge: batches go to its device, and are not normalised."""

from typing import Any

from lerobot.processor import (  # pyright: ignore[reportMissingImports]
    DeviceProcessorStep,
    PolicyProcessorPipeline,
    policy_action_to_transition,
    transition_to_policy_action,
)

from roboscape.policies.lerobot.plugin.configuration_judge import RoboscapeJudgeConfig


def make_roboscape_judge_pre_post_processors(
    config: RoboscapeJudgeConfig, **_: Any
) -> tuple[PolicyProcessorPipeline, PolicyProcessorPipeline]:
    """The pipelines before and behind `compute_reward`."""
    return (
        PolicyProcessorPipeline(
            steps=[DeviceProcessorStep(device=config.device)], name="roboscape_judge_preprocessor"
        ),
        PolicyProcessorPipeline(
            steps=[DeviceProcessorStep(device="cpu")],
            name="roboscape_judge_postprocessor",
            to_transition=policy_action_to_transition,
            to_output=transition_to_policy_action,
        ),
    )
