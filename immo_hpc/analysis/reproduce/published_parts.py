"""The parts that the paper's figures are written down in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_SIGNS = {"all": " and ", "any": " or "}


@dataclass(frozen=True)
class Subset:
    """Samples that have all, or any, of some layers.

    Attributes:
        name: The paper's name.
        layers: Layers, by their names in the public tables.
        mode: 'all' or 'any' of them.
        samples: Samples in the paper; None where it gives no number.
        negative: Of these without the disease.
        positive: Of these with it; the rest carries no label.
        without: A layer of the paper's subset that is not public.
    """

    name: str
    layers: tuple[str, ...]
    mode: Literal["all", "any"]
    samples: int | None = None
    negative: int | None = None
    positive: int | None = None
    without: str = ""

    @property
    def meaning(self) -> str:
        """The subset in words.

        Example:
            >>> Subset("bol_tra_common", ("mg", "mt"), "all").meaning
            'mg and mt'
        """
        told = _SIGNS[self.mode].join(self.layers)
        return f"{told} (paper: {self.without} too)" if self.without else told


@dataclass(frozen=True)
class LabelRule:
    """How samples fall into the paper's two groups.

    Attributes:
        columns: Columns of the sample table that may say it, the first one that is there.
        negative: Values that mean: without the disease.
        positive: Values that mean: with it. Any other value carries no label.
        titles: Names of the two groups.
    """

    columns: tuple[str, ...]
    negative: tuple[str, ...]
    positive: tuple[str, ...]
    titles: tuple[str, str]


@dataclass(frozen=True)
class Hyperparameter:
    """A row of the paper's table of hyperparameters.

    Attributes:
        name: The paper's name.
        key: The key of our configuration.
        searched: Range, in words.
        best: Best value that was found.
        used: Value that was then used.
    """

    name: str
    key: str
    searched: str
    best: str
    used: str


@dataclass(frozen=True)
class Masks:
    """Dynamic against static mask with keep probability 0.75.

    Attributes:
        dynamic_fall: Share by which the loss falls in the first 10 epochs, dynamic mask.
        static_fall: The same with the static mask.
        dynamic_epochs: Epoch of stopping, dynamic mask.
        static_epochs: The same with the static mask.
    """

    dynamic_fall: float
    static_fall: float
    dynamic_epochs: int
    static_epochs: int


@dataclass(frozen=True)
class NamedFeature:
    """A feature that the paper's figure of attributions names.

    Attributes:
        layer: Its layer.
        title: Its name there.
        words: Words that a feature's name has to contain, in small letters.
        rank: Its rank in the layer, where it is told.
        value: Its mean |attribution|, where it is told.
    """

    layer: str
    title: str
    words: tuple[str, ...]
    rank: int | None = None
    value: float | None = None

    def is_meant(self, feature: str) -> bool:
        """True if a feature of this name is what the paper names.

        Example:
            >>> NamedFeature("mg", "P. copri", ("copri",)).is_meant("s__Prevotella_copri")
            True
        """
        small = feature.lower()
        return all(word in small for word in self.words)
