def commons_version() -> int:
    """Which messages are understood here."""
