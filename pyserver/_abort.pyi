from pyserver._exchange import Transport

def install_abort_handler(timeout: float) -> None:
    """Have ABRT end the request under way before it ends this process.

    Its client is answered, or cut off when its response had begun, and the access log gets its line; natively, so that
    it also happens while C holds the interpreter lock. The handler that the signal had before is called afterwards: one
    that was set in Python may keep the process alive. What is to run before, such as faulthandler, is enabled later.

    Args:
        timeout: how long a request may take, seconds; 0 for any time. One that took less is answered 500 and not 504.
    """

def answer_for(transport: Transport) -> None:
    """Have the handler end the request that `transport` carries."""
