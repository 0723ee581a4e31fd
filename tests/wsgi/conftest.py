"""Fixtures of the tests in this directory."""

from sharing import poller, server, serving, share

__all__ = ["poller", "server", "serving", "share"]
