class Version:
    """A version of HTTP in which one connection carries many requests at the same time."""

    in_clear: bool
    by_upgrade: bool
