import subprocess
import sys

import torch

from roboscape.core.seeding import generator_for, numpy_generator_for


def test_coordinates_decide_and_their_order_counts():
    def draw(*coordinates):
        return torch.rand(3, generator=generator_for(*coordinates)).tolist()

    assert draw(0, 1, 2) == draw(0, 1, 2)
    assert draw(0, 1, 2) != draw(0, 2, 1)
    assert numpy_generator_for(5).random() == numpy_generator_for(5).random()


def test_collecting_imports_no_torch():
    code = "import roboscape.collect.lift, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
