#!/usr/bin/env bash
# How the bundled checkpoint `general` was made: a tokenizer for scenes that it has never seen, and a
# world model that has seen several robots, both to start from (`roboscape learn --from general`).
#   RECORDINGS=/folder/of/real/recordings bash recipes/general.sh
# RECORDINGS holds droid/ (7 episodes, the example data of Ctrl-World), bridge_rlds/ (25, the debug
# data of Octo), bair/ (1) and metaworld_npz/ (4, both of iVideoGPT). The rest is made here, in an
# hour of two CPU cores. The two trainings want a GPU, and there larger batches (`--batch-size`).
# Collecting, tokenizing and training resume where they stopped; an output of `unify` must not exist.
set -euo pipefail
cd "$(dirname "$0")/.."
roboscape=${ROBOSCAPE:-.venv/bin/roboscape}
recordings=${RECORDINGS:?the folder of the real recordings, see the head of this file}
raw=data/general_raw

# 1. Recordings. Simulated ones under random cameras, colours and lights, some in their usual look;
#    seeds from 800000 on are validation.
$roboscape collect metaworld --output $raw/metaworld_random --random-scenes all \
    --tasks door-open door-close drawer-open drawer-close button-press-topdown pick-place push \
    hammer window-open faucet-open coffee-pull peg-insert-side \
    --horizon 160 --episodes 120 --seed 0
$roboscape collect metaworld --output $raw/metaworld_random_validation --random-scenes all \
    --tasks door-open door-close drawer-open drawer-close button-press-topdown pick-place push \
    hammer window-open faucet-open coffee-pull peg-insert-side \
    --horizon 160 --episodes 12 --seed 800000
$roboscape collect metaworld --output $raw/metaworld \
    --tasks door-open door-close drawer-open drawer-close button-press-topdown pick-place push \
    hammer window-open faucet-open coffee-pull peg-insert-side \
    --horizon 160 --episodes 12 --seed 1200
$roboscape collect lift --output $raw/lift_random --random-scenes all --episodes 40 --seed 100000
$roboscape collect lift --output $raw/lift_random --random-scenes all --episodes 3 --seed 810000
$roboscape collect lift --output $raw/lift --episodes 24 --seed 0
$roboscape import droid "$recordings/droid" --output $raw/droid --image-size 128 --validation 0 --test 0
$roboscape import rlds "$recordings/bridge_rlds" --output $raw/bridge --image-size 128 --validation 0 --test 0
$roboscape import bair "$recordings/bair" --output $raw/bair --image-size 128 --validation 0 --test 0
$roboscape import metaworld-npz "$recordings/metaworld_npz" --output $raw/metaworld_npz \
    --image-size 128 --validation 0 --test 0

# 2. One form for all: frames 0.1 to 0.25 s apart, the hand's motion between them, a view an episode.
#    Held out: a scene of DROID (the towel that is moved, episodes 5 and 6), five episodes of Bridge,
#    all of BAIR, one demonstration of Meta-World.
$roboscape unify $raw/metaworld_random --output data/general/metaworld_random --stride 8
$roboscape unify $raw/metaworld_random_validation \
    --output data/general/metaworld_random_validation --stride 8
$roboscape unify $raw/metaworld --output data/general/metaworld --stride 8
$roboscape unify $raw/lift_random --output data/general/lift_random --stride 4
$roboscape unify $raw/lift --output data/general/lift --stride 4
$roboscape unify $raw/droid --output data/general/droid --stride 1 --hold-out 5 6
$roboscape unify $raw/bridge --output data/general/bridge --stride 1 --hold-out 20 21 22 23 24
$roboscape unify $raw/bair --output data/general/bair --stride 1 --hold-out 0
$roboscape unify $raw/metaworld_npz --output data/general/metaworld_npz --stride 4 --hold-out 3

# 3. Tokenizer: 128 px -> 16 x 16 tokens of 18 bits; drawn scenes beside the recordings.
$roboscape train tokenizer general

# 4. Tokens, and the world model on them. Real recordings have no depth: the depth losses leave their
#    clips out. Bridge (10 frames an episode) is too short for clips of 16 frames.
$roboscape tokenize data/general/metaworld_random data/general/metaworld_random_validation \
    data/general/metaworld data/general/lift_random data/general/lift data/general/droid \
    data/general/metaworld_npz \
    --tokenizer runs/tokenizer_general/tokenizer --stride 1 --output data/general_tokens
$roboscape train world-model general

# 5. The bundle.
$roboscape bundle --tokenizer runs/tokenizer_general/tokenizer \
    --world-model runs/world_model_general/world_model --tokens data/general_tokens \
    --output src/roboscape/bundles/general
