"""The networks written out from their papers: functions of named weights, without modules."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)


def randomised(module, seed=0):
    """Return a module in double precision of which no weight and no statistic is a default."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                drawn = torch.randn(value.shape, generator=generator, dtype=value.dtype)
                fan_in = math.prod(value.shape[1:]) if value.ndim > 1 else 1
                if name.endswith("running_var") or (value.ndim == 1 and "weight" in name):
                    value.copy_(1 + 0.5 * drawn.tanh())
                else:
                    value.copy_(drawn / math.sqrt(fan_in))
    return module


class Weights:
    """The weights below a name."""

    def __init__(self, state, prefix=""):
        self.state, self.prefix = state, prefix

    def __getitem__(self, name):
        return Weights(self.state, f"{self.prefix}{name}.")

    def tensor(self, name):
        return self.state.get(self.prefix + name)


def conv(w, x, dilation=1, stride=1, padding=None):
    weight = w.tensor("weight")
    padding = dilation * (weight.shape[-1] // 2) if padding is None else padding
    return F.conv2d(x, weight, w.tensor("bias"), stride, padding, dilation)


def batch_norm(w, x):
    def of_channel(name):
        return w.tensor(name).reshape(1, -1, 1, 1)

    normal = (x - of_channel("running_mean")) / (of_channel("running_var") + 1e-5).sqrt()
    return normal * of_channel("weight") + of_channel("bias")


def relu(x):
    return x.clamp(min=0)


def pool(x):
    n, channels, height, width = x.shape
    return x.reshape(n, channels, height // 2, 2, width // 2, 2).amax(dim=(3, 5))


def conv_block(w, x):
    return relu(batch_norm(w[1], conv(w[0], x)))


def double_conv(w, x):
    return conv_block(w[1], conv_block(w[0], x))


def upsample(w, x):
    weight, bias = w[0].tensor("weight"), w[0].tensor("bias")
    larger = F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)
    return relu(batch_norm(w[1], larger))


def unet_encode(w, image, before_third=lambda x: x):
    first = double_conv(w["encode_full"], image)
    second = double_conv(w["encode_half"], pool(first))
    third = double_conv(w["encode_quarter"], before_third(pool(second)))
    return first, second, third


def unet_decode(w, first, second, third, deepest):
    """The table of Wang et al.'s U-Net: what comes from below stands before the skip."""
    below = w["bottleneck"]
    up = upsample(below[2], conv_block(below[1], conv_block(below[0], deepest)))
    for name, skip in (("decode_quarter", third), ("decode_half", second)):
        level = w[name]
        both = torch.cat([up, skip], dim=1)
        up = upsample(level[2], conv_block(level[1], conv_block(level[0], both)))
    last = w["decode_full"]
    return conv(last[1], conv_block(last[0], torch.cat([up, first], dim=1)))


def unet(w, image):
    first, second, third = unet_encode(w, image)
    return unet_decode(w, first, second, third, pool(third))


def attention(query, key, value, heads):
    """Softmax of scaled products, head after head; all are (n, tokens, channels)."""
    width = query.shape[-1] // heads
    mixed = []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        score = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(width)
        mixed.append(score.softmax(dim=-1) @ value[..., part])
    return torch.cat(mixed, dim=-1)


def linear(w, x):
    return x @ w.tensor("weight").T + w.tensor("bias")


def embedding(w, instance, image):
    """Equation 1: F_o = ReLU(MHA(q = F_s, k = F_i, v = F_i)) + F_i, of four heads."""
    seen, shown = (x.flatten(2).transpose(1, 2) for x in (instance, image))
    query = linear(w["to_query"], seen)
    key, value = linear(w["to_key"], shown), linear(w["to_value"], shown)
    mixed = relu(linear(w["to_out"], attention(query, key, value, heads=4)))
    return mixed.transpose(1, 2).reshape(image.shape) + image


def fusion(w, coarse, affinities):
    """Section 2.2: affinity features steer the image's at a quarter and at an eighth."""
    quarter, eighth = w["affinities_quarter"], w["affinities_eighth"]
    seen_0 = pool(double_conv(quarter[2], pool(double_conv(quarter[0], affinities))))
    seen_1 = pool(double_conv(eighth[0], seen_0))
    first, second, third = unet_encode(
        w["image"], coarse, lambda shown: embedding(w["embed_quarter"], seen_0, shown)
    )
    deepest = embedding(w["embed_eighth"], seen_1, pool(third))
    return unet_decode(w["image"], first, second, third, deepest)


def dncnn(w, image, depth, *, residual):
    """A convolution with ReLU, `depth` - 2 with batch norm, and one alone: of the noise."""
    x = relu(conv(w["layers.0"], image))
    for layer in range(depth - 2):
        x = relu(batch_norm(w[f"layers.{3 + 3 * layer}"], conv(w[f"layers.{2 + 3 * layer}"], x)))
    out = conv(w[f"layers.{2 + 3 * (depth - 2)}"], x)
    return image - out if residual else out


def ridnet(w, image, *, residual):
    """Head, four enhancement attention modules, long skip, tail, and the image."""
    head = relu(conv(w["head.0"], image))
    x = head
    for block in range(4):
        x = enhancement(w[f"blocks.{block}"], x)
    out = conv(w["tail"], x + head)
    return out + image if residual else out


def enhancement(w, x):
    near = relu(conv(w["near.2"], relu(conv(w["near.0"], x)), dilation=2))
    far = relu(conv(w["far.2"], relu(conv(w["far.0"], x, dilation=3)), dilation=4))
    first = relu(conv(w["merge.0"], torch.cat([near, far], dim=1))) + x
    second = relu(conv(w["refine.2"], relu(conv(w["refine.0"], first))) + first)
    inner = relu(conv(w["enhance.2"], relu(conv(w["enhance.0"], second))))
    third = relu(conv(w["enhance.4"], inner) + second)
    mean = third.mean(dim=(2, 3), keepdim=True)
    weight = 1 / (1 + torch.exp(-conv(w["attention.3"], relu(conv(w["attention.1"], mean)))))
    return third * weight + x


def transunet(w, image, *, units, heads, groups):
    """R50-ViT with a cascaded decoder, for one square; `groups` of a group norm by channels."""
    image = image.repeat(1, 3, 1, 1) if image.shape[1] == 1 else image
    skips, deepest = resnet(w["encoder"], image, units, groups)
    tokens = conv(w["embedding"], deepest)
    side = tokens.shape[-1]
    x = tokens.flatten(2).transpose(1, 2) + w.tensor("positions")
    for layer in range(len({name.split(".")[1] for name in w.state if "layers." in name})):
        x = transformer_layer(w[f"layers.{layer}"], x, heads)
    x = layer_norm(w["norm"], x).transpose(1, 2).reshape(len(image), -1, side, side)
    x = conv_block(w["widen"], x)
    for block, skip in enumerate((*skips, None)):
        up = twice_as_large(x)
        both = up if skip is None else torch.cat([up, skip], dim=1)
        x = double_conv(w[f"decoder.{block}"], both)
    return conv(w["head"], x)


def resnet(w, image, units, groups):
    root = w["root"]
    half = relu(group_norm(root[1], standardised(root[0], image, stride=2), groups))
    # Pooling of 3 × 3 without padding: 63 of 128.
    x = F.max_pool2d(half, 3, stride=2)
    outputs = []
    for block, count in enumerate(units):
        for unit in range(count):
            stride = 2 if block and not unit else 1
            x = residual_unit(w[f"blocks.{block}.{unit}"], x, stride, groups)
        outputs.append(x)
    quarter, eighth, deepest = outputs
    missing = half.shape[-1] // 2 - quarter.shape[-1]
    return (eighth, F.pad(quarter, (0, missing, 0, missing)), half), deepest


def residual_unit(w, x, stride, groups):
    branch = w["branch"]
    y = relu(group_norm(branch[1], standardised(branch[0], x), groups))
    y = relu(group_norm(branch[4], standardised(branch[3], y, stride), groups))
    y = group_norm(branch[7], standardised(branch[6], y), groups)
    if w["shortcut"][0].tensor("weight") is not None:
        projected = standardised(w["shortcut"][0], x, stride)
        x = group_norm(w["shortcut"][1], projected, lambda channels: channels, eps=1e-5)
    return relu(x + y)


def standardised(w, x, stride=1):
    """A convolution whose weights have mean 0 and variance 1 in every output channel."""
    weight = w.tensor("weight")
    flat = weight.flatten(1)
    centred = flat - flat.mean(dim=1, keepdim=True)
    variance = centred.square().mean(dim=1, keepdim=True)
    scaled = (centred / (variance + 1e-5).sqrt()).reshape(weight.shape)
    return F.conv2d(x, scaled, None, stride, weight.shape[-1] // 2)


def group_norm(w, x, groups, eps=1e-6):
    flat = x.reshape(len(x), groups(x.shape[1]), -1)
    centred = flat - flat.mean(dim=2, keepdim=True)
    normal = centred / (centred.square().mean(dim=2, keepdim=True) + eps).sqrt()
    weight, bias = (w.tensor(name).reshape(1, -1, 1, 1) for name in ("weight", "bias"))
    return normal.reshape(x.shape) * weight + bias


def layer_norm(w, x):
    centred = x - x.mean(dim=-1, keepdim=True)
    normal = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
    return normal * w.tensor("weight") + w.tensor("bias")


def transformer_layer(w, x, heads):
    """Pre-norm: attention, then a perceptron with GELU, each beside a skip."""
    normal = layer_norm(w["norm_attention"], x)
    query, key, value = (linear(w[name], normal) for name in ("query", "key", "value"))
    x = x + linear(w["out"], attention(query, key, value, heads))
    wide = linear(w["widen"], layer_norm(w["norm_mlp"], x))
    gelu = wide * (1 + torch.erf(wide / math.sqrt(2))) / 2
    return x + linear(w["narrow"], gelu)


def twice_as_large(x):
    """Linear interpolation that keeps the corners where they are."""

    def matrix(n):
        places = torch.linspace(0, n - 1, 2 * n, dtype=x.dtype)
        return (1 - (places[:, None] - torch.arange(n)).abs()).clamp(min=0)

    return matrix(x.shape[2]) @ x @ matrix(x.shape[3]).T
