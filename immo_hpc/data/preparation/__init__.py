"""Preparation: fitted on training samples, saved with the model, applied by name, reversible.

Each kind of layer has one file with its transform (`composition`, `counts`, `intensity`,
`plain`); `filters` says which features stay, `fit` learns a layer's preparation, `layer`
applies and inverts it, `fitted` holds the preparation of a whole cohort.
"""

from immo_hpc.data.preparation.fitted import FORMAT_VERSION, Preparation, fit_preparation
from immo_hpc.data.preparation.layer import LayerPreparation
from immo_hpc.data.preparation.transform import Transform

__all__ = [
    "FORMAT_VERSION",
    "LayerPreparation",
    "Preparation",
    "Transform",
    "fit_preparation",
]
