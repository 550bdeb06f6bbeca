from dataclasses import replace

import pytest
import torch

from roboscape.tokenizer.codes import code_to_vectors
from roboscape.tokenizer.model import Tokenizer, TokenizerConfig, image_to_rgb, rgb_to_image


@pytest.fixture
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_codes_are_int32_in_range_and_images_have_their_size(tokenizer, images):
    codes = tokenizer.encode(images)
    assert codes.shape == (3, 4) and codes.dtype == torch.int32
    assert codes.min() >= 0 and codes.max() < 2**18
    assert tokenizer.decode(codes).shape == images.shape


def test_training_and_encoding_agree_on_the_codes(tokenizer, images):
    assert torch.equal(tokenizer.train()(images).codes, tokenizer.encode(images))


def test_decoding_codes_is_decoding_their_vectors(tokenizer, images):
    codes = tokenizer.encode(images)
    vectors = code_to_vectors(codes, code_bits=18)
    torch.testing.assert_close(tokenizer.decode(codes), tokenizer.decoder(vectors).clamp(-1, 1))
    # What training decodes is the quantised vector, not the encoder's own.
    trained = tokenizer.train()(images).images.clamp(-1, 1)
    torch.testing.assert_close(trained, tokenizer.decode(codes), rtol=1e-4, atol=1e-5)


def test_a_batch_of_two_is_two_batches_of_one(tokenizer, images):
    together = tokenizer.encode(images)
    alone = torch.cat([tokenizer.encode(image[None]) for image in images])
    assert torch.equal(together, alone)


def test_a_token_sees_its_own_patch_alone(tokenizer, images):
    changed = images.clone()
    changed[:, :, :16, :16] = -changed[:, :, :16, :16]
    before, after = tokenizer.encode(images), tokenizer.encode(changed)
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert (before[:, 0] != after[:, 0]).any()


def test_every_token_reaches_the_whole_image(config, images):
    tokenizer = Tokenizer(config)
    for parameter in tokenizer.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(0))
    codes = tokenizer.encode(images)
    other = codes.clone()
    other[:, 3] ^= 2**18 - 1
    corner = (tokenizer.decode(codes) - tokenizer.decode(other))[:, :, 0, 0]
    assert corner.abs().max() > 0


def test_gradients_pass_the_quantiser_to_every_weight(tokenizer, images):
    result = tokenizer.train()(images)
    (result.images.square().mean() + result.commitment + result.sample_entropy).backward()
    first = tokenizer.encoder.layers[0]
    assert isinstance(first, torch.nn.Conv2d) and first.weight.grad is not None
    assert first.weight.grad.abs().sum() > 0


def test_entropies_tell_collapse_from_use(tokenizer):
    same = torch.zeros(8, 3, 32, 32)
    varied = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    collapsed, used = tokenizer.train()(same), tokenizer.train()(varied)
    assert collapsed.batch_entropy < used.batch_entropy


def test_bytes_come_back(tokenizer):
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(1, 16, 16, 3)
    assert torch.equal(image_to_rgb(rgb_to_image(levels)), levels)


def test_depth_and_rgb_have_their_own_doors(tokenizer):
    depth_m = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(3)) + 0.5
    codes = tokenizer.encode_depth(depth_m)
    decoded = tokenizer.decode_depth(codes)
    assert decoded.shape == depth_m.shape
    assert decoded.min() >= 0.3 - 1e-6 and decoded.max() <= 3.0 + 1e-5
    rgb = torch.randint(256, (2, 32, 32, 3), dtype=torch.uint8)
    assert tokenizer.decode_rgb(tokenizer.encode_rgb(rgb)).dtype == torch.uint8


def test_saved_and_loaded_gives_the_same_codes(tokenizer, images, tmp_path):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    again = Tokenizer.from_pretrained(tmp_path / "tokenizer")
    assert again.config == tokenizer.config
    assert torch.equal(again.encode(images), tokenizer.encode(images))
    codes = tokenizer.encode(images)
    assert torch.equal(again.decode(codes), tokenizer.decode(codes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 100}, "downsampling"),
        ({"downsampling": 7}, "downsampling"),
        ({"code_bits": 17}, "17 code bits"),
        ({"depth_min_m": 20.0}, "depth_min_m"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TokenizerConfig(), **changes)
