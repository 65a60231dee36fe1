"""The registry of data sets; torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.core.registry import Registry

if TYPE_CHECKING:
    from autoprune.data.raw import DataSource

DATA: Registry[DataSource] = Registry(
    "data set",
    "autoprune.data",
    {
        "digits": "autoprune.data.digits:SOURCE",
        "fashion_mnist": "autoprune.data.idx:SOURCE",
        "cifar10": "autoprune.data.cifar:CIFAR10",
        "cifar100": "autoprune.data.cifar:CIFAR100",
        "image_folder": "autoprune.data.image_folder:SOURCE",
        "parquet": "autoprune.data.parquet:SOURCE",
    },
)
