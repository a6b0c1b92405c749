"""What the attention may and may not see, in each mode."""

import pytest
import torch

from emds.networks.iem import IEM_MODES, make_embedding

CHANNELS = 16


def embedding(mode, window=8):
    torch.manual_seed(0)
    return make_embedding(CHANNELS, window, mode).eval()


def features(n=1, size=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, CHANNELS, size, size, generator=generator)


def reference_attention(module, instance, image):
    """Every token against every token, scores written out, one head after the other."""
    tokens_s = instance[0].flatten(1).T
    tokens_i = image[0].flatten(1).T
    query, key, value = (
        module.to_query(tokens_s),
        module.to_key(tokens_i),
        module.to_value(tokens_i),
    )
    width = CHANNELS // module.heads
    heads = []
    for h in range(module.heads):
        part = slice(h * width, (h + 1) * width)
        score = query[:, part] @ key[:, part].T / width**0.5
        heads.append(score.softmax(dim=1) @ value[:, part])
    mixed = module.to_out(torch.cat(heads, dim=1))
    return torch.relu(mixed).T.reshape(image.shape) + image


def test_global_equals_attention_written_out():
    module = embedding("global")
    instance, image = features(seed=1), features(seed=2)
    expected = reference_attention(module, instance, image)
    torch.testing.assert_close(module(instance, image), expected, rtol=1e-5, atol=1e-5)


def test_it_equals_pytorchs_multihead_attention():
    module = embedding("global")
    theirs = torch.nn.MultiheadAttention(CHANNELS, 4, batch_first=True).eval()
    projections = [module.to_query, module.to_key, module.to_value]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        theirs.out_proj.load_state_dict(module.to_out.state_dict())
    instance, image = features(2, seed=1), features(2, seed=2)
    flat = [t.flatten(2).transpose(1, 2) for t in (instance, image, image)]
    expected = torch.relu(theirs(*flat)[0]).transpose(1, 2).reshape(image.shape) + image
    torch.testing.assert_close(module(instance, image), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["window", "global", "window_shift"])
def test_affinities_of_one_image_change_its_output(mode):
    module = embedding(mode)
    image = features(seed=2)
    change = module(features(seed=1), image) - module(features(seed=3), image)
    assert change.abs().max() > 1e-4


@pytest.mark.parametrize("mode", ["linear", "released"])
def test_affinities_of_one_image_change_nothing_in_the_controls(mode):
    module = embedding(mode)
    image = features(seed=2)
    torch.testing.assert_close(
        module(features(seed=1), image), module(features(seed=3), image), rtol=0, atol=0
    )


@pytest.mark.parametrize("mode", ["window", "global", "window_shift", "linear"])
def test_a_sample_does_not_depend_on_its_batch_mates(mode):
    module = embedding(mode)
    instance, image = features(3, seed=1), features(3, seed=2)
    alone = module(instance[:1], image[:1])
    torch.testing.assert_close(module(instance, image)[:1], alone, rtol=1e-5, atol=1e-6)


def test_released_mixes_the_images_of_a_batch():
    module = embedding("released")
    instance, image = features(3, seed=1), features(3, seed=2)
    change = module(instance, image)[:1] - module(instance[:1], image[:1])
    assert change.abs().max() > 1e-4


def test_released_alone_is_linear():
    instance, image = features(seed=1), features(seed=2)
    torch.testing.assert_close(
        embedding("released")(instance, image), embedding("linear")(instance, image)
    )


def test_window_equals_global_on_a_training_crop_and_not_beyond():
    instance, image = features(2, seed=1), features(2, seed=2)
    torch.testing.assert_close(
        embedding("window")(instance, image), embedding("global")(instance, image), rtol=0, atol=0
    )
    instance, image = features(size=16, seed=1), features(size=16, seed=2)
    change = embedding("window")(instance, image) - embedding("global")(instance, image)
    assert change.abs().max() > 1e-4


def test_a_window_sees_itself_alone():
    """Tokens 0-7 | 8-15 | 16-19: changing the image in one window leaves the others."""
    module = embedding("window")
    instance, image = features(size=20, seed=1), features(size=20, seed=2)
    other = image.clone()
    other[:, :, 8:16, 16:20] += 1
    changed = (module(instance, other) - module(instance, image)).abs().amax(dim=(0, 1)) > 0
    expected = torch.zeros(20, 20, dtype=torch.bool)
    expected[8:16, 16:20] = True
    assert torch.equal(changed, expected)


def test_shifted_windows_reach_across_the_seam():
    module = embedding("window_shift")
    instance, image = features(size=16, seed=1), features(size=16, seed=2)
    other = image.clone()
    other[:, :, 5, 5] += 1
    changed = (module(instance, other) - module(instance, image)).abs().amax(dim=(0, 1)) > 0
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[:8, :8] = True  # window at offset 0
    expected[4:12, 4:12] = True  # window at offset half
    assert torch.equal(changed, expected)


def test_weights_fit_every_mode_of_attention():
    weights = embedding("window").state_dict()
    for mode in set(IEM_MODES) - {"cat"}:
        embedding(mode).load_state_dict(weights)


def test_concatenation_sees_the_affinities_of_its_own_pixel_alone():
    module = embedding("cat")
    instance, image = features(seed=1), features(seed=2)
    other = instance.clone()
    other[:, :, 3, 5] += 1
    changed = (module(other, image) - module(instance, image)).abs().amax(dim=(0, 1)) > 0
    assert changed.nonzero().tolist() == [[3, 5]]
