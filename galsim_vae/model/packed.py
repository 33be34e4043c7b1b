"""Networks as a CPU evaluates them fastest, with the same bits for one galaxy as for many.

Torch brings the weights of a convolution into the processor's own order at each call, which takes
as long as one galaxy, and multiplies a matrix by few rows in another order than by many, which
rounds otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FEWEST_ROWS", "PackedConvolution", "PackedLinear", "pack", "product"]

#: A product with fewer rows is that with this many: below, BLAS takes other kernels.
FEWEST_ROWS = 4
# Narrower layers are filled up with columns of zeros: of few columns BLAS rounds otherwise for few
# rows, some libraries in the one order of the weights and some in the other.
_NARROWEST = 16
# Images that oneDNN is told to expect, whatever there are: it may choose its routine by them.
_USUAL_BATCH = 16


def product(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows (n, k) times a matrix (k, m), plus a bias (m,), rounded alike for any n."""
    n = len(rows)
    if 0 < n < FEWEST_ROWS:
        rows = torch.cat([rows, rows[-1:].expand(FEWEST_ROWS - n, -1)])
    values = rows @ matrix if bias is None else torch.addmm(bias, rows, matrix)
    return values[:n]


class PackedLinear(nn.Module):
    """A linear layer of `product`, its weights in the order in which they are read.

    Parameters
    ----------
    linear : nn.Linear
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self._width = linear.out_features
        more = max(_NARROWEST - self._width, 0)
        self.matrix = F.pad(linear.weight.T, (0, more)).contiguous()
        self.bias = None if linear.bias is None else F.pad(linear.bias, (0, more))

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.matrix, self.bias)[:, : self._width]


class PackedConvolution(nn.Module):
    """A convolution whose weights are in oneDNN's order: for inference, on a CPU.

    Parameters
    ----------
    convolution : nn.Conv2d
        With zeros around.
    """

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        c = convolution
        self.weight, self.bias = c.weight, c.bias
        self._settings = [list(c.padding), list(c.stride), list(c.dilation), c.groups]
        self._packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self._packed is None:  # the order depends on the size of the images
            shape = [_USUAL_BATCH, *x.shape[1:]]
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *self._settings, shape
            )
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._packed, self.bias, *self._settings, "none", [], ""
        )


def pack(network: nn.Module) -> None:
    """Exchange the linear layers and convolutions of a network, in place, for packed ones.

    Parameters
    ----------
    network : nn.Module
        On the CPU; afterwards it is for inference alone, and has no state to save.
    """
    for name, layer in network.named_children():
        if isinstance(layer, nn.Linear):
            setattr(network, name, PackedLinear(layer))
        elif isinstance(layer, nn.Conv2d) and _can_pack():
            setattr(network, name, PackedConvolution(layer))
        else:
            pack(layer)


def _can_pack() -> bool:
    """Whether this build of torch has oneDNN, with the operations that torch.compile uses."""
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name)
        for name in ("_reorder_convolution_weight", "_convolution_pointwise")
    )
