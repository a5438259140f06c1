"""The built-in environment: small catalogue sites that an agent walks through, as text and as the same pages in HTML.

What is asked for is a code that stands on one page deep inside and nowhere else, so thinking over the first page cannot
replace going there. Rule: a site is a function of level, kind and seed alone, and nothing here needs a library.
"""

from decoders.environments.site.catalogue import KINDS, LEVELS, TRAINED_LEVELS, Kind, Split, split_of
from decoders.environments.site.episode import Site, SiteEnvironment, Walk
from decoders.environments.site.policies import Walker, play

__all__ = [
    "KINDS",
    "LEVELS",
    "TRAINED_LEVELS",
    "Kind",
    "Site",
    "SiteEnvironment",
    "Split",
    "Walk",
    "Walker",
    "play",
    "split_of",
]
