"""Several processes that train one model together, and what they tell each other."""

from immo_hpc.train.distributed.group import ALONE, Group
from immo_hpc.train.distributed.joining import joined
from immo_hpc.train.distributed.place import Place, first_host, place_of

__all__ = ["ALONE", "Group", "Place", "first_host", "joined", "place_of"]
