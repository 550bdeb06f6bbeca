"""A tiny random InternVL of the real class, with a tokenizer of its own, from a folder."""

import json

import numpy as np
import pytest
import torch

from roboscape.annotate.segments.internvl import WEIGHTS, InternVLSegmenter, as_tiles
from roboscape.annotate.segments.language import LanguageModel
from roboscape.annotate.segments.protocol import SEGMENTERS

SPECIAL = ("<pad>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `hf download` would leave: weights, configuration and a byte-level tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    root = tmp_path_factory.mktemp("internvl")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate([*SPECIAL, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(root / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}
    (root / "tokenizer_config.json").write_text(json.dumps(about))
    torch.manual_seed(0)
    config = InternVLConfig(
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "image_size": [28, 28],
            "patch_size": [14, 14],
            "initializer_range": 1.0,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(words),
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "intermediate_size": 16,
            "max_position_embeddings": 4096,
            "initializer_range": 1.0,
        },
        image_token_id=words["<IMG_CONTEXT>"],
        image_seq_length=1,
    )
    InternVLForConditionalGeneration(config).save_pretrained(root)
    return root


@pytest.fixture
def segmenter(folder) -> InternVLSegmenter:
    language = LanguageModel(model=str(folder), answer_tokens=8, device="cpu")
    return SEGMENTERS["internvl"](language=language)


def test_it_answers_about_what_it_sees(segmenter):
    dark, bright = np.zeros((2, 20, 30, 3), np.uint8), np.full((2, 20, 30, 3), 250, np.uint8)
    answers = [segmenter.ask(images, "What is this?") for images in (dark, dark, bright)]
    assert answers[0] == answers[1] and answers[0]
    assert answers[0] != answers[2], "the images never reached the model"


def test_every_image_has_its_place_in_the_conversation(segmenter):
    said = segmenter.conversation(2, "What is this?")
    assert said == (
        "<|im_start|>user\nFrame 1: <img><IMG_CONTEXT></img>\nFrame 2: <img><IMG_CONTEXT></img>\n"
        "What is this?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_images_are_scaled_as_imagenet(segmenter):
    tiles = as_tiles(np.full((1, 10, 20, 3), 255, np.uint8), side_px=28)
    assert tiles.shape == (1, 3, 28, 28)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(tiles[0, :, 5, 5], expected)


def test_missing_weights_come_with_the_command_that_fetches_them(tmp_path):
    with pytest.raises(
        ValueError, match=r"hf download OpenGVLab/InternVL3-1B-hf .*--revision 014c"
    ):
        InternVLSegmenter(language=LanguageModel(model=str(tmp_path)))
    assert WEIGHTS.version.startswith("OpenGVLab/InternVL3-1B-hf@014c0583")
