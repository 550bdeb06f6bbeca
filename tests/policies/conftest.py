import pytest

from roboscape.policies.compact.settings import CompactPolicyRun
from roboscape.training.learner import FitConfig


@pytest.fixture
def training(lift_train_dataset, lift_validation_dataset, tmp_path):
    """Four steps of a compact policy."""
    return CompactPolicyRun(
        dataset=lift_train_dataset.root,
        validation=lift_validation_dataset.root,
        output=tmp_path / "run",
        chunk=8,
        executed=4,
        batch_size=4,
        device="cpu",
        precision="fp32",
        fit=FitConfig(steps=4, log_every=1, evaluate_every=4, checkpoint_every=2),
    )
