#!/usr/bin/env bash
# How a checkpoint like the bundled `lift-two-cameras` is made from the bundled `lift`: the scene's
# camera and the one on the hand are two views of every frame. About two hours of two CPU cores; the
# amounts are flags:
#   EPISODES=100 bash recipes/lift_two_cameras.sh
# Every step resumes where it stopped; run the same line again after an interruption.
set -euo pipefail
cd "$(dirname "$0")/.."
roboscape=${ROBOSCAPE:-.venv/bin/roboscape}
episodes=${EPISODES:-480}
held_out=${HELD_OUT:-30}
cameras="agentview wrist"
start=src/roboscape/bundles/lift

# 1. Recordings: MuJoCo, 20 Hz, RGB + depth + true tracks of both cameras; the split goes by seed.
$roboscape collect lift --output data/lift2_train --cameras $cameras --episodes "$episodes" --seed 0
$roboscape collect lift --output data/lift2_validation --cameras $cameras --episodes "$held_out" --seed 800000
$roboscape collect lift --output data/lift2_test --cameras $cameras --episodes "$held_out" --seed 980200

# 2. Tokenizer: that of `lift` learns the hand's view, and depth from .05 m on.
$roboscape train tokenizer lift --dataset data/lift2_train --validation data/lift2_validation \
    --cameras $cameras --output runs/tokenizer_lift2 --start-from $start/tokenizer \
    --model.depth-min-m 0.05 --model.soft-codes --given-from 0.4 \
    --optimizer.learning-rate 5e-4 --optimizer.muon-learning-rate 0.0025 \
    --fit.steps 2600 --fit.evaluate-every 650 --episodes 300

# 3. Where commands bring the arm.
$roboscape train proprioception lift --dataset data/lift2_train --validation data/lift2_validation \
    --output runs/arm_lift2 --fit.steps 4500 --fit.evaluate-every 1500

# 4. Tokens of both views, and the world model on them, from that of `lift`.
$roboscape tokenize data/lift2_train data/lift2_validation --cameras $cameras \
    --tokenizer runs/tokenizer_lift2/tokenizer --proprioception runs/arm_lift2/proprioception \
    --points 192 --output data/lift2_tokens
$roboscape train world-model lift --tokens data/lift2_tokens --output runs/world_model_lift2 \
    --start-from $start/world_model --validation-clips 16 --fit.steps 1500 \
    --fit.evaluate-every 500 --fit.average-decay 0.996 --optimizer.decay-fraction 0.6

# 5. The bundle, and how good it is: both views, and what is lost without one at the start.
$roboscape bundle --tokenizer runs/tokenizer_lift2/tokenizer \
    --world-model runs/world_model_lift2/world_model --tokens data/lift2_tokens \
    --output src/roboscape/bundles/lift-two-cameras
bundle=src/roboscape/bundles/lift-two-cameras
$roboscape evaluate --checkpoint $bundle --dataset data/lift2_test --output runs/evaluate_lift2
for view in agentview wrist; do
    $roboscape evaluate --checkpoint $bundle --dataset data/lift2_test --missing $view \
        --output runs/evaluate_lift2_without_$view
done
