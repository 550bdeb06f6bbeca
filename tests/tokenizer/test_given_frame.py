"""A decoder that is shown a true frame takes its pixels over where nothing has changed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.tokenizer.codes import code_to_vectors
from roboscape.tokenizer.decoder import UNCHANGED_LOGIT
from roboscape.tokenizer.frames import FrameCache
from roboscape.tokenizer.inference import for_decoding
from roboscape.tokenizer.model import SoftCodes, Tokenizer
from roboscape.tokenizer.train import TokenizerRun, given_at, indices_at


@pytest.fixture
def shown(config):
    torch.manual_seed(0)
    return Tokenizer(replace(config, given_frame=True)).eval()


@pytest.fixture
def frames():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (3, 32, 32, 3), dtype=torch.uint8, generator=generator)


def patch_of(tokenizer, token):
    """The pixels of a token, as slices."""
    side, size = tokenizer.config.tokens_per_side, tokenizer.config.downsampling
    row, column = divmod(token, side)
    return (
        slice(None),
        slice(row * size, (row + 1) * size),
        slice(column * size, (column + 1) * size),
    )


def test_unchanged_tokens_show_the_given_pixels_and_changed_ones_do_not(shown, frames):
    codes = shown.encode_rgb(frames)
    given = shown.given_rgb(frames)
    plain = shown.decode(codes)
    changed = codes.clone()
    changed[:, 0] ^= 1
    mixed = shown.decode(changed, given)
    share = torch.tensor(UNCHANGED_LOGIT).sigmoid()
    still = patch_of(shown, codes.shape[1] - 1)
    moved = patch_of(shown, 0)
    for image in range(3):
        truth = given.images[image]
        expected = share * truth[still] + (1 - share) * plain[image][still]
        torch.testing.assert_close(mixed[image][still], expected, atol=2e-2, rtol=0)
        distance_to_truth = (mixed[image][moved] - truth[moved]).abs().mean()
        assert distance_to_truth > 5 * (mixed[image][still] - truth[still]).abs().mean()


def test_a_token_that_changes_back_shows_the_given_pixels_again(shown, frames):
    codes, given = shown.encode_rgb(frames), shown.given_rgb(frames)
    away = codes.clone()
    away[:, 0] ^= 1
    first = shown.decode_rgb(codes, given)
    assert not torch.equal(shown.decode_rgb(away, given), first)
    assert torch.equal(shown.decode_rgb(codes, given), first)


def test_one_given_frame_serves_a_whole_clip(shown, frames):
    codes = shown.encode_rgb(frames)
    one, repeated = shown.given_rgb(frames[:1]), shown.given_rgb(frames[:1].expand(3, -1, -1, -1))
    assert torch.equal(shown.decode_rgb(codes, one), shown.decode_rgb(codes, repeated))


def test_without_a_given_frame_it_decodes_as_ever(shown, config, frames):
    plain = Tokenizer(config).eval()
    shared = {k: v for k, v in shown.state_dict().items() if not k.startswith("decoder.given")}
    plain.load_state_dict(shared)
    codes = shown.encode_rgb(frames)
    assert torch.equal(shown.decode_rgb(codes), plain.decode_rgb(codes))
    assert plain.given_rgb(frames) is None


def test_depth_is_taken_over_too(shown):
    depth_m = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(3)) + 0.5
    codes = shown.encode_depth(depth_m)
    error = (shown.decode_depth(codes, shown.given_depth(depth_m)) - depth_m).abs().mean()
    assert error < 0.3 * (shown.decode_depth(codes) - depth_m).abs().mean()


def test_given_frames_teach_the_decoder_alone(shown, frames):
    from roboscape.tokenizer.model import rgb_to_image

    images = rgb_to_image(frames)
    shown.train()(images, given=images.flip(0)).images.square().mean().backward()
    assert all(p.grad is None or not p.grad.any() for p in shown.encoder.parameters())
    assert shown.decoder.embed.weight.grad.any()


def test_given_frames_are_earlier_ones_of_the_same_episode(shown, tmp_path):
    episode = np.repeat(np.arange(4), 6)
    frames = FrameCache(
        rgb=np.broadcast_to(np.arange(24, dtype=np.uint8)[:, None, None, None], (24, 32, 32, 3)),
        depth_m=None,
        episode=episode,
    )
    run = TokenizerRun(
        dataset=(tmp_path,), output=tmp_path, batch_size=8, model=shown.config, given_share=1.0
    )
    late = run.fit.steps - 1
    assert given_at(0, tokenizer=shown, frames=frames, config=run) is None, "not from the start"
    given = given_at(late, tokenizer=shown, frames=frames, config=run)
    chosen = indices_at(late, frames=frames, config=run).reshape(-1)
    numbers = ((given[:, 0, 0, 0] + 1) * 127.5).round().long().numpy()
    assert (numbers <= chosen).all() and (episode[numbers] == episode[chosen]).all()
    assert (numbers < chosen).any()
    never = replace(run, model=replace(shown.config, given_frame=False))
    assert given_at(late, tokenizer=shown, frames=frames, config=never) is None


@pytest.fixture
def believing(shown):
    copy = Tokenizer(replace(shown.config, soft_codes=True)).eval()
    copy.load_state_dict(shown.state_dict())
    return copy


def test_certain_beliefs_are_tokens_and_doubt_is_between(shown, believing, frames):
    codes, given = shown.encode_rgb(frames), shown.given_rgb(frames)
    changed = codes.clone()
    changed[:, 0] ^= 1
    exact = code_to_vectors(changed, code_bits=shown.config.code_bits)
    certain = SoftCodes(vectors=exact, unchanged=(changed == codes).float())
    with_tokens = shown.decode(changed, given)
    torch.testing.assert_close(believing.decode(changed, given, certain), with_tokens)
    torch.testing.assert_close(shown.decode(changed, given, certain), with_tokens)
    doubt = SoftCodes(vectors=exact, unchanged=torch.full(codes.shape, 0.5))
    between = believing.decode(changed, given, doubt)
    moved = patch_of(shown, 0)
    for image in range(3):
        truth = given.images[image][moved]
        distances = [(x[image][moved] - truth).abs().mean() for x in (between, with_tokens)]
        assert 0.3 * distances[1] < distances[0] < 0.8 * distances[1]


def test_a_decoder_in_bf16_shows_the_same_and_leaves_encoder_and_original_alone(shown, frames):
    codes, given = shown.encode_rgb(frames), shown.given_rgb(frames)
    codes[:, 0] ^= 1
    fast = for_decoding(shown, dtype=torch.bfloat16)
    assert torch.equal(fast.encode_rgb(frames), shown.encode_rgb(frames))
    expected, found = shown.decode(codes, given), fast.decode(codes, given)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().mean() < 4e-3
    # The given frame's own pixels are never rounded to bf16's steps, a hundredth of their size.
    still = (slice(None), *patch_of(shown, codes.shape[1] - 1))
    torch.testing.assert_close(found[still], expected[still], atol=1e-3, rtol=0)
    assert next(shown.decoder.parameters()).dtype == torch.float32
    assert for_decoding(shown, dtype=torch.float32) is shown
