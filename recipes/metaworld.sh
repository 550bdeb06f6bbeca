#!/usr/bin/env bash
# How the bundled checkpoint `metaworld` was made: one world model of twelve tasks of Meta-World, told
# the task in words, and how far it carries: to tasks and to colours that it has never seen.
#   EPISODES=600 bash recipes/metaworld.sh
# Collecting takes some hours of two CPU cores; the two large trainings want a GPU, and there larger
# batches (`--batch-size`). Every step resumes where it stopped; run the same line again.
set -euo pipefail
cd "$(dirname "$0")/.."
roboscape=${ROBOSCAPE:-.venv/bin/roboscape}
python=${PYTHON:-.venv/bin/python}
episodes=${EPISODES:-600}
held_out=${HELD_OUT:-60}

# 1. Recordings: 80 Hz, two seconds; expert, noisy expert, missing expert and play; RGB, depth, tracks.
#    Seeds from 800000 on are validation, from 980000 on test: choices are made on validation alone.
tasks="door-open door-close drawer-open button-press-topdown pick-place push hammer window-open \
    faucet-open coffee-pull reach plate-slide"
unseen="drawer-close window-close peg-insert-side soccer"
$roboscape collect metaworld --output data/metaworld_train --tasks $tasks --horizon 160 \
    --episodes "$episodes" --seed 0
# Two splits of three kinds: the same tasks; four others, never learnt from; the same motions as in
# the first, in colours and lights that are never learnt from.
for split in validation test; do
    first=$([ $split = test ] && echo 980000 || echo 800000)
    $roboscape collect metaworld --output data/metaworld_$split --tasks $tasks --horizon 160 \
        --episodes "$held_out" --seed "$first"
    $roboscape collect metaworld --output data/metaworld_tasks_$split --tasks $unseen \
        --horizon 160 --episodes "$held_out" --seed "$first"
    $roboscape collect metaworld --output data/metaworld_colours_$split --tasks $tasks \
        --random-scenes colours --horizon 160 --episodes "$held_out" --seed "$first"
done

# 2. Tokenizer: 128 px -> 16 x 16 tokens of 18 bits, RGB and depth.
$roboscape train tokenizer metaworld

# 3. Where commands bring the hand, as far as a clip of 16 frames reaches.
# Its hand has no mass: a model of first order (docs/control-signals.md).
$roboscape train proprioception lift --no-second-order --dataset data/metaworld_train \
    --validation data/metaworld_validation --output runs/proprioception_metaworld --rows 120

# 4. Tokens with each episode's task in words, at 10 frames a second, and the world model on them.
for split in train validation; do $roboscape clips "data/metaworld_$split" --stride 8; done
$roboscape tokenize data/metaworld_train data/metaworld_validation --stride 8 --task-size 64 \
    --tokenizer runs/tokenizer_metaworld/tokenizer \
    --proprioception runs/proprioception_metaworld/proprioception --output data/metaworld_tokens
$roboscape train world-model metaworld

# 5. The decoder learns to show what the world model believes instead of its likeliest tokens.
$roboscape bundle --tokenizer runs/tokenizer_metaworld/tokenizer \
    --world-model runs/world_model_metaworld/world_model --tokens data/metaworld_tokens \
    --output runs/metaworld_likeliest
$roboscape train decoder --checkpoint runs/metaworld_likeliest --dataset data/metaworld_train \
    --validation data/metaworld_validation --output runs/decoder_metaworld --fit.steps 3000

# 6. The bundle, and how good it is: on validation for choosing, on test episodes for reporting.
$roboscape bundle --tokenizer runs/decoder_metaworld/tokenizer \
    --world-model runs/world_model_metaworld/world_model --tokens data/metaworld_tokens \
    --output src/roboscape/bundles/metaworld
$roboscape evaluate --checkpoint src/roboscape/bundles/metaworld \
    --dataset data/metaworld_validation --output runs/evaluate_metaworld_validation
$roboscape evaluate --checkpoint src/roboscape/bundles/metaworld \
    --dataset data/metaworld_test --output runs/evaluate_metaworld

# 7. In and out of distribution side by side, with and without the task's text; and an unseen task
#    learnt from few episodes, from the bundle and from nothing, in as much time.
$python benchmarks/transfer/generalisation.py --checkpoint src/roboscape/bundles/metaworld \
    --datasets data/metaworld_test data/metaworld_tasks_test data/metaworld_colours_test \
    --output runs/generalisation
$python benchmarks/transfer/generalisation.py --checkpoint src/roboscape/bundles/metaworld \
    --fine-tune drawer-close --held-out-seed 980000 --output runs/generalisation_drawer_close
