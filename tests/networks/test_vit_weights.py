"""Published weights of the Vision Transformer: read safely, every number in its place."""

import numpy as np
import pytest
import torch

from emds.errors import CheckpointError
from emds.networks.transunet import TransUNet, TransUNetSize
from emds.networks.vit_weights import load_vit_weights

SIZE = TransUNetSize(
    width=8, units=(2, 1, 1), hidden=12, layers=1, heads=3, mlp=20, decoder=(8, 8, 8, 8)
)
ATTENTION = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1"
TABLE = "Transformer/posembed_input/pos_embedding"


def published(rng):
    """Return arrays as the Vision Transformer's authors store them, at toy size."""

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    arrays = {"conv_root/kernel": normal(7, 7, 3, 8), "embedding/kernel": normal(1, 1, 128, 12)}
    arrays |= {"embedding/bias": normal(12), TABLE: normal(1, 1 + 4 * 4, 12)}
    arrays |= {"gn_root/scale": normal(1, 1, 1, 8), "gn_root/bias": normal(1, 1, 1, 8)}
    units = {"block1/unit1": (8, 32), "block1/unit2": (32, 32)}
    units |= {"block2/unit1": (32, 64), "block3/unit1": (64, 128)}
    for place, (into, out) in units.items():
        middle = out // 4
        shapes = {1: (1, 1, into, middle), 2: (3, 3, middle, middle), 3: (1, 1, middle, out)}
        for i, shape in shapes.items():
            arrays[f"{place}/conv{i}/kernel"] = normal(*shape)
            arrays[f"{place}/gn{i}/scale"] = normal(1, 1, 1, shape[3])
            arrays[f"{place}/gn{i}/bias"] = normal(1, 1, 1, shape[3])
        if into != out:
            arrays[f"{place}/conv_proj/kernel"] = normal(1, 1, into, out)
            arrays |= {f"{place}/gn_proj/{n}": normal(1, 1, 1, out) for n in ("scale", "bias")}
    block = "Transformer/encoderblock_0"
    for name in ("query", "key", "value"):
        arrays[f"{ATTENTION}/{name}/kernel"] = normal(12, 3, 4)
        arrays[f"{ATTENTION}/{name}/bias"] = normal(3, 4)
    arrays |= {f"{ATTENTION}/out/kernel": normal(3, 4, 12), f"{ATTENTION}/out/bias": normal(12)}
    for norm in (f"{block}/LayerNorm_0", f"{block}/LayerNorm_2", "Transformer/encoder_norm"):
        arrays |= {f"{norm}/{name}": normal(12) for name in ("scale", "bias")}
    dense = {"Dense_0": (12, 20), "Dense_1": (20, 12)}
    for name, shape in dense.items():
        arrays[f"{block}/MlpBlock_3/{name}/kernel"] = normal(*shape)
        arrays[f"{block}/MlpBlock_3/{name}/bias"] = normal(shape[1])
    return arrays


@pytest.fixture
def arrays():
    return published(np.random.default_rng(0))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return TransUNet(1, 10, SIZE, crop=64).eval()


def load(network, arrays, folder):
    np.savez(folder / "vit.npz", **arrays)
    load_vit_weights(network, folder / "vit.npz")


def test_a_convolution_computes_what_its_published_kernel_says(network, arrays, tmp_path):
    load(network, arrays, tmp_path)
    kernel = arrays["block2/unit1/conv2/kernel"]  # (y, x, in, out)
    image = np.random.default_rng(1).normal(size=(16, 3, 3)).astype(np.float32)
    expected = np.einsum("cyx,yxco->o", image, kernel)
    weight = network.encoder.blocks[1][0].branch[3].weight
    found = torch.nn.functional.conv2d(torch.from_numpy(image)[None], weight)[0, :, 0, 0]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-4)


def test_attention_computes_what_its_published_kernels_say(network, arrays, tmp_path):
    load(network, arrays, tmp_path)
    token = np.random.default_rng(1).normal(size=12).astype(np.float32)
    layer = network.layers[0]
    query = np.einsum("i,ihd->hd", token, arrays[f"{ATTENTION}/query/kernel"])
    query += arrays[f"{ATTENTION}/query/bias"]
    found = layer.query(torch.from_numpy(token)).detach().numpy()
    np.testing.assert_allclose(found, query.ravel(), rtol=1e-4, atol=1e-5)
    out = np.einsum("hd,hdo->o", query, arrays[f"{ATTENTION}/out/kernel"])
    out += arrays[f"{ATTENTION}/out/bias"]
    found = layer.out(torch.from_numpy(query.ravel())).detach().numpy()
    np.testing.assert_allclose(found, out, rtol=1e-4, atol=1e-5)


def test_every_parameter_of_the_file_is_used_once(network, arrays, tmp_path):
    before = {k: v.clone() for k, v in network.state_dict().items()}
    load(network, arrays, tmp_path)
    after = network.state_dict()
    changed = sum(v.numel() for k, v in after.items() if not torch.equal(v, before[k]))
    assert changed == sum(a.size for a in arrays.values()) - 12  # all but the class token
    kept = {k.split(".")[0] for k, v in after.items() if torch.equal(v, before[k])}
    assert kept == {"widen", "decoder", "head"}


def test_positions_of_the_same_grid_are_kept_and_others_interpolated(network, arrays, tmp_path):
    load(network, arrays, tmp_path)
    table = torch.from_numpy(arrays[TABLE])[:, 1:]
    torch.testing.assert_close(network.positions.detach(), table)
    larger = TransUNet(1, 10, SIZE, crop=112)  # 4 × 4 tokens become 7 × 7: every other is old
    load(larger, arrays, tmp_path)
    old, new = table.reshape(4, 4, 12), larger.positions.detach().reshape(7, 7, 12)
    torch.testing.assert_close(new[::2, ::2], old)
    torch.testing.assert_close(new[1, 0], (old[0, 0] + old[1, 0]) / 2)


def test_other_than_three_sections_share_the_mean_of_the_colours(arrays, tmp_path):
    stack = TransUNet(5, 10, SIZE, crop=64)
    load(stack, arrays, tmp_path)
    mean = torch.from_numpy(arrays["conv_root/kernel"].mean(axis=2)).permute(2, 0, 1)
    weight = stack.encoder.root[0].weight.detach()
    torch.testing.assert_close(weight, mean[:, None].expand(-1, 5, -1, -1))


def test_what_does_not_fit_is_refused_by_name(network, arrays, tmp_path):
    with pytest.raises(CheckpointError, match=r"lacks 1 of 69 arrays.*'gn_root/bias'"):
        load(network, {k: v for k, v in arrays.items() if k != "gn_root/bias"}, tmp_path)
    with pytest.raises(CheckpointError, match=r"embedding/kernel is \(1, 1, 64, 12\)"):
        load(
            network, arrays | {"embedding/kernel": arrays["embedding/kernel"][:, :, :64]}, tmp_path
        )


def test_a_file_that_could_run_code_is_refused(network, arrays, tmp_path):
    np.savez(tmp_path / "bad.npz", **arrays, **{"x": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(CheckpointError, match="refused to load"):
        load_vit_weights(network, tmp_path / "bad.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(CheckpointError, match="no weights"):
        load_vit_weights(network, tmp_path / "text.npz")
