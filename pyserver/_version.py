"""The one place of the version; the build reads it from this file without importing the package."""

__version__ = "0.1.0"
