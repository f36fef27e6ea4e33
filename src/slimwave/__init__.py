"""slimwave: compressed CNN surrogates of the 2D wave equation."""

__version__ = "0.1.0"
