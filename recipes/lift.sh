#!/usr/bin/env bash
# How a checkpoint like the bundled `lift` is made from nothing: two CPU cores, no GPU. (The bundled
# one itself was trained on from the one before; its card has those commands.) The amounts are flags:
#   EPISODES=300 bash recipes/lift.sh
# Every step resumes where it stopped; run the same line again after an interruption.
set -euo pipefail
cd "$(dirname "$0")/.."
roboscape=${ROBOSCAPE:-.venv/bin/roboscape}
episodes=${EPISODES:-1400}
held_out=${HELD_OUT:-60}
numbers=${NUMBERS:-8500}
places=${PLACES:-3000}

# 1. Recordings: MuJoCo, 20 Hz, RGB + depth + true tracks; the split goes by seed.
$roboscape collect lift --output data/lift_train --episodes "$episodes" --seed 0 --objects
$roboscape collect lift --output data/lift_validation --episodes "$held_out" --seed 800000 --objects
# Test seeds begin at 980000: the sizes of the bundled model's tokenizer were once chosen on seeds
# 900000 to 900059, so those are no test episodes for it any more. Choices are made on validation.
$roboscape collect lift --output data/lift_test --episodes "$held_out" --seed 980000 --objects
# Numbers alone cost a third of the time, and the arm model needs nothing else.
$roboscape collect lift --no-pictures --output data/lift_numbers --episodes "$numbers" --seed 200000
$roboscape collect lift --no-pictures --output data/lift_numbers_validation --episodes "$held_out" --seed 800100
# A recording shows one place of the cube: short ones show many.
$roboscape collect lift --output data/lift_starts --episodes "$places" --seed 420000 --horizon 2 --objects
for split in train validation test; do $roboscape inspect "data/lift_$split"; done

# 2. Tokenizer: 128 px -> 16 x 16 tokens of 18 bits, RGB and depth.
$roboscape train tokenizer lift

# 3. Where commands bring the arm, learnt from its recorded states, told where the cube is.
$roboscape train proprioception lift --dataset data/lift_numbers --validation data/lift_numbers_validation \
    --width 256 --fit.steps 6000

# 4. Tokens of every frame, what reads the cube's place off them, and the world model.
for split in train validation test; do $roboscape clips "data/lift_$split"; done
$roboscape tokenize data/lift_train data/lift_starts data/lift_validation \
    --tokenizer runs/tokenizer_lift/tokenizer --output data/lift_object_tokens
$roboscape train state-reader --objects --tokens data/lift_object_tokens --output runs/object_reader_lift \
    --fit.steps 8000
$roboscape tokenize data/lift_train data/lift_validation data/lift_test \
    --tokenizer runs/tokenizer_lift/tokenizer --proprioception runs/proprioception_lift/proprioception \
    --object-reader runs/object_reader_lift/object_reader --output data/lift_tokens
$roboscape train world-model lift

# 5. The decoder learns to show what the world model believes instead of its likeliest tokens.
$roboscape bundle --tokenizer runs/tokenizer_lift/tokenizer --world-model runs/world_model_lift/world_model \
    --tokens data/lift_tokens --output runs/lift_likeliest
$roboscape train decoder --checkpoint runs/lift_likeliest --dataset data/lift_train \
    --validation data/lift_validation --output runs/decoder_lift --fit.steps 3000

# 6. Where the hand is in a picture, for goals that are pictures.
$roboscape train state-reader --tokens data/lift_tokens --output runs/state_reader_lift

# 7. The bundle, how good it is on validation (for choosing), and on test episodes (for reporting).
#    Nothing was chosen on seeds from 980000 on; keep it so.
$roboscape bundle --tokenizer runs/decoder_lift/tokenizer --world-model runs/world_model_lift/world_model \
    --tokens data/lift_tokens --state-reader runs/state_reader_lift/state_reader \
    --output src/roboscape/bundles/lift
$roboscape evaluate --checkpoint src/roboscape/bundles/lift --dataset data/lift_validation --output runs/evaluate_lift_validation
$roboscape evaluate --checkpoint src/roboscape/bundles/lift --dataset data/lift_test --output runs/evaluate_lift
