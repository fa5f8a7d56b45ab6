"""Two common networks in plain PyTorch, with random weights: images (N, 3, 224, 224) -> scores (N, outputs)."""

from torch import nn


def convolution(inputs, outputs, kernel, stride=1, groups=1, activation=nn.ReLU, norm=nn.BatchNorm2d):
    """A convolution without bias, its batch normalisation and its activation (None for none), as a list."""
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), norm(outputs)]
    return [*layers, activation()] if activation else layers


def initialised(net):
    """The network with He's (2015) first weights of its convolutions."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


class Residual(nn.Module):
    """A body beside a shortcut, which may be a projection. after: activation of their sum."""

    def __init__(self, body, shortcut=None, after=None):
        super().__init__()
        self.body, self.shortcut, self.after = body, shortcut or nn.Identity(), after or nn.Identity()

    def forward(self, x):
        return self.after(self.body(x) + self.shortcut(x))


def resnet18(outputs):
    """ResNet-18 as in table 1 of He et al. (2016): 11.7 million weights with 1,000 outputs."""
    layers, inputs = [*convolution(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for channels, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            body = convolution(inputs, channels, 3, stride) + convolution(channels, channels, 3, activation=None)
            projected = stride != 1 or inputs != channels
            shortcut = nn.Sequential(*convolution(inputs, channels, 1, stride, activation=None)) if projected else None
            layers.append(Residual(nn.Sequential(*body), shortcut, nn.ReLU()))
            inputs = channels
    return initialised(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, outputs)))


# Table 2 of Howard et al. (2019): kernel, expanded channels, output channels, squeeze-and-excite, activation, stride.
MOBILENET_V3_SMALL = (
    (3, 16, 16, True, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 2),
    (3, 88, 24, False, nn.ReLU, 1),
    (5, 96, 40, True, nn.Hardswish, 2),
    (5, 240, 40, True, nn.Hardswish, 1),
    (5, 240, 40, True, nn.Hardswish, 1),
    (5, 120, 48, True, nn.Hardswish, 1),
    (5, 144, 48, True, nn.Hardswish, 1),
    (5, 288, 96, True, nn.Hardswish, 2),
    (5, 576, 96, True, nn.Hardswish, 1),
    (5, 576, 96, True, nn.Hardswish, 1),
)


class SqueezeAndExcite(nn.Module):
    """Channels weighted by a small network of their means (Hu et al. 2018), with a hard sigmoid."""

    def __init__(self, channels):
        super().__init__()
        fewer = max(8, (channels // 4 + 4) // 8 * 8)  # a quarter, as a multiple of 8
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, fewer, 1),
            nn.ReLU(),
            nn.Conv2d(fewer, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x):
        return x * self.weights(x)


def mobilenet_v3_small(outputs):
    """MobileNetV3-small as in table 2 of Howard et al. (2019): 2.5 million weights with 1,000 outputs."""

    def norm(channels):
        return nn.BatchNorm2d(channels, eps=0.001)  # a short memory, because trainings are short

    def layer(*shape, **options):
        return convolution(*shape, norm=norm, **options)

    layers, inputs = layer(3, 16, 3, 2, activation=nn.Hardswish), 16
    for kernel, expanded, channels, squeezed, activation, stride in MOBILENET_V3_SMALL:
        body = layer(inputs, expanded, 1, activation=activation) if expanded != inputs else []
        body += layer(expanded, expanded, kernel, stride, expanded, activation=activation)
        body += [SqueezeAndExcite(expanded)] if squeezed else []
        body = nn.Sequential(*body, *layer(expanded, channels, 1, activation=None))
        layers.append(Residual(body) if stride == 1 and inputs == channels else body)
        inputs = channels
    layers += layer(inputs, 576, 1, activation=nn.Hardswish)
    head = nn.Linear(576, 1024), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1024, outputs)
    return initialised(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head))


NETS = {"resnet18": resnet18, "mobilenet_v3_small": mobilenet_v3_small}
