"""Every encoder by its kind, as configs and manifests name it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.encoder import Encoder
from service.learner.encoders.identity import Identity
from service.learner.encoders.mlp import Mlp
from service.learner.encoders.residual import Residual
from service.learner.encoders.resnet12 import ResNet12
from service.learner.encoders.torchvision_network import TorchvisionNetwork

Architecture = type[Conv4] | type[Identity] | type[Mlp] | type[Residual] | type[ResNet12] | type[TorchvisionNetwork]

# After a colon, a kind names one network of its family: `torchvision:resnet18`.
ARCHITECTURES: Mapping[str, Architecture] = {
    "conv4": Conv4,
    "identity": Identity,
    "mlp": Mlp,
    "residual": Residual,
    "resnet12": ResNet12,
    "torchvision": TorchvisionNetwork,
}


def build(kind: str, options: Mapping[str, Any]) -> Encoder:
    """Make the encoder that a config or manifest describes.

    Raises:
        ValueError: unknown kind, unknown option, or options that cannot be built; says what is accepted.
    """
    family, colon, network = kind.partition(":")
    if family not in ARCHITECTURES or bool(colon) != (family == "torchvision"):
        known = [each if each != "torchvision" else "torchvision:<network>" for each in sorted(ARCHITECTURES)]
        raise ValueError(f"expected an encoder kind among {known}, got {kind!r}")
    architecture = ARCHITECTURES[family]
    accepted = [field.name for field in dataclasses.fields(architecture) if field.name != "network"]
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise ValueError(f"encoder {kind!r} has no option {', '.join(unknown)}; expected among {accepted}")
    for name, accepts in get_type_hints(architecture).items():
        if name in options and not _accepted(options[name], accepts):
            raise ValueError(f"encoder {kind!r}: expected {name} to be {_described(accepts)}, got {options[name]!r}")
    # JSON and TOML have lists; an encoder is a value, so it holds tuples.
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    if network:
        values["network"] = network
    try:
        return architecture(**values)
    except TypeError as error:
        raise ValueError(f"encoder {kind!r} cannot be built: {error}") from error


def _accepted(value: object, accepts: Any) -> bool:
    """Whether a value is one of a `Literal`, a list of a type, or of a plain type; True and False are no numbers."""
    if get_origin(accepts) is tuple:
        return isinstance(value, list | tuple) and all(_accepted(each, get_args(accepts)[0]) for each in value)
    choices = get_args(accepts) or (accepts,)
    return (
        value in choices if get_origin(accepts) is Literal else isinstance(value, choices) and isinstance(value, bool) == (bool in choices)
    )


def _described(accepts: Any) -> str:
    if get_origin(accepts) is Literal:
        return "one of " + ", ".join(map(repr, get_args(accepts)))
    if get_origin(accepts) is tuple:
        return f"a list of {_described(get_args(accepts)[0])}"
    return str(getattr(accepts, "__name__", accepts))


def describe(encoder: Encoder) -> dict[str, Any]:
    """Give the kind and options that `build` takes back."""
    kind = next(kind for kind, architecture in ARCHITECTURES.items() if isinstance(encoder, architecture))
    options = dataclasses.asdict(encoder)  # type: ignore[call-overload]
    if isinstance(encoder, TorchvisionNetwork):
        kind = f"{kind}:{options.pop('network')}"
    return {"kind": kind, **{name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}}
