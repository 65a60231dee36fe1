"""Search spaces: YAML files to flat proposals to trials. Imports no torch."""

from autoprune.space.files import list_spaces
from autoprune.space.grammar import load_space, parse_space
from autoprune.space.space import Space, Targets

__all__ = ["Space", "Targets", "list_spaces", "load_space", "parse_space"]
