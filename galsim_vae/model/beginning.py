"""Where training begins: signals pass through a network, and latents are principal components."""

import math

import torch
from torch import Tensor, nn

__all__ = ["FIRST_WIDTH", "begin_with_components", "begin_with_signal", "straight_path"]

#: Of the latents, over their scatter, and of what convolutions add to them.
FIRST_WIDTH = 0.1


def straight_path(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """Return a linear layer that is zero, for `begin_with_components`."""
    path = nn.Linear(inputs, outputs, bias)
    for parameter in path.parameters():
        nn.init.zeros_(parameter)
    return path


@torch.no_grad()
def begin_with_signal(network: nn.Module, head: nn.Linear, out: nn.Conv2d, leak: float) -> None:
    """Let images be seen in the latents, and latents in the images, where training begins.

    Convolutions that keep the variance of what they are given (He et al. 2015, arXiv:1502.01852,
    equation 14), latents of unit variance and with little noise: torch's own beginning weakens
    images so much that the decoder first learns to ignore the latents.

    Parameters
    ----------
    network : Module
        Its convolutions are drawn anew, but for those that are zero, by torch's generator.
    head : Linear
        From features to mean and log-variance of the latent.
    out : Conv2d
        The decoder's last, which stays as it is: images begin smooth.
    leak : float
        Slope of the activation below zero.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.weight.any() and module is not out:
            nn.init.kaiming_normal_(module.weight, a=leak)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    latent = head.out_features // 2
    nn.init.normal_(head.weight, std=head.in_features**-0.5)
    nn.init.zeros_(head.bias)
    head.weight[latent:] *= 0.1
    head.bias[latent:] = 2 * math.log(FIRST_WIDTH)


@torch.no_grad()
def begin_with_components(
    encode: nn.Linear, head: nn.Linear, decode: nn.Linear, seen: Tensor, shown: Tensor,
    first: int = 0,
) -> None:  # fmt: skip
    """Let latents begin as principal components, on straight paths past the convolutions.

    What convolutions learn of structure in an hour the components know at once. Convolutions begin
    as a small addition.

    Parameters
    ----------
    encode : Linear
        From pixels to latents.
    head : Linear
        From what convolutions find to mean and log-variance of the latent.
    decode : Linear
        From latents to pixels.
    seen : tensor (m, pixels)
        What ``encode`` is given of some images, more than there are latents.
    shown : tensor (m, pixels)
        What ``decode`` should make of the latents of these.
    first : int
        Latents that are left as they are.
    """
    latent = encode.out_features
    mean = seen.mean(0)
    _, widths, axes = torch.linalg.svd(seen - mean, full_matrices=False)
    project = (axes * (len(seen) ** 0.5 / widths[:, None]))[: latent - first]
    scores = (seen - mean) @ project.T
    encode.weight[first:] = project
    head.weight[first:latent] *= FIRST_WIDTH
    head.bias[first:latent] -= project @ mean
    decode.bias.copy_(shown.mean(0))
    decode.weight[:, first:] = (shown - shown.mean(0)).T @ scores / len(scores)
