"""One run as a checked record: fields, the tables of the file, TOML in and out."""

from langevin_nn.config.commented import commented
from langevin_nn.config.record import (
    SECTIONS,
    DataConfig,
    NetworkConfig,
    PosteriorConfig,
    PriorConfig,
    RunConfig,
    SamplerConfig,
    from_dict,
    load,
    located,
    modules_of,
    options,
    override,
    read,
)

__all__ = [
    "SECTIONS",
    "DataConfig",
    "NetworkConfig",
    "PosteriorConfig",
    "PriorConfig",
    "RunConfig",
    "SamplerConfig",
    "commented",
    "from_dict",
    "load",
    "located",
    "modules_of",
    "options",
    "override",
    "read",
]
