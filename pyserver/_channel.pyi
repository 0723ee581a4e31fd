class Channel:
    """What one connection is received and sent through."""

class Carried(Channel):
    """What a connection is received and sent through that another one carries: a stream of its session."""

class Session:
    """What a connection speaks that carries others."""

class Version:
    """A version of HTTP in which one connection carries many requests at the same time."""

    in_clear: bool
    by_upgrade: bool
