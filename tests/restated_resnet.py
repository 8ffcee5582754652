"""A ResNet in numpy, written down a second time, with every option of `resnet_graph`.

Weights are {"layer/weight": array} under the names of our layers, kernels [kh, kw, in / groups, out].
"""

import dataclasses

import numpy as np


@dataclasses.dataclass
class Options:
    """The options, with the defaults of `resnet_graph`."""

    stride_in_1x1: bool = True
    epsilon: float = 1e-3
    symmetric_padding: bool = False
    dilate_c5: bool = False
    groups: int = 1


def patches(x, size, stride, before, dilation=1, fill=0.0):
    """Cut windows: [N, h, w, c] -> [N, ceil(h / stride), ceil(w / stride), size, size, c]; `before` pixels are padded
    at the top and left, and enough at the bottom and right."""
    rows, columns = (-(-side // stride) for side in x.shape[1:3])
    padded = np.full((len(x), x.shape[1] + 99, x.shape[2] + 99, x.shape[3]), fill)
    padded[:, before : before + x.shape[1], before : before + x.shape[2]] = x
    out = np.empty((len(x), rows, columns, size, size, x.shape[3]))
    for i in range(size):
        for j in range(size):
            out[:, :, :, i, j] = padded[:, i * dilation :: stride, j * dilation :: stride][:, :rows, :columns]
    return out


def convolve(x, kernel, stride=1, before=0, dilation=1, groups=1):
    """Convolve each group of channels by itself."""
    windows = patches(x, len(kernel), stride, before, dilation)
    n_in, n_out = kernel.shape[2], kernel.shape[3] // groups
    return np.concatenate(
        [
            np.einsum(
                "nhwijc,ijco->nhwo",
                windows[..., g * n_in : (g + 1) * n_in],
                kernel[..., g * n_out : (g + 1) * n_out],
                optimize=True,
            )
            for g in range(groups)
        ],
        axis=-1,
    )


class Restated:
    """The network, by its weights."""

    def __init__(self, weights, options):
        self.weights, self.options = weights, options

    def conv_bn(self, x, conv, stride=1, dilation=1, groups=1):
        kernel = self.weights[f"{conv}/kernel"]
        if len(kernel) == 7:
            before = 3
        elif stride == 2 and not self.options.symmetric_padding:
            before = 0  # Keras' "same" of an even side: nothing at the top and left
        else:
            before = len(kernel) // 2 * dilation
        y = convolve(x, kernel, stride, before, dilation, groups) + self.weights.get(f"{conv}/bias", 0.0)
        norm = conv.replace("res", "bn") if conv.startswith("res") else f"bn_{conv}"
        gamma, beta, mean, variance = (
            self.weights[f"{norm}/{name}"] for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (y - mean) / np.sqrt(variance + self.options.epsilon) + beta

    def block(self, x, name, stride, dilation):
        """Run a block: a bottleneck if it has three convolutions."""
        conv, options = f"res{name}_branch", self.options
        if f"{conv}2c/kernel" in self.weights:
            strides = (stride, 1) if options.stride_in_1x1 else (1, stride)
            y = np.maximum(self.conv_bn(x, conv + "2a", strides[0]), 0)
            y = np.maximum(self.conv_bn(y, conv + "2b", strides[1], dilation, options.groups), 0)
            y = self.conv_bn(y, conv + "2c")
        else:
            y = np.maximum(self.conv_bn(x, conv + "2a", stride, dilation), 0)
            y = self.conv_bn(y, conv + "2b", 1, dilation)
        shortcut = self.conv_bn(x, conv + "1", stride) if f"{conv}1/kernel" in self.weights else x
        return np.maximum(y + shortcut, 0)

    def stage(self, x, stage, stride, dilation=1):
        for number, letter in enumerate("abcdefgh"):
            if f"res{stage}{letter}_branch2a/kernel" in self.weights:
                x = self.block(x, f"{stage}{letter}", 1 if number else stride, dilation)
        return x

    def stages(self, image):
        """Return C1..C5 of an image [N, H, W, 3]."""
        x = np.maximum(self.conv_bn(image, "conv1", 2), 0)
        windows = patches(x, 3, 2, before=int(self.options.symmetric_padding), fill=-np.inf)
        found = [windows.max(axis=(3, 4))]
        dilated = self.options.dilate_c5
        for stage, stride, dilation in ((2, 1, 1), (3, 2, 1), (4, 2, 1), (5, 1 if dilated else 2, 2 if dilated else 1)):
            found.append(self.stage(found[-1], stage, stride, dilation))
        return found
