"""unhush finds swallowed exceptions, rewrites them to structured logging and proves that nothing else changed."""

from .version import __version__

__all__ = ["__version__"]
